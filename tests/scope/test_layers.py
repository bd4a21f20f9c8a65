import pytest
import torch
from torch import nn

from learnscope.errors import InputError, LayerError
from learnscope.scope.scope import Scope
from learnscope.scope.setup import prepare

OPTIONS = {
    "train": None, "observables": (), "budget": 2**30, "predict": None, "simple_models": None, "class_names": None,
    "seed": 0,
}  # fmt: skip


def found(model, probe, layers=None, positions="mean"):
    return prepare(model, probe, layers=layers, positions=positions, **OPTIONS).watched.layers


def test_every_kind_of_network_has_its_layers_found_in_the_order_in_which_they_run(case):
    model, probe = case
    layers = found(model, probe)
    modules = dict(model.named_modules())
    assert layers
    assert all(layer.module in modules for layer in layers)
    assert not any(isinstance(modules[layer.module], (nn.Flatten, nn.Dropout)) for layer in layers)


def test_a_module_called_twice_is_two_layers():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.relu = nn.Linear(6, 6), nn.ReLU()

        def forward(self, x):
            return self.relu(self.linear(self.relu(self.linear(x))))

    layers = found(Twice(), (torch.randn(9, 6), torch.arange(9) % 3))
    assert [layer.name for layer in layers] == ["linear", "relu", "linear#2", "relu#2"]


def test_channels_tokens_and_features_are_told_apart():
    model = nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(180, 3))
    layers = found(model, torch.randn(8, 1, 8, 8))
    assert [(layer.layout, layer.units) for layer in layers] == [("channels", 5), ("channels", 5), ("features", 3)]
    flat = found(model, torch.randn(8, 1, 8, 8), positions="flatten")
    assert [layer.units for layer in flat] == [180, 180, 3]
    tokens = nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Flatten(), nn.Linear(35, 2))
    assert [(layer.layout, layer.units) for layer in found(tokens, torch.randn(8, 5, 4))] == [
        ("tokens", 7),
        ("tokens", 7),
        ("features", 2),
    ]


def test_examples_along_the_second_dimension_are_recognised():
    class TimeFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(2, 5)

        def forward(self, x):
            return self.rnn(x.transpose(0, 1))[0][-1]

    (layer,) = found(TimeFirst(), torch.randn(9, 3, 2))
    assert (layer.batch_dim, layer.layout, layer.units) == (1, "tokens", 5)


def test_attention_in_evaluation_mode_does_not_bypass_the_hooks():
    model = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Flatten(), nn.Linear(40, 2))
    names = [layer.name for layer in found(model.eval(), torch.randn(8, 5, 8))]
    assert names == ["0.self_attn", "0.norm1", "0.linear1", "0.linear2", "0.norm2", "2"]


def test_layers_by_name_by_pattern_and_by_predicate(small_model, blobs):
    assert [layer.name for layer in found(small_model, blobs, layers=["2", "0"])] == ["0", "2"]
    assert [layer.name for layer in found(small_model, blobs, layers="[01]")] == ["0", "1"]
    linear = found(small_model, blobs, layers=lambda name, module: isinstance(module, nn.Linear))
    assert [layer.name for layer in linear] == ["0", "2"]


def test_a_container_can_be_named(small_model, blobs):
    model = nn.Sequential(small_model, nn.Identity())
    assert [layer.name for layer in found(model, blobs, layers=["0"])] == ["0"]


def test_a_name_that_matches_nothing_gives_the_nearest(blobs):
    model = nn.Sequential()
    model.add_module("conv_first", nn.Linear(6, 4))
    model.add_module("head", nn.Linear(4, 3))
    with pytest.raises(LayerError, match=r"no layer matches 'conv_fist': the nearest names are 'conv_first'"):
        found(model, blobs, layers="conv_fist")


def test_a_layer_that_never_runs_says_so(small_model, blobs):
    small_model.add_module("spare", nn.Linear(3, 3))
    small_model.forward = lambda x: small_model[2](small_model[1](small_model[0](x)))
    with pytest.raises(LayerError, match="never called on the probe"):
        found(small_model, blobs, layers=["spare"])


def test_positions_must_be_mean_or_flatten(small_model, blobs):
    with pytest.raises(InputError, match="'mean' or 'flatten'"):
        found(small_model, blobs, positions="max")


def test_in_place_activation_does_not_overwrite_the_layer_before():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))
    x = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    basis = Scope(model, (x, torch.arange(20) % 3)).data
    separate = nn.Sequential(model[0], nn.ReLU(), model[2])
    assert basis["activation_rms"].equals(Scope(separate, (x, torch.arange(20) % 3)).data["activation_rms"])
