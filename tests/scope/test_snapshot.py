import pytest
import torch
import xarray as xr
from torch import nn

from learnscope.errors import BudgetError, InputError
from learnscope.observables import default
from learnscope.scope.capture import chunk_size
from learnscope.scope.layers import Layer
from learnscope.scope.scope import Scope
from learnscope.scope.setup import prepare
from learnscope.scope.snapshot import Snapshot


def snapshot_of(model, probe, budget=2**30, positions="mean"):
    setup = prepare(
        model, probe, train=None, observables=(), layers=None, budget=budget, predict=None, positions=positions,
        simple_models=None, class_names=None, seed=0,
    )  # fmt: skip
    parameters = dict(model.named_parameters())
    return Snapshot(setup.watched, 0, parameters, parameters, None)


class Counting(nn.Module):
    """Remembers how many examples went through at once."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.seen = nn.Linear(6, 64), nn.Linear(64, 3), []

    def forward(self, x):
        self.seen.append(len(x))
        return self.two(self.one(x))


def features_of(snapshot):
    return {layer: state.features(layer) for state in snapshot.in_groups() for layer in state.layers}


def test_features_are_what_the_modules_return(small_model, blobs):
    features = features_of(snapshot_of(small_model, blobs))
    hidden = small_model[0](blobs[0])
    assert torch.equal(features["0"], hidden)
    assert torch.equal(features["1"], hidden.relu())
    assert torch.equal(features["2"], small_model(blobs[0]))


def test_a_small_budget_gives_the_same_in_smaller_portions(blobs):
    model = Counting()
    large = features_of(snapshot_of(model, blobs))
    model.seen.clear()
    budget = 2 * 4 * 90 * 64  # the features of the wider layer, and nothing more
    small = features_of(snapshot_of(model, blobs, budget=budget))
    assert max(model.seen[4:]) <= budget // (8 * 4 * 64)
    assert sum(model.seen[4:]) == 2 * (90 + 16)
    assert all(torch.allclose(large[name], small[name], atol=1e-6) for name in large)


def test_one_pass_serves_all_observables(blobs):
    model = Counting()
    scope = Scope(model, blobs, observables=[o for o in default(64, 64) if "kernel" not in o.needs])
    # whether it works, its width, twice for its layers, and twice for their order
    examined_at_set_up = 2 + 2 + 2 + 3 + 16 + 16
    assert sum(model.seen) - examined_at_set_up == 90
    assert scope.failures == {}


@pytest.mark.parametrize("budget", [100, 40_000])
def test_a_budget_that_is_too_small_names_the_least_that_works(budget, blobs):
    with pytest.raises(BudgetError, match="at least that") as error:
        snapshot_of(Counting(), blobs, budget=budget)
    least = max(int(word.rstrip(":")) for word in str(error.value).split() if word.rstrip(":").isdigit())
    least = max(least, 2 * 4 * 90 * 64)
    assert features_of(snapshot_of(Counting(), blobs, budget=least))


def test_a_record_in_groups_of_layers_is_the_one_of_all_at_once(small_model, blobs):
    whole, parts = (Scope(small_model, blobs, budget=budget) for budget in (None, 2 * 4 * 90 * 16))
    assert len(list(snapshot_of(small_model, blobs, budget=2 * 4 * 90 * 16).in_groups())) > 1
    assert whole.failures == parts.failures == {}
    xr.testing.assert_allclose(whole.data, parts.data, rtol=2e-4)


def wide_layer(bytes_per_example):
    return Layer("0", "0", 1, 0, "features", bytes_per_example, 1, None)


def test_chunks_are_small_on_a_cpu_and_larger_elsewhere_within_the_budget():
    layer = wide_layer(2**16)
    assert chunk_size([layer], 2**40, 1000) == 96
    assert chunk_size([layer], 2**40, 1000, "cuda") == 256
    assert chunk_size([layer], 2**40, 10) == 10
    assert chunk_size([layer], 8 * 2**16 * 5, 1000) == 5
    assert chunk_size([wide_layer(2**30)], 2**40, 1000) == 16


class Lent(nn.Module):
    """Remembers where its kernel lies."""

    def __init__(self):
        super().__init__()
        self.conv, self.head, self.kernels, self.rows = nn.Conv2d(1, 64, 3, padding=1), nn.Linear(64, 2), [], []

    def forward(self, x):
        self.kernels.append(self.conv.weight.data_ptr())
        self.rows.append(len(x))
        return self.head(self.conv(x).mean((2, 3)))


def test_kernels_are_lent_once_for_all_chunks_of_a_pass():
    model = Lent()
    x = torch.randn(60, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    snapshot = snapshot_of(model, x)
    model.kernels.clear()
    model.rows.clear()
    features = features_of(snapshot)
    assert sum(model.rows) == 60
    assert len(model.rows) > 2
    assert len(set(model.kernels)) == 1
    assert model.conv.weight.data_ptr() not in model.kernels
    assert torch.allclose(features["conv"], model.conv(x).mean((2, 3)), atol=1e-6)


def test_features_outside_their_group_are_refused(small_model, blobs):
    with pytest.raises(InputError, match="not in view"):
        snapshot_of(small_model, blobs).features("0")


def test_ingredients_are_computed_once(small_model, blobs):
    for state in snapshot_of(small_model, blobs).in_groups():
        assert state.neighbours("0") is state.neighbours("0")
        assert state.basis("0") is state.basis("0")
        assert state.singular_values("0.weight") is state.singular_values("0.weight")


def test_mean_over_positions_is_the_default_and_flattening_an_option():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    x = torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    direct = model[0](x)
    assert torch.allclose(features_of(snapshot_of(model, x))["0"], direct.mean((2, 3)), atol=1e-6)
    flat = features_of(snapshot_of(model, x, positions="flatten"))["0"]
    assert torch.allclose(flat, direct.flatten(1), atol=1e-6)


def test_half_precision_activations_are_reduced_in_float32():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 2)).bfloat16()
    x = torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    features = features_of(snapshot_of(model, x))["0"]
    assert features.dtype == torch.float32
    assert torch.allclose(features, model[0](x).float().mean((2, 3)), atol=1e-6)


class Viewing(nn.Module):
    """Uses view(), which needs the usual order in memory."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(144, 2)

    def forward(self, x):
        return self.head(self.conv(x).view(len(x), -1))


def test_models_that_need_the_usual_memory_order_get_it():
    x = torch.randn(10, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    snapshot = snapshot_of(Viewing(), x)
    assert not snapshot.watched.forward.channels_last
    assert features_of(snapshot)["head"].shape == (10, 2)


def test_lending_weights_in_another_order_leaves_the_model_with_its_own():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    x = torch.randn(10, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    parameters = list(model.parameters())
    snapshot = snapshot_of(model, x)
    features = features_of(snapshot)
    assert snapshot.watched.forward.channels_last
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert model[0].weight.is_contiguous()
    assert torch.allclose(features["2"], model(x), atol=1e-5)
