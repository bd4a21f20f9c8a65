"""Closed forms of the tangent kernel of one hidden layer, against differentiation and the kernels of infinite width."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from learnscope.errors import InputError
from learnscope.kernels import infinite_width, one_hidden_layer, tangent_kernel
from learnscope.kernels.one_hidden_layer import limit_kernels, tangent_kernels
from learnscope.networks.activations import Activation
from learnscope.networks.one_hidden_layer import OneHiddenLayer
from learnscope.networks.one_hidden_layer import one_hidden_layer as draw
from learnscope.randomness import generator as named

ACTIVATIONS = ["relu", "normalised_relu", "softplus", "erf", "tanh"]


class Module(nn.Module):
    """The network as a module, for kernels by automatic differentiation."""

    def __init__(self, network):
        super().__init__()
        self.weights, self.biases, self.outputs = (
            nn.Parameter(each.clone()) for each in (network.weights, network.biases, network.outputs)
        )
        self.activation = network.activation

    def forward(self, x):
        return OneHiddenLayer(self.weights, self.biases, self.outputs, self.activation)(x)[:, None]


def drawn(width, dim, n, activation="relu", **options):
    random = named("one hidden layer", width, dim, n, str(activation))
    network = draw(width, dim, random, activation=activation, **options)
    return network, torch.randn(n, dim, generator=random, dtype=torch.float64)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_each_share_is_the_product_of_gradients_times_the_width(activation):
    network, x = drawn(12, 4, 9, activation)
    ours = tangent_kernels(network, x[:5], x[5:])
    for name in ("outputs", "weights", "biases"):
        theirs = tangent_kernel(Module(network), x[:5], x[5:], outputs=0, parameters=name)
        torch.testing.assert_close(getattr(ours, name) / 12, theirs, atol=1e-13, rtol=1e-12)
    theirs = tangent_kernel(Module(network), x[:5], x[5:], outputs=0)
    torch.testing.assert_close(ours.total / 12, theirs, atol=1e-13, rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(width=st.integers(1, 9), dim=st.integers(1, 5), n=st.integers(1, 6), chunk=st.integers(1, 40))
def test_a_kernel_of_one_set_is_that_of_two_equal_ones_in_any_chunks(width, dim, n, chunk):
    network, x = drawn(width, dim, n, mirrored=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one_hidden_layer, "CHUNK", chunk)
        patch.setattr(one_hidden_layer, "TILE", chunk)
        found, limit = tangent_kernels(network, x), limit_kernels(x)
    for some, whole in ((found, tangent_kernels(network, x, x)), (limit, limit_kernels(x, x))):
        torch.testing.assert_close(torch.stack(list(some)), torch.stack(list(whole)))
        torch.testing.assert_close(some.total, some.total.T)
        assert float(torch.linalg.eigvalsh(some.total).min()) >= -1e-12 * float(some.total.trace())


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_the_limit_is_the_kernel_of_infinite_width_without_an_output_bias(activation, generator):
    x = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    ours = limit_kernels(x[:4], x[4:], activation=activation)
    theirs = infinite_width(x[:4], x[4:], depth=2, activation=activation, weight_variance=1.0, bias_variance=1.0)
    torch.testing.assert_close(ours.total, theirs.tangent - 1)
    torch.testing.assert_close(ours.outputs, theirs.nngp - 1)


def test_the_limit_of_normalised_rectifiers_is_the_formula_of_the_literature(generator):
    x = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    S = x @ x.T / 4 + 1
    scale = torch.outer(S.diagonal(), S.diagonal()).sqrt()
    c = (S / scale).clamp(-1, 1)
    t = torch.arccos(c)
    expected = scale * (t.sin() + (math.pi - t) * c) / math.pi + S * (math.pi - t) / math.pi
    torch.testing.assert_close(limit_kernels(x, activation="normalised_relu").total, expected)


@pytest.mark.parametrize("activation", ["relu", "normalised_relu", "erf"])
@pytest.mark.parametrize("bias_scale", [0.0, 0.5, 1.0])
def test_wide_networks_have_nearly_the_kernels_of_the_limit(activation, bias_scale):
    network, x = drawn(100_000, 3, 6, activation, bias_scale=bias_scale)
    limit = limit_kernels(x, activation=activation, bias_scale=bias_scale)
    for found, expected in zip(tangent_kernels(network, x), limit, strict=True):
        torch.testing.assert_close(found, expected, atol=0.05 * float(expected.abs().max()), rtol=0)


def test_kernels_keep_the_dtype_and_take_any_number_of_examples():
    network, x = drawn(4, 2, 3, dtype=torch.float32)
    kernels = tangent_kernels(network, x.float()[:0], x.float())
    assert kernels.total.shape == (0, 3)
    assert kernels.total.dtype == limit_kernels(x.float()).total.dtype == torch.float32
    assert limit_kernels(x[:0], x).total.shape == (0, 3)
    assert limit_kernels(x, x[:0]).total.shape == (3, 0)


def test_an_activation_without_closed_form_is_refused(generator):
    x = torch.randn(2, 2, generator=generator)
    with pytest.raises(InputError, match="'tanh' has no closed form here"):
        limit_kernels(x, activation=Activation("tanh"))
