"""The network of one hidden layer against automatic differentiation, and its curvature against the bound."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.functional import hessian
from torch.func import jacrev

from learnscope.networks.shallow_tanh import (
    STEEPEST_CURVE,
    ShallowTanh,
    curvature_bound,
    predictions,
    pulled_back,
    shallow_tanh,
    tangent_kernels,
)
from learnscope.randomness import generator


def drawn(width: int, dim: int, n: int, *batch: int, seed: int = 0) -> tuple[ShallowTanh, torch.Tensor]:
    random = generator("test shallow tanh", seed, width, dim, n)
    network = shallow_tanh(width, dim, random, batch=batch)
    return network, torch.randn(n, dim, generator=random, dtype=torch.float64)


def flat(network: ShallowTanh) -> torch.Tensor:
    return torch.cat([network.outputs, network.weights.flatten()])


def unflat(numbers: torch.Tensor, like: ShallowTanh) -> ShallowTanh:
    width = len(like.outputs)
    return ShallowTanh(numbers[:width], numbers[width:].reshape(like.weights.shape))


def test_predictions_are_the_sum_over_neurons():
    network, x = drawn(4, 3, 5)
    by_hand = sum(a * (x @ w / 3**0.5).tanh() for a, w in zip(*network, strict=True))
    torch.testing.assert_close(predictions(network, x, 0.3), 0.3 * by_hand)


def test_jacobian_and_kernels_are_those_of_automatic_differentiation():
    network, x = drawn(4, 3, 5)
    jacobian = jacrev(lambda numbers: predictions(unflat(numbers, network), x, 0.3))(flat(network))
    errors = torch.randn(5, generator=generator("errors"), dtype=torch.float64)
    torch.testing.assert_close(flat(pulled_back(network, x, errors, 0.3)), jacobian.mT @ errors)
    outputs, weights = tangent_kernels(network, x, 0.3)
    torch.testing.assert_close(outputs, jacobian[:, :4] @ jacobian[:, :4].mT)
    torch.testing.assert_close(weights, jacobian[:, 4:] @ jacobian[:, 4:].mT)


def test_batches_with_scales_of_their_own_equal_one_network_at_a_time():
    network, x = drawn(4, 3, 5, 2)
    scales = torch.tensor([0.3, 2.0], dtype=torch.float64)
    errors = predictions(network, x, scales)
    alone = ShallowTanh(network.outputs[1], network.weights[1])
    torch.testing.assert_close(errors[1], predictions(alone, x, 2.0))
    pulled = pulled_back(network, x, errors, scales)
    torch.testing.assert_close(pulled.weights[1], pulled_back(alone, x, errors[1], 2.0).weights)
    for both, one in zip(tangent_kernels(network, x, scales), tangent_kernels(alone, x, 2.0), strict=True):
        torch.testing.assert_close(both[1], one)
    bounds = curvature_bound(network, pulled, x, scales)
    torch.testing.assert_close(bounds[1], curvature_bound(alone, ShallowTanh(*(p[1] for p in pulled)), x, 2.0))


@given(st.integers(1, 5), st.integers(1, 4), st.floats(0.01, 10), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_predictions_stay_within_the_bound_of_their_tangent(width, dim, length, seed):
    network, x = drawn(width, dim, 3, seed=seed)
    direction, _ = drawn(width, dim, 3, seed=seed + 1)
    direction = direction.times(length, length)
    jacobian = jacrev(lambda numbers: predictions(unflat(numbers, network), x, 0.7))(flat(network))
    ahead = predictions(network.plus(direction), x, 0.7)
    remainder = ahead - predictions(network, x, 0.7) - jacobian @ flat(direction)
    bound = curvature_bound(network, direction, x, 0.7) * direction.squared_norm() / 2
    assert bool((remainder.abs() <= bound * (1 + 1e-9)).all())


def test_the_bound_is_attained_by_the_worst_curvature():
    u = torch.tensor([1 / 3], dtype=torch.float64).sqrt().atanh()  # where |tanh''| is largest
    worst = torch.func.grad(torch.func.grad(lambda z: z.tanh()))(u[0])
    assert float(worst.abs()) == pytest.approx(STEEPEST_CURVE)
    network, x = ShallowTanh(torch.zeros(1).double(), torch.zeros(1, 1).double()), torch.ones(1, 1).double()
    curvature = hessian(lambda numbers: predictions(unflat(numbers, network), x, 1.0)[0], flat(network))
    still = network.times(0.0, 0.0)
    assert float(torch.linalg.matrix_norm(curvature, ord=2)) == pytest.approx(
        float(curvature_bound(network, still, x, 1.0))
    )


def test_training_the_outputs_alone_is_linear():
    network, x = drawn(6, 3, 5)
    direction = pulled_back(network, x, torch.ones(5, dtype=torch.float64), 0.5).times(-0.1, 0.0)
    kernel, _ = tangent_kernels(network, x, 0.5)
    change = predictions(network.plus(direction), x, 0.5) - predictions(network, x, 0.5)
    torch.testing.assert_close(change, -0.1 * kernel.sum(1))


def test_each_network_may_have_its_own_examples():
    network, _ = drawn(4, 3, 5, 2)
    x = torch.randn(2, 5, 3, generator=generator("own examples"), dtype=torch.float64)
    alone = ShallowTanh(network.outputs[1], network.weights[1])
    torch.testing.assert_close(predictions(network, x, 0.5)[1], predictions(alone, x[1], 0.5))
    for both, one in zip(tangent_kernels(network, x, 0.5), tangent_kernels(alone, x[1], 0.5), strict=True):
        torch.testing.assert_close(both[1], one)
    still = network.times(0.0, 0.0)
    torch.testing.assert_close(
        curvature_bound(network, still, x, 0.5)[1], curvature_bound(alone, alone.times(0.0, 0.0), x[1], 0.5)
    )
