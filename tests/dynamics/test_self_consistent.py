import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import sqrtm

from learnscope.dynamics.end_to_end import preconditioned_gradient
from learnscope.dynamics.self_consistent import (
    lazy_velocity,
    mode_velocity,
    self_consistent_network,
    self_consistent_velocity,
)
from learnscope.dynamics.two_layer_linear import gradient_step, random_network
from learnscope.errors import InputError
from learnscope.randomness import generator as named

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 5))


def pair(shape, seed=0):
    """Draw a product and a gradient."""
    return torch.randn(2, *shape, generator=named("pair", seed), dtype=torch.float64)


def root(matrix, threshold):
    """Return √(M + τ²) by a library's matrix square root."""
    return torch.tensor(sqrtm((matrix + threshold**2 * torch.eye(len(matrix)).double()).numpy()).real)


@given(SHAPES, st.integers(0, 99), st.floats(0.01, 100))
@settings(deadline=None, max_examples=40)
def test_velocity_is_the_formula_with_matrix_square_roots(shape, seed, threshold):
    product, gradient = pair(shape, seed)
    left, right = root(product @ product.mT, threshold), root(product.mT @ product, threshold)
    expected = -left @ gradient - gradient @ right
    torch.testing.assert_close(self_consistent_velocity(product, gradient, threshold), expected, rtol=1e-6, atol=1e-6)


@given(SHAPES, st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_without_threshold_the_velocity_is_that_of_balanced_weights(shape, seed):
    product, gradient = pair(shape, seed)
    balanced = -preconditioned_gradient(product, gradient, depth=2)
    torch.testing.assert_close(self_consistent_velocity(product, gradient, 0.0), balanced, rtol=1e-9, atol=1e-9)


def test_far_below_the_threshold_the_velocity_is_lazy_with_a_relative_error_of_second_order():
    product, gradient = pair((4, 4))
    for threshold in (1e2, 1e3):
        mixed, lazy = self_consistent_velocity(product, gradient, threshold), lazy_velocity(gradient, threshold)
        size = torch.linalg.matrix_norm(product, ord=2) / threshold
        error = torch.linalg.matrix_norm(mixed - lazy) / torch.linalg.matrix_norm(lazy)
        assert 0 < float(error) < float(size**2) / 2


def test_thresholds_of_a_batch_are_used_one_by_one():
    product, gradient = torch.randn(2, 3, 4, 2, generator=named("batch"), dtype=torch.float64)
    thresholds = torch.tensor([0.0, 1.0, 5.0]).double()
    together = self_consistent_velocity(product, gradient, thresholds)
    lazy, networks = lazy_velocity(gradient, thresholds), self_consistent_network(product, thresholds)
    for k, threshold in enumerate(thresholds.tolist()):
        torch.testing.assert_close(together[k], self_consistent_velocity(product[k], gradient[k], threshold))
        torch.testing.assert_close(lazy[k], lazy_velocity(gradient[k], threshold))
        torch.testing.assert_close(networks.input_gram[k], self_consistent_network(product[k], threshold).input_gram)


@given(SHAPES, st.integers(0, 99), st.floats(0.1, 10))
@settings(deadline=None, max_examples=40)
def test_the_self_consistent_network_moves_as_the_velocity_says(shape, seed, threshold):
    product, gradient = pair(shape, seed)
    network = self_consistent_network(product, threshold)
    moved = -network.output_gram @ gradient - gradient @ network.input_gram
    torch.testing.assert_close(moved, self_consistent_velocity(product, gradient, threshold), rtol=1e-9, atol=1e-9)


def test_the_flow_keeps_the_self_consistent_equations():
    product, target = pair((4, 3))
    errors = []
    for steps in (200, 400):
        network = self_consistent_network(product, 0.7)
        for _ in range(steps):
            network = gradient_step(network, network.product - target, 1.0 / steps)
        expected = self_consistent_network(network.product, 0.7)
        assert float((network.product - product).abs().max()) > 0.5
        errors.append(float((network.input_gram - expected.input_gram).abs().max()))
    assert errors[0] < 0.02
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.05)


def test_small_steps_from_it_follow_the_ordinary_differential_equation():
    product, target = pair((3, 3))

    def field(_, flat):
        matrix = torch.tensor(flat).reshape(3, 3)
        return self_consistent_velocity(matrix, matrix - target, 0.5).flatten().numpy()

    exact = torch.tensor(solve_ivp(field, (0, 1), product.flatten().numpy(), rtol=1e-10, atol=1e-12).y[:, -1])
    errors = []
    for steps in (100, 200):
        network = self_consistent_network(product, 0.5)
        for _ in range(steps):
            network = gradient_step(network, network.product - target, 1 / steps)
        errors.append(float((network.product.flatten() - exact).abs().max()))
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.1)
    assert errors[1] < 0.01


def test_networks_leave_it_as_one_over_the_root_of_the_width():
    target = 3 * pair((6, 6))[1]
    distances = []
    for width in (10**3, 10**5):
        network = random_network(6, 6, width, 1 / width, named("width", width), (40,))
        ideal = self_consistent_network(network.product, 1.0)
        for _ in range(100):
            network = gradient_step(network, network.product - target, 0.002)
            ideal = gradient_step(ideal, ideal.product - target, 0.002)
        distances.append(float((network.product - ideal.product).square().mean().sqrt()))
    assert math.log(distances[0] / distances[1]) / math.log(100) == pytest.approx(0.5, abs=0.1)


def test_aligned_modes_move_one_by_one():
    values, goals = torch.tensor([4.0, 1.0, 0.0]).double(), torch.tensor([5.0, 0.5, 2.0]).double()
    U, V = torch.linalg.qr(pair((3, 3))).Q
    product, target = (U * values) @ V.mT, (U * goals) @ V.mT
    velocity = self_consistent_velocity(product, product - target, 3.0)
    torch.testing.assert_close(U.mT @ velocity @ V, torch.diag(mode_velocity(values, goals, 3.0)))


def test_single_precision_stays():
    product, gradient = pair((3, 2)).float()
    assert self_consistent_velocity(product, gradient, 1.0).dtype == torch.float32
    assert lazy_velocity(gradient, 1.0).dtype == torch.float32
    assert all(part.dtype == torch.float32 for part in self_consistent_network(product, 1.0))


def test_says_in_a_sentence_that_a_threshold_is_negative():
    product, gradient = pair((2, 2))
    for call in (
        lambda: self_consistent_velocity(product, gradient, -1.0),
        lambda: lazy_velocity(gradient, -1.0),
        lambda: self_consistent_network(product, torch.tensor(-1.0)),
    ):
        with pytest.raises(InputError, match="the threshold is -1"):
            call()
