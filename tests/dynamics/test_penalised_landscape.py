"""Critical points with L2: stationary, of the rank asked for, and minima or saddles as the theory says."""

import pytest
import torch

from learnscope.dynamics.gradient_descent import SquaredError, descend
from learnscope.dynamics.penalised_landscape import (
    least_penalised_loss,
    point_of_rank,
    smallest_hessian_eigenvalue,
)
from learnscope.networks.deep_linear import gaussian_factors, product
from learnscope.randomness import generator

TARGET = torch.tensor([1.2, 0.7, 0.4], dtype=torch.float64)


def penalised(factors, penalty):
    squares = sum(factor.square().sum((-2, -1)) for factor in factors)
    return (product(factors) - TARGET.diag()).square().sum((-2, -1)) / 2 + penalty * squares


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_points_are_critical_and_of_the_rank(depth, rank):
    factors = [factor.requires_grad_() for factor in point_of_rank(TARGET, depth, 0.04, rank)]
    for gradient in torch.autograd.grad(penalised(factors, 0.04), factors):
        assert float(gradient.abs().max()) < 1e-9
    assert int(torch.linalg.matrix_rank(product(factors))) == rank


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_two_layers_are_at_a_strict_saddle_with_a_known_eigenvalue(rank):
    factors = point_of_rank(TARGET, 2, 0.04, rank)
    smallest = smallest_hessian_eigenvalue(factors, TARGET.diag(), 0.04)
    assert float(smallest) == pytest.approx(0.08 - float(TARGET[rank]))


@pytest.mark.parametrize(("depth", "rank"), [(2, 3), (3, 0), (3, 1), (3, 2), (3, 3), (4, 0), (4, 2)])
def test_other_points_have_no_direction_down(depth, rank):
    factors = point_of_rank(TARGET, depth, 0.04, rank)
    assert float(smallest_hessian_eigenvalue(factors, TARGET.diag(), 0.04)) > -1e-9
    here = penalised(factors, 0.04)
    moved = [
        factor + noise
        for factor, noise in zip(
            factors, gaussian_factors((3,) * (depth + 1), 0.02, generator("m"), (500,)), strict=True
        )
    ]
    assert float((penalised(moved, 0.04) - here).min()) > -1e-9


@pytest.mark.parametrize("depth", [2, 3])
def test_the_least_loss_is_the_best_of_many_descents(depth):
    start = gaussian_factors((3, *(4,) * (depth - 1), 3), 1.0, generator("many", depth), (100,))
    loss = SquaredError(TARGET.diag(), torch.full((3, 3), 0.5, dtype=torch.float64))
    run = descend(start, loss, 0.1, n_steps=1500, penalty=0.04)
    reached = penalised(run.factors, 0.04)
    least = float(least_penalised_loss(TARGET, depth, 0.04))
    assert float(reached.min()) == pytest.approx(least, abs=1e-6)


def test_the_least_loss_prefers_zero_for_a_weak_mode():
    # three layers, λ = 0.08, t = 1/2: a minimum at s = 0.24 exists, but 0 is lower
    mode = torch.tensor([0.5], dtype=torch.float64)
    assert float(least_penalised_loss(mode, 3, 0.08)) == 0.125
    assert float(least_penalised_loss(mode, 3, 0.06)) < 0.125
