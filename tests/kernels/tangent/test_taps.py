"""Taps: what a layer was called with, where its output's gradient is found, and that nothing else changes."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from learnscope.kernels.tangent.taps import tapped


def gradient_at(tap, scalar):
    return torch.autograd.grad(scalar, [tap.edge])[0]


@pytest.fixture
def x():
    return torch.randn(5, 4, dtype=torch.float64)


@pytest.mark.parametrize("after", [torch.tanh, torch.relu_, torch.sigmoid_], ids=["copy", "relu_", "sigmoid_"])
def test_gradients_are_those_by_what_the_layer_returned_even_if_it_is_written_over(after, x):
    layer, head = nn.Linear(4, 3).double(), torch.randn(5, 3, dtype=torch.float64)
    with tapped({"layer": layer}) as taps:
        scalar = (after(layer(x)) * head).sum()
    returned = layer(x).detach().requires_grad_()
    truth = torch.autograd.grad((after(returned.clone()) * head).sum(), returned)[0]
    torch.testing.assert_close(gradient_at(taps["layer"], scalar), truth)
    assert torch.equal(taps["layer"].inputs, x)


def test_a_layer_that_is_called_once_was_seen_once(x):
    layers = {"first": nn.Linear(4, 4).double(), "unused": nn.Linear(4, 4).double()}
    with tapped(layers) as taps:
        layers["first"](x)
    assert taps["first"].saw_once(5)
    assert not taps["first"].saw_once(6)
    assert not taps["unused"].saw_once(5)


def twice(layer, x):
    layer(layer(x))


def by_name(layer, x):
    layer(input=x)


def without_gradient(layer, x):
    with torch.no_grad():
        layer(x)


def written_over(layer, x):
    inputs = x.clone()
    layer(inputs)
    inputs.mul_(2)


@pytest.mark.parametrize("use", [twice, by_name, without_gradient, written_over])
def test_other_uses_were_not_seen_once(use, x):
    layer = nn.Linear(4, 4).double()
    with tapped({"layer": layer}) as taps:
        use(layer, x)
    assert not taps["layer"].saw_once(5)


@pytest.mark.parametrize("reentrant", [True, False])
def test_activations_that_are_computed_again_do_not_change_what_was_seen(reentrant, x):
    layer, inputs = nn.Linear(4, 3).double(), x.clone().requires_grad_()
    with tapped({"layer": layer}) as taps:
        out = checkpoint(lambda x: layer(x).sin(), inputs, use_reentrant=reentrant)
        seen = taps["layer"].saw_once(5)
        ours = torch.autograd.grad(out.sum(), inputs)[0] if not reentrant else None
    assert seen == (not reentrant)  # reentrant ones are without gradients at first
    if ours is not None:
        torch.testing.assert_close(ours, torch.autograd.grad(layer(inputs).sin().sum(), inputs)[0])
        assert torch.equal(taps["layer"].inputs, x)


def test_layers_are_as_they_were_afterwards(x):
    plain, other, activation = nn.Linear(4, 3), nn.Linear(4, 3).double(), nn.ReLU()
    other.forward = torch.sin
    layers = {"plain": plain, "other": other, "activation": activation}
    before = [dict(vars(each)) for each in layers.values()]
    with pytest.raises(KeyError), tapped(layers):
        assert torch.equal(other(x), torch.sin(x))
        raise KeyError
    assert [dict(vars(each)) for each in layers.values()] == before
