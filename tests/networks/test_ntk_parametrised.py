"""Stacks of fully connected networks have the outputs, gradients and kernels that automatic differentiation finds."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from learnscope.errors import InputError
from learnscope.kernels import infinite_width, tangent_kernel
from learnscope.networks.activations import Activation, activation
from learnscope.networks.ntk_parametrised import NTKParametrised, unit_weights
from learnscope.randomness import generator

KINDS = ["relu", "softplus", "tanh", "erf"]
DIM, N = 3, 5


class Plain(nn.Module):
    """One network of a stack, as a module with the definition written out."""

    def __init__(self, weights, network):
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(W.clone()) for W in weights])
        self.network = network

    def forward(self, x):
        for place, W in enumerate(self.weights):
            x = self.network.activation.value(x) if place else x
            x = (self.network.weight_variance / W.shape[1]) ** 0.5 * x @ W.T
        return x


def stack(depth, kind="tanh", members=2):
    random = generator("stack", depth)
    weights = unit_weights((DIM, *(4, 6, 5)[: depth - 1], 1), random, (members,))
    x = torch.randn(N, DIM, generator=random, dtype=torch.float64)
    return NTKParametrised(activation(kind), weight_variance=1.5), weights, x


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_every_member_is_the_network_of_its_definition(depth, kind):
    network, weights, x = stack(depth, kind)
    outputs, kernels = network.outputs(weights, x), network.tangent_kernel(weights, x)
    for k in range(2):
        plain = Plain([W[k] for W in weights], network)
        torch.testing.assert_close(outputs[k], plain(x)[:, 0].detach())
        torch.testing.assert_close(kernels[k], tangent_kernel(plain, x, outputs="trace"))


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_automatic_differentiation(depth, kind):
    network, weights, x = stack(depth, kind)
    errors = torch.randn(2, N, 1, generator=generator("errors"), dtype=torch.float64)
    found = network.gradients(weights, network.signals(weights, x), errors)
    leaves = [W.clone().requires_grad_() for W in weights]
    expected = torch.autograd.grad((errors[..., 0] * network.outputs(leaves, x)).sum(), leaves)
    torch.testing.assert_close(found, list(expected))


def test_a_rectangular_kernel_is_a_block_of_the_square_one():
    network, weights, x = stack(3)
    whole = network.tangent_kernel(weights, x)
    torch.testing.assert_close(network.tangent_kernel(weights, x[:2], x[2:]), whole[:, :2, 2:])


@settings(max_examples=30, deadline=None)
@given(depth=st.integers(1, 4), seed=st.integers(0, 10_000), scale=st.floats(0.1, 10))
def test_rectifiers_make_outputs_homogeneous_in_the_weights(depth, seed, scale):
    random = generator("homogeneous", seed)
    weights, x = unit_weights((DIM, *[4] * (depth - 1), 1), random), torch.randn(N, DIM, dtype=torch.float64)
    network = NTKParametrised()
    scaled = network.outputs([scale * W for W in weights], x)
    torch.testing.assert_close(scaled, scale**depth * network.outputs(weights, x))


def test_one_network_needs_no_leading_dimension_and_float32_is_kept():
    network, weights, x = stack(3)
    alone = [W[0].float() for W in weights]
    assert network.outputs(alone, x.float()).dtype == torch.float32
    torch.testing.assert_close(
        network.outputs(alone, x.float()).double(), network.outputs(weights, x)[0], rtol=1e-5, atol=1e-5
    )


def test_wide_networks_have_the_kernel_of_infinite_width():
    random = generator("wide")
    x = torch.randn(4, DIM, generator=random, dtype=torch.float64)
    network = NTKParametrised(Activation("erf"), weight_variance=2.0)
    weights = unit_weights((DIM, 512, 512, 1), random, (8,))
    limit = infinite_width(x, depth=3, activation="erf", weight_variance=2.0).tangent
    torch.testing.assert_close(network.tangent_kernel(weights, x).mean(0), limit, rtol=0.05, atol=0.05)


def test_weights_are_standard_normal_and_follow_their_generator():
    first, second = (unit_weights((50, 400, 1), generator("same"), (3,)) for _ in range(2))
    assert [W.shape for W in first] == [(3, 400, 50), (3, 1, 400)]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert float(first[0].mean()) == pytest.approx(0, abs=0.02)
    assert float(first[0].square().mean()) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("x", [torch.zeros(N, DIM + 1, dtype=torch.float64), torch.zeros(DIM, dtype=torch.float64)])
def test_examples_of_another_size_are_refused(x):
    network, weights, _ = stack(2)
    with pytest.raises(InputError, match=r"give \[n, 3\] examples"):
        network.outputs(weights, x)


def test_sizes_that_are_not_positive_are_refused():
    with pytest.raises(InputError, match="is 0, but a layer needs at least 1"):
        unit_weights((3, 0, 1), generator("none"))
