"""Networks side by side are the networks that they would be alone."""

import pytest
import torch

from learnscope.errors import InputError
from learnscope.networks.side_by_side import SideBySide

SIZES = (5, 40, 30, 2)


def test_each_member_equals_a_chain_of_layers(generator):
    networks = SideBySide(["relu", "tanh"], SIZES, generator, dtype=torch.float64)
    x = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    for m, activation in enumerate([torch.relu, torch.tanh]):
        h = z = x
        for layer, (weight, bias) in enumerate(zip(networks.weights, networks.biases, strict=True)):
            z = h @ weight[m] + bias[m]
            h = activation(z)
            if layer < 2:
                torch.testing.assert_close(networks.hidden(x)[layer][m], h)
        torch.testing.assert_close(networks(x)[m], z)


def test_members_do_not_touch_each_other(generator):
    networks = SideBySide(["tanh", "tanh"], SIZES, generator)
    networks(torch.randn(7, 5, generator=generator))[0].sum().backward()
    assert all(bool((weight.grad[1] == 0).all()) for weight in networks.weights)


def test_weights_have_the_variance_of_one_over_the_units_and_are_clamped(generator):
    networks = SideBySide(["tanh", "relu"], (200, 100, 2), generator)
    first = networks.weights[0].detach() * 10
    assert float(first.abs().max()) == pytest.approx(2.0)
    assert float(first.var()) == pytest.approx(0.92, abs=0.02)  # of a standard normal clamped at ±2
    assert all(bool((bias == 0).all()) for bias in networks.biases)


def test_without_hidden_layers_it_is_linear(generator):
    networks = SideBySide(["tanh"], (5, 2), generator)
    assert networks.hidden(torch.ones(1, 5)) == []
    torch.testing.assert_close(networks(2 * torch.ones(1, 5)), 2 * networks(torch.ones(1, 5)))


@pytest.mark.parametrize(("activations", "sizes"), [([], SIZES), (["gelu"], SIZES), (["tanh"], (5,))])
def test_what_makes_no_network_is_refused(activations, sizes, generator):
    with pytest.raises(InputError, match="make no network"):
        SideBySide(activations, sizes, generator)
