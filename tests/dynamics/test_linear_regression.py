"""Least squares by descent: every path against closed forms, and the closed forms against the paths."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnscope.dynamics.linear_regression import (
    adam,
    contraction_factor,
    gradient_descent,
    mean_square_error,
    minimum_norm_solution,
    row_space_part,
    sign_descent,
    steps_to_shrink,
    stochastic_gradient_descent,
)
from learnscope.errors import InputError
from learnscope.randomness import generator

DESCENTS = [gradient_descent, sign_descent, adam]


def problem(n: int, d: int, name: str = "problem") -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = generator("test linear regression", name, n, d)
    draws = [torch.randn(*shape, generator=random, dtype=torch.float64) for shape in ((n, d), (n,), (d,))]
    return draws[0], draws[1], draws[2]


def torch_descent(optimiser: type[torch.optim.Optimizer], steps: int, **options) -> torch.Tensor:
    x, y, start = problem(6, 4)
    weights = start.clone().requires_grad_()
    optimise = optimiser([weights], **options)
    for _ in range(steps):
        optimise.zero_grad()
        ((x @ weights - y).square().sum() / 2).backward()
        optimise.step()
    return weights.detach()


def test_gradient_descent_and_adam_equal_pytorchs_optimisers():
    x, y, start = problem(6, 4)
    torch.testing.assert_close(gradient_descent(x, y, start, 0.01, [7])[0], torch_descent(torch.optim.SGD, 7, lr=0.01))
    torch.testing.assert_close(adam(x, y, start, 0.1, [7])[0], torch_descent(torch.optim.Adam, 7, lr=0.1))


def test_one_example_a_step_equals_gradient_descent_on_that_example():
    x, y, start = problem(5, 3)
    order = torch.randint(5, (4,), generator=torch.Generator().manual_seed(3)).tolist()
    weights = start
    for i in order:
        weights = gradient_descent(x[i : i + 1], y[i : i + 1], weights, 0.1, [1])[0]
    path = stochastic_gradient_descent(x, y, start, 0.1, [0, 4], torch.Generator().manual_seed(3))
    assert torch.equal(path[0], start)
    torch.testing.assert_close(path[1], weights)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_gradient_descent_follows_the_powers_of_its_matrix(n, d, seed):
    draws = torch.Generator().manual_seed(seed)
    x, y, start = (torch.randn(*shape, generator=draws, dtype=torch.float64) for shape in ((n, d), (n,), (d,)))
    limit = minimum_norm_solution(x, y) + start - row_space_part(x, start)
    shrink = torch.eye(d, dtype=torch.float64) - 0.02 * x.mT @ x
    expected = limit + torch.linalg.matrix_power(shrink, 30) @ (start - limit)
    torch.testing.assert_close(gradient_descent(x, y, start, 0.02, [30])[0], expected, rtol=1e-8, atol=1e-10)


def test_from_zero_the_limit_is_the_solution_of_least_norm_and_from_elsewhere_it_keeps_the_null_space():
    x, y, start = problem(5, 12)
    least = torch.tensor(np.linalg.lstsq(x.numpy(), y.numpy(), rcond=None)[0])
    torch.testing.assert_close(minimum_norm_solution(x, y), least)
    rate = 1 / torch.linalg.matrix_norm(x, ord=2) ** 2
    ends = gradient_descent(x, y, torch.stack([torch.zeros_like(start), start]), float(rate), [4000])[0]
    torch.testing.assert_close(ends[0], least)
    torch.testing.assert_close(ends[1], least + start - row_space_part(x, start))


def test_the_row_space_is_where_rows_combine_to():
    x, coefficients, start = problem(3, 7)
    inside = x.mT @ coefficients
    torch.testing.assert_close(row_space_part(x, inside), inside)
    torch.testing.assert_close(x @ (start - row_space_part(x, start)), torch.zeros(3).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("descent", DESCENTS)
def test_batches_of_learning_rates_designs_and_starts_equal_one_at_a_time(descent):
    x = torch.stack([problem(4, 3, name)[0] for name in "ab"])
    y = torch.stack([problem(4, 3, name)[1] for name in "ab"])
    starts, rates = torch.stack([problem(4, 3, name)[2] for name in "ab"]), torch.tensor([[0.01], [0.02], [0.03]])
    path = descent(x, y, starts.expand(3, 2, 3), rates.double(), [0, 2, 5])
    assert path.shape == (3, 3, 2, 3)
    alone = descent(x[1], y[1], starts[1], float(rates[2].double()), [0, 2, 5])
    torch.testing.assert_close(path[:, 2, 1], alone)


def test_stochastic_descent_is_batched_over_one_sequence_of_examples():
    x, y, start = problem(4, 3)
    starts = torch.stack([start, -start])
    both = stochastic_gradient_descent(x, y, starts, 0.1, [9], torch.Generator().manual_seed(1))
    alone = stochastic_gradient_descent(x, y, -start, 0.1, [9], torch.Generator().manual_seed(1))
    torch.testing.assert_close(both[:, 1], alone)


def test_inputs_are_left_alone_and_float32_stays():
    x, y, start = (part.float() for part in problem(4, 3))
    before = start.clone()
    for descent in DESCENTS:
        assert descent(x, y, start, 0.1, [3]).dtype == torch.float32
    assert stochastic_gradient_descent(x, y, start, 0.1, [3], torch.Generator()).dtype == torch.float32
    assert torch.equal(start, before)


@pytest.mark.parametrize("multiple", [0.3, 1.0, 1.7, 2.05])
def test_the_closed_form_of_the_error_equals_the_path_and_ends_in_the_contraction_factor(multiple):
    x, y, start = problem(8, 5)
    values, vectors = torch.linalg.eigh(x.mT @ x)
    rate = multiple / float(values[-1])
    limit = minimum_norm_solution(x, y)
    path = gradient_descent(x, y, start, rate, [0, 3, 40])
    energy = (vectors.mT @ (start - limit)).square()
    squares = mean_square_error(values, energy, rate, torch.tensor([0.0, 3.0, 40.0]).double())
    torch.testing.assert_close((path - limit).square().sum(-1), squares, rtol=1e-9, atol=1e-20)
    late = mean_square_error(values, energy, rate, torch.tensor([3000.0, 3001.0]).double()).sqrt()
    torch.testing.assert_close(late[1] / late[0], contraction_factor(values, rate), rtol=1e-6, atol=0)


def test_steps_to_shrink_are_where_the_error_has_that_size():
    values, energy = torch.tensor([[0.1, 0.5, 2.0], [1.0, 1.0, 1.0]]).double(), torch.tensor([1.0, 2.0, 3.0]).double()
    steps = steps_to_shrink(values, energy, 1e-3)
    after = mean_square_error(values[0], energy, 0.5, steps[:1])
    assert float(after / 6) == pytest.approx(1e-6, rel=1e-9)
    assert float(steps[1]) == pytest.approx(0, abs=1e-9)
    assert float(steps_to_shrink(torch.tensor([1e-30, 1.0]).double(), torch.ones(2), 1e-3)) == pytest.approx(1e12)


def test_says_in_a_sentence_what_cannot_be_run():
    x, y, start = problem(4, 3)
    for steps in ([], [3, 3], [-1, 2]):
        with pytest.raises(InputError, match="increasing numbers from 0 on"):
            gradient_descent(x, y, start, 0.1, steps)
        with pytest.raises(InputError, match="increasing numbers from 0 on"):
            stochastic_gradient_descent(x, y, start, 0.1, steps, torch.Generator())
    with pytest.raises(InputError, match="factor is 1"):
        steps_to_shrink(torch.ones(2), torch.ones(2), 1.0)
