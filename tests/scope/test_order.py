"""Layers whose rows are not those of the examples are left out, and said to be."""

import pytest
import torch
from torch import nn

from learnscope.errors import LayerError
from learnscope.scope.replay import replay
from learnscope.scope.scope import Scope


class Sorted(nn.Module):
    """Sorts its examples, as recurrent networks do by length, and undoes that before its last layer."""

    def __init__(self, key):
        super().__init__()
        self.key, self.inner, self.activation, self.last = key, nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)

    def forward(self, x):
        order = self.key(x).argsort(stable=True)
        return self.last(self.activation(self.inner(x[order]))[order.argsort()])


class Expert(nn.Module):
    """A layer that sees only the examples whose first input is positive."""

    def __init__(self):
        super().__init__()
        self.first, self.rare = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        later = x[:, 0] > 0
        out = self.first(x)
        out[later] = out[later] + self.rare(x[later])
        return out


@pytest.fixture
def probe(generator):
    return torch.randn(80, 4, generator=generator), torch.arange(80) % 3


@pytest.mark.parametrize("key", [lambda x: x.sum(1), lambda x: -x.sum(1), lambda x: (x[:, 0] > 0).long()])
def test_layers_within_a_sort_are_left_out(key, probe):
    scope = Scope(Sorted(key), probe)
    assert scope.data["layer"].values.tolist() == ["last"]
    assert set(scope.data.attrs["left_out"]) == {"inner", "activation"}
    assert "in another order" in scope.data.attrs["left_out"]["inner"]
    assert scope.failures == {}


def test_a_sort_that_leaves_examples_alike_in_their_places_leaves_out_nothing(probe):
    scope = Scope(Sorted(lambda x: torch.zeros(len(x))), probe)
    assert scope.data["layer"].values.tolist() == ["inner", "activation", "last"]


def test_a_layer_that_some_examples_do_not_reach_is_left_out(probe):
    x, y = probe
    x[:3, 0] = x[:3, 0].abs()  # it sees two of two and three of three
    scope = Scope(Expert(), (x, y))
    assert scope.data["layer"].values.tolist() == ["first"]
    assert "not all of them" in scope.data.attrs["left_out"]["rare"]
    assert scope.failures == {}


def test_one_that_is_asked_for_is_refused(probe):
    with pytest.raises(LayerError, match="layer 'inner' cannot be watched, for it gets the examples in another order"):
        Scope(Sorted(lambda x: x.sum(1)), probe, layers=["inner", "last"])


def test_a_model_without_any_other_layer_is_refused(probe):
    model = Sorted(lambda x: x.sum(1))
    model.last = nn.Identity()
    with pytest.raises(LayerError, match=r"none of the layers can be watched \(inner, activation\)"):
        Scope(model, (probe[0], torch.arange(80) % 6))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_rounding_and_what_is_not_finite_leave_out_nothing(dtype, probe):
    x, y = probe
    x[5, 1] = torch.inf
    model = nn.Sequential(nn.Linear(4, 200), nn.GELU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 3)).to(dtype)
    scope = Scope(model, (x.to(dtype), y))
    assert scope.data["layer"].values.tolist() == ["0", "1", "2", "3", "4"]


def test_replays_leave_out_the_same(probe):
    model = Sorted(lambda x: x.sum(1))
    record = replay(model, [model.state_dict()], probe, steps=[0])
    assert record.data["layer"].values.tolist() == ["last"]
