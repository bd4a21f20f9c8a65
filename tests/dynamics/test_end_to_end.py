import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnscope.dynamics.end_to_end import (
    asymmetry_of_one_output,
    end_to_end_flow,
    factor_flow,
    preconditioned_gradient,
    singular_value_velocity,
    two_layer_flow,
    two_layer_mode,
)
from learnscope.dynamics.vector_fields import jacobian
from learnscope.errors import InputError
from learnscope.networks.deep_linear import balanced_factors, factor_gradients, gaussian_factors, product

TIMES = torch.tensor([0.0, 0.2, 1.0, 3.0], dtype=torch.float64)
sizes = st.integers(1, 5)
seeds = st.integers(0, 2**31)


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def velocity_of_the_product(factors, gradient):
    slopes = factor_gradients(factors, gradient)
    return -sum(product([*factors[:j], slope, *factors[j + 1 :]]) for j, slope in enumerate(slopes))


@given(sizes, sizes, st.integers(1, 6), seeds)
@settings(deadline=None, max_examples=40)
def test_balanced_factors_move_their_product_against_the_preconditioned_gradient(outputs, inputs, depth, seed):
    A, G = randn(2, outputs, inputs, seed=seed)
    moved = velocity_of_the_product(balanced_factors(A, depth), G)
    assert moved.numpy() == pytest.approx(-preconditioned_gradient(A, G, depth).numpy(), rel=1e-6, abs=1e-6)


def power(matrix, exponent):
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0) ** exponent @ vectors.T


@given(st.integers(1, 4), st.integers(1, 5), seeds)
@settings(deadline=None, max_examples=20)
def test_the_preconditioned_gradient_equals_its_definition_by_matrix_powers(size, depth, seed):
    A, G = randn(2, size, size, seed=seed)
    A = A + 4 * torch.eye(size, dtype=torch.float64)
    terms = [power(A @ A.T, (depth - j) / depth) @ G @ power(A.T @ A, (j - 1) / depth) for j in range(1, depth + 1)]
    assert preconditioned_gradient(A, G, depth).numpy() == pytest.approx(sum(terms).numpy(), rel=1e-8, abs=1e-8)


def test_unbalanced_factors_of_the_same_product_move_differently():
    A, G = randn(2, 4, 4, seed=0)
    first, second = balanced_factors(A, 2)
    moved = velocity_of_the_product([3 * first, second / 3], G)
    expected = -preconditioned_gradient(A, G, 2)
    assert float((moved - expected).norm() / expected.norm()) > 0.5


@pytest.mark.parametrize("depth", [1, 2, 3, 7])
def test_one_output_is_the_gradient_and_its_projection_on_the_weights(depth):
    w, g = randn(2, 1, 6, seed=1)
    projection = (g * w).sum() / w.square().sum() * w
    expected = float(w.norm()) ** (2 - 2 / depth) * (g + (depth - 1) * projection)
    assert preconditioned_gradient(w, g, depth).numpy() == pytest.approx(expected.numpy())


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_the_asymmetry_for_one_output_is_that_of_the_jacobian(depth):
    rows, targets = randn(2, 4, 1, 5, seed=10)
    design = randn(5, 9, seed=11)
    for C in (torch.eye(5, dtype=torch.float64), design @ design.T / 9):
        J = jacobian(lambda A, C=C: preconditioned_gradient(A, (A - targets) @ C, depth), rows)
        exact = asymmetry_of_one_output(rows, targets, C, depth)
        assert (J - J.mT).numpy() == pytest.approx(exact.numpy(), abs=1e-9)


def test_one_output_two_layers_and_white_inputs_follow_a_potential():
    w, y = randn(2, 1, 5, seed=12)
    w.requires_grad_()
    potential = 2 / 3 * w.norm() ** 3 - w.norm() * (w * y).sum()
    (slope,) = torch.autograd.grad(potential, w)
    field = preconditioned_gradient(w.detach(), w.detach() - y, 2)
    assert slope.numpy() == pytest.approx(field.numpy(), abs=1e-13)


def test_zero_and_low_rank_products_are_handled():
    G = randn(3, 4, seed=2)
    assert torch.equal(preconditioned_gradient(torch.zeros_like(G), G, 1), G)
    assert not bool(preconditioned_gradient(torch.zeros_like(G), G, 2).any())
    u, v = randn(3, 1, seed=3), randn(1, 4, seed=4)
    rank_one = u @ v / (u.norm() * v.norm())
    expected = rank_one @ rank_one.T @ G + G @ rank_one.T @ rank_one
    assert preconditioned_gradient(rank_one, G, 2).numpy() == pytest.approx(expected.numpy())


def test_nan_stays_with_its_member_and_the_dtype_is_kept():
    A = torch.stack([torch.eye(3), torch.full((3, 3), torch.nan)])
    moved = preconditioned_gradient(A, torch.ones(2, 3, 3), 3)
    assert moved.dtype == torch.float32
    assert moved[0].numpy() == pytest.approx(3)
    assert bool(moved[1].isnan().all())


def test_a_depth_of_nothing_is_refused():
    with pytest.raises(InputError, match="depth is 0"):
        preconditioned_gradient(torch.eye(2), torch.eye(2), 0)


@given(st.integers(2, 5), st.integers(2, 5), st.integers(1, 5), seeds)
@settings(deadline=None, max_examples=20)
def test_singular_values_move_as_a_small_step_along_the_flow_moves_them(outputs, inputs, depth, seed):
    A, G = randn(2, outputs, inputs, seed=seed)
    small = 1e-5
    step = small * preconditioned_gradient(A, G, depth)
    values, before, after = (torch.linalg.svdvals(M) for M in (A, A + step, A - step))
    gap = float(values.diff().abs().min())
    velocity = (after - before) / (2 * small)
    expected = singular_value_velocity(A, G, depth)
    tolerance = small * float(expected.norm()) * (1 + float(G.norm()) / gap)
    assert velocity.numpy() == pytest.approx(expected.numpy(), rel=1e-5, abs=max(tolerance, 1e-7))


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_closed_flow_is_that_of_the_balanced_factors(depth):
    A, Y = randn(2, 3, 5, seed=5)
    design = randn(5, 9, seed=6)
    C, B = design @ design.T / 9, Y @ design @ design.T / 9
    closed = end_to_end_flow(lambda A: A @ C - B, A, depth, TIMES, relative_tolerance=1e-10)
    factors, direct = factor_flow(lambda A: A @ C - B, balanced_factors(A, depth), TIMES, relative_tolerance=1e-10)
    assert bool(closed.converged)
    assert bool(direct.converged)
    assert product(factors).numpy() == pytest.approx(closed.states.numpy(), abs=1e-7)
    for inner, outer in itertools.pairwise(factors):
        assert (outer.mT @ outer).numpy() == pytest.approx((inner @ inner.mT).numpy(), abs=1e-6)


@given(sizes, sizes, st.integers(1, 8), seeds)
@settings(deadline=None, max_examples=10)
def test_two_layers_of_any_width_and_weights_close_on_their_gram_matrix(outputs, inputs, width, seed):
    factors = gaussian_factors((inputs, width, outputs), 1.0, torch.Generator().manual_seed(seed))
    Y = randn(outputs, inputs, seed=seed + 1)
    stacked = torch.cat([factors[0].mT, factors[1]])
    closed = two_layer_flow(lambda A: A - Y, stacked @ stacked.mT, inputs, TIMES[:3], relative_tolerance=1e-9)
    direct, _ = factor_flow(lambda A: A - Y, factors, TIMES[:3], relative_tolerance=1e-9)
    assert closed.states[:, inputs:, :inputs].numpy() == pytest.approx(product(direct).numpy(), abs=1e-5)
    assert closed.states[:, :inputs, :inputs].numpy() == pytest.approx((direct[0].mT @ direct[0]).numpy(), abs=1e-5)


def test_members_of_a_batch_flow_by_themselves():
    A, Y = randn(2, 2, 3, 3, seed=7)
    together = end_to_end_flow(lambda A: A - Y, A, 3, TIMES)
    alone = end_to_end_flow(lambda A: A - Y[1], A[1], 3, TIMES)
    assert together.states[:, 1].numpy() == pytest.approx(alone.states.numpy(), abs=1e-12)


def test_aligned_modes_follow_the_logistic_curve_of_saxe():
    target = torch.tensor([3.0, 1.0, 0.5], dtype=torch.float64)
    U, V = (torch.linalg.qr(randn(3, 3, seed=seed)).Q for seed in (8, 9))
    Y, start = U @ torch.diag(target) @ V.T, torch.tensor([0.01, 0.02, 0.6], dtype=torch.float64)
    flow = end_to_end_flow(lambda A: A - Y, U @ torch.diag(start) @ V.T, 2, TIMES, relative_tolerance=1e-10)
    modes = torch.diagonal(U.T @ flow.states @ V, dim1=-2, dim2=-1)
    assert modes.numpy() == pytest.approx(two_layer_mode(start, target, TIMES[:, None]).numpy(), abs=1e-8)


def test_a_mode_is_half_learned_after_its_waiting_time():
    initial, target = torch.tensor(1e-3, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
    waiting = torch.log(target / initial - 1) / (2 * target)
    assert float(two_layer_mode(initial, target, waiting)) == pytest.approx(1)
    assert math.isclose(float(two_layer_mode(initial, target, torch.tensor(0.0))), 1e-3)


def test_the_closed_flow_keeps_the_sign_of_the_determinant():
    start, Y = torch.diag(torch.tensor([0.5, -0.2], dtype=torch.float64)), torch.eye(2, dtype=torch.float64)
    ends = end_to_end_flow(lambda A: A - Y, start, 2, [8.0]).states[0]
    assert ends.numpy() == pytest.approx(np.diag([1, 0]), abs=1e-3)
    assert float(ends.det()) < 0
