"""The linear residual network: gradients by automatic differentiation, the bound on them, and where it stops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnscope.networks.linear_residual import (
    largest_norm,
    residual_gradient,
    residual_loss,
    residual_maps,
    squared_gradient_bound,
)
from learnscope.randomness import generator


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator("test linear residual", seed, *shape), dtype=torch.float64)


def test_the_gradient_is_that_of_automatic_differentiation():
    factors, target = draw(2, 4, 3, 3).requires_grad_(), draw(2, 3, 3)
    residual_loss(factors, target).sum().backward()
    torch.testing.assert_close(residual_gradient(factors.detach(), target), factors.grad)


def test_the_loss_is_the_distance_of_the_product():
    factors, target = draw(2, 3, 3), draw(3, 3)
    identity = torch.eye(3, dtype=torch.float64)
    error = (identity + factors[1]) @ (identity + factors[0]) - target
    assert float(residual_loss(factors, target)) == pytest.approx(float(error.norm() ** 2 / 2))


@given(st.floats(0.0, 0.99), st.integers(1, 8), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_the_squared_gradient_stays_above_its_bound_inside_the_unit_ball(radius, depth, seed):
    factors, target = draw(depth, 4, 4, seed=seed), draw(4, 4, seed=seed + 1)
    factors = radius * factors / torch.linalg.matrix_norm(factors, ord=2, keepdim=True)
    squared = residual_gradient(factors, target).square().sum()
    bound = squared_gradient_bound(residual_loss(factors, target), largest_norm(factors), depth)
    assert float(squared) >= float(bound) * (1 - 1e-9)


def test_at_zero_the_bound_is_attained():
    factors, target = torch.zeros(5, 3, 3, dtype=torch.float64), draw(3, 3)
    squared = residual_gradient(factors, target).square().sum()
    torch.testing.assert_close(squared, squared_gradient_bound(residual_loss(factors, target), 0.0, 5))


def test_two_factors_at_minus_the_identity_are_a_critical_point_outside_of_the_ball():
    factors, target = torch.zeros(4, 3, 3, dtype=torch.float64), draw(3, 3)
    factors[:2] = -torch.eye(3)
    assert not residual_gradient(factors, target).any()
    assert float(residual_loss(factors, target)) == pytest.approx(float(target.norm() ** 2 / 2))
    assert float(largest_norm(factors)) == 1


def test_maps_are_the_identity_plus_the_factors():
    assert torch.equal(residual_maps(torch.ones(2, 1, 1)), torch.full((2, 1, 1), 2.0))
