import pytest
import torch
from torch import nn

from learnscope.errors import InputError, LayerError
from learnscope.scope.layers import as_features, as_units
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


class Folding(nn.Module):
    """Works on all positions of all examples as on so many rows, in either order, then takes their mean."""

    def __init__(self, examples_outermost):
        super().__init__()
        self.embed, self.relu, self.norm, self.head = nn.Linear(2, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 3)
        self.examples_outermost = examples_outermost

    def forward(self, x):
        rows = x if self.examples_outermost else x.transpose(0, 1)
        hidden = self.norm(self.relu(self.embed(rows.reshape(-1, 2))))
        return self.head(hidden.unflatten(0, rows.shape[:2]).mean(1 if self.examples_outermost else 0))


@pytest.mark.parametrize("positions", ["mean", "flatten"])
@pytest.mark.parametrize("examples_outermost", [True, False])
def test_examples_that_are_folded_into_positions_are_unfolded(examples_outermost, positions):
    x, y = torch.randn(20, 5, 2, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3
    torch.manual_seed(0)
    model = Folding(examples_outermost).eval()
    layers = found(model, (x, y), positions=positions)
    assert [layer.name for layer in layers] == ["embed", "relu", "norm", "head"]
    assert [(layer.layout, layer.units) for layer in layers[:3]] == [("tokens", 8 if positions == "mean" else 40)] * 3
    straight = nn.Sequential(model.embed, model.relu, nn.Flatten(), nn.Linear(40, 3))
    data = Scope(model, (x, y), positions=positions).data
    direct = Scope(straight, (x, y), positions=positions).data
    for name in ("activation_rms", "intrinsic_dimension", "participation_ratio", "knn_accuracy"):
        assert data[name].sel(step=0).values[:2] == pytest.approx(direct[name].sel(step=0).values[:2], rel=1e-5)
    assert data.attrs["left_out"] == {}


def test_folded_images_keep_their_channels():
    class Frames(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.conv(x.flatten(0, 1)).mean((2, 3)).unflatten(0, (len(x), -1)).mean(1))

    x = torch.randn(12, 3, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    model = Frames()
    (conv, head) = found(model, (x, torch.arange(12) % 3))
    assert (conv.name, conv.layout, conv.units, conv.folded) == ("conv", "channels", 4, 3)
    with torch.no_grad():
        expected = model.conv(x.flatten(0, 1)).unflatten(0, (12, 3)).mean((1, 3, 4))
        assert torch.allclose(as_features(as_units(model.conv(x.flatten(0, 1)), conv), "mean"), expected, atol=1e-6)


class Odd(nn.Module):
    """Layers whose outputs have no row for each example."""

    def __init__(self):
        super().__init__()
        self.places, self.vote, self.same = nn.Embedding(4, 6), Argmax(), nn.Linear(6, 6)
        self.each, self.head = nn.Linear(6, 1), nn.Linear(6, 3)

    def forward(self, x):
        self.vote(x), self.same(torch.ones(4 * len(x), 6))
        for row in x:
            self.each(row)
        return self.head(x + self.places(torch.arange(4)).mean(0))


class Argmax(nn.Module):
    def forward(self, x):
        return x.argmax(1)


def test_what_is_left_out_is_on_record_with_the_reason(blobs):
    scope = Scope(Odd(), blobs)
    assert scope.data["layer"].values.tolist() == ["head"]
    reasons = scope.data.attrs["left_out"]
    assert reasons["places"] == "no dimension of its output [4, 6] for 2 examples is theirs"
    assert reasons["vote"] == "it returns torch.int64"
    assert reasons["same"] == "which rows of its output [8, 6] for 2 examples belong to which cannot be told"
    assert reasons["each"] == "no dimension of its output [1] for 2 examples is theirs"
    assert scope.failures == {}


def test_what_is_left_out_is_in_the_report(blobs, tmp_path):
    page = Scope(Odd(), blobs).report(tmp_path / "page.html").read_text()
    assert "Left out" in page
    assert "places: no dimension of its output [4, 6] for 2 examples is theirs" in page


def test_only_the_layers_that_were_asked_for_are_left_out(small_model, blobs):
    assert Scope(Odd(), blobs, layers=["head"]).data.attrs["left_out"] == {}
