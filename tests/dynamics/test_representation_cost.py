"""The cost of a matrix in the weights, its expansion in the depth, and the minima that L2 leaves."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnscope.dynamics.representation_cost import (
    penalised_singular_values,
    representation_cost,
    representation_cost_coefficients,
    shifted_target,
)
from learnscope.errors import InputError
from learnscope.networks.deep_linear import balanced_factors
from learnscope.randomness import generator

VALUES = st.lists(st.floats(0.05, 4), min_size=1, max_size=5)


@pytest.mark.parametrize("depth", [1, 2, 3, 7])
def test_the_cost_is_that_of_balanced_factors(depth):
    matrix = torch.randn(3, 5, 4, generator=generator("cost"), dtype=torch.float64)
    squares = sum(factor.square().sum((-2, -1)) for factor in balanced_factors(matrix, depth))
    torch.testing.assert_close(representation_cost(torch.linalg.svdvals(matrix), depth), squares)


@given(VALUES)
@settings(max_examples=40, deadline=None)
def test_the_expansion_is_off_by_the_next_term(values):
    s = torch.tensor([*values, 0.0], dtype=torch.float64)
    rank, linear, square = representation_cost_coefficients(s).tolist()
    depth = 4096
    rest = float(representation_cost(s, depth)) - depth * rank - linear - square / depth
    next_term = 4 / 3 * sum(torch.log(s[:-1]).tolist()[i] ** 3 for i in range(len(values)))
    assert rest * depth**2 == pytest.approx(next_term, abs=0.1)
    assert rank == len(values)


@given(VALUES, st.integers(2, 8), st.floats(0, 0.2))
@settings(max_examples=60, deadline=None)
def test_modes_at_the_shifted_target_are_stationary(values, depth, penalty):
    s = torch.tensor(values, dtype=torch.float64)
    t = shifted_target(s, depth, penalty)
    s.requires_grad_()
    loss = ((s - t).square() / 2).sum() + penalty * representation_cost(s, depth)
    (slope,) = torch.autograd.grad(loss, s)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-9)


@given(VALUES, st.integers(2, 8), st.floats(0, 0.5))
@settings(max_examples=60, deadline=None)
def test_minima_are_those_of_a_fine_grid(values, depth, penalty):
    t = torch.tensor(values, dtype=torch.float64)
    found = penalised_singular_values(t, depth, penalty)
    grid = torch.linspace(0, 1, 20_001, dtype=torch.float64)[:, None] * t
    loss = (grid - t).square() / 2 + penalty * depth * grid ** (2 / depth)
    lower = (loss[1:-1] <= loss[:-2]) & (loss[1:-1] <= loss[2:])
    for k in range(len(values)):
        inner = grid[1:-1, k][lower[:, k]]
        if found[k] > 0.001 * t[k] and found[k] < 0.999 * t[k] and len(inner):
            assert float(inner.max()) == pytest.approx(float(found[k]), abs=2e-4 * values[k])
        elif float(found[k]) == 0:
            assert not len(inner)


def test_without_a_penalty_nothing_shrinks():
    t = torch.tensor([2.0, 0.3, 0.0], dtype=torch.float64)
    for depth in (2, 3, 6):
        assert penalised_singular_values(t, depth, 0.0).tolist() == pytest.approx([2.0, 0.3, 0.0])


def test_a_double_root_is_found():
    depth, t = 3, torch.tensor([1.0], dtype=torch.float64)
    critical = 0.75 * 0.25 ** (1 / 3) / 2  # max of (1 - s) s^(1/3), at s = 1/4
    assert penalised_singular_values(t, depth, critical - 1e-12).item() == pytest.approx(0.25, abs=1e-4)
    assert penalised_singular_values(t, depth, critical + 1e-9).item() == 0


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda s: representation_cost(s, 0), "depth is 0; give the number of layers, 1 or more"),
        (lambda s: penalised_singular_values(s, 1, 0.1), "depth is 1; give the number of layers, 2 or more"),
    ],
)
def test_bad_input_is_told(call, told):
    with pytest.raises(InputError, match=told):
        call(torch.ones(2))
