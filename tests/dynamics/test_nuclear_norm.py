"""The convex problem: closed forms, brute force, and the proof of optimality that comes with every solution."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnscope.distributions.matrix_completion import low_rank_matrix, observed_entries
from learnscope.dynamics.nuclear_norm import complete, soft_threshold
from learnscope.errors import InputError
from learnscope.randomness import generator


def matrix(*shape, seed=0):
    return torch.randn(shape, generator=generator("nuclear", seed), dtype=torch.float64)


def nuclear(a):
    return torch.linalg.matrix_norm(a, "nuc")


@given(st.integers(1, 5), st.integers(1, 5), st.floats(0, 3), st.integers(0, 20))
@settings(max_examples=40, deadline=None)
def test_a_soft_threshold_is_the_proximal_point(rows, columns, threshold, seed):
    a = matrix(rows, columns, seed=seed)
    x = soft_threshold(a, threshold)
    least = (x - a).square().sum() / 2 + threshold * nuclear(x)
    for other in x + 0.1 * matrix(20, rows, columns, seed=seed + 1):
        assert (other - a).square().sum() / 2 + threshold * nuclear(other) >= least - 1e-12


def test_thresholds_differ_by_matrix():
    a = matrix(2, 4, 3)
    both = soft_threshold(a, torch.tensor([0.1, 1.0], dtype=torch.float64))
    torch.testing.assert_close(both[1], soft_threshold(a[1], 1.0))


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (2, 4, 3)])
def test_a_matrix_that_is_seen_whole_is_shrunk_or_kept(shape):
    target, seen = matrix(*shape), torch.ones(shape, dtype=torch.bool)
    torch.testing.assert_close(complete(target, seen).matrix, target)
    shrunk = complete(target, seen, 0.8, tolerance=1e-10).matrix
    torch.testing.assert_close(shrunk, soft_threshold(target, 0.4), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_one_missing_entry_is_found_by_brute_force(seed):
    target = matrix(2, 2, seed=seed)
    seen = torch.tensor([[True, True], [True, False]])
    solution = complete(target, seen, tolerance=1e-9)
    tried = target.expand(20_001, 2, 2).clone()
    tried[:, 1, 1] = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    assert float(solution.objective) <= float(nuclear(tried).min()) + 1e-7
    assert float(solution.objective) >= float(nuclear(tried).min()) - 1e-3


@pytest.mark.parametrize("penalty", [0.0, 0.3, 3.0])
def test_solutions_are_optimal_within_their_gap(penalty):
    target = low_rank_matrix((15, 12), 2, generator("target"), (3,))
    seen = observed_entries((15, 12), 90, generator("seen"), (3,))
    solution = complete(target, seen, penalty, tolerance=1e-6)
    assert bool(solution.converged.all())
    assert bool((solution.gap <= 1e-6 * solution.objective).all())
    assert bool((solution.gap >= -1e-9).all())
    misfit = torch.where(seen, solution.matrix - target, 0.0).square().sum((-2, -1))
    if penalty == 0:
        assert float(misfit.max()) == 0
    torch.testing.assert_close(solution.objective, misfit + (penalty or 1) * nuclear(solution.matrix))
    better = complete(target, seen, penalty, tolerance=1e-9)
    assert bool((solution.objective - better.objective <= solution.gap + 1e-9).all())


def test_entries_that_are_not_seen_do_not_matter():
    target = low_rank_matrix((8, 8), 1, generator("target"))
    seen = observed_entries((8, 8), 40, generator("seen"))
    spoilt = torch.where(seen, target, torch.nan)
    assert torch.equal(complete(target, seen).matrix, complete(spoilt, seen).matrix)


def test_many_entries_give_a_matrix_of_low_rank_back():
    target = low_rank_matrix((20, 20), 1, generator("easy"))
    seen = observed_entries((20, 20), 300, generator("seen"))
    np.testing.assert_allclose(complete(target, seen, tolerance=1e-8).matrix, target, atol=1e-3)


def test_too_few_steps_are_not_called_converged():
    target = low_rank_matrix((15, 12), 2, generator("target"))
    solution = complete(target, observed_entries((15, 12), 90, generator("seen")), max_steps=3)
    assert not solution.converged
    assert float(solution.gap) > 1e-3


def test_nothing_seen_gives_zero():
    solution = complete(matrix(3, 3), torch.zeros(3, 3, dtype=torch.bool))
    assert not solution.matrix.any()
    assert bool(solution.converged)


def test_a_negative_penalty_is_told():
    with pytest.raises(InputError, match="penalty is -1; give 0 or a positive number"):
        complete(matrix(2, 2), torch.ones(2, 2, dtype=torch.bool), -1.0)
