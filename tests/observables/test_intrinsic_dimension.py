"""The intrinsic dimension of known manifolds, and when an estimate may not be trusted."""

import pytest
import torch

from learnscope.errors import InputError
from learnscope.observables.intrinsic_dimension import intrinsic_dimension, intrinsic_dimensions
from learnscope.observables.neighbours import nearest_neighbours
from learnscope.observables.reference import intrinsic_dimension as reference
from learnscope.randomness import generator

METHODS = ["two-nn", "two-nn-likelihood", "levina-bickel"]


def cube(n: int, d: int, embedding: int = 30, seed: int = 0) -> torch.Tensor:
    draws = generator("cube", d, seed)
    return torch.rand(n, d, generator=draws) @ torch.randn(d, embedding, generator=draws)


def swiss_roll(n: int) -> torch.Tensor:
    t, height = torch.rand(2, n, generator=generator("roll")).double()
    angle = 1.5 * torch.pi * (1 + 2 * t.sqrt())
    return torch.stack([angle * angle.cos(), 21 * height, angle * angle.sin()], dim=1)


@pytest.mark.parametrize("method", METHODS)
def test_equals_the_definition(method):
    h = cube(150, 3)
    slow = {
        "two-nn": reference.two_nn,
        "two-nn-likelihood": reference.two_nn_likelihood,
        "levina-bickel": lambda h: reference.levina_bickel(h, 20),
    }
    assert float(intrinsic_dimension(h, method=method)) == pytest.approx(slow[method](h), rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("d", [1, 2, 5])
def test_reads_the_dimension_of_a_cube_up_to_five(method, d):
    estimate = intrinsic_dimension(cube(2000, d), method=method)
    assert float(estimate) == pytest.approx(d, rel=0.12)
    assert bool(estimate.converged)


def test_reads_two_on_a_rolled_sheet():
    for estimate in intrinsic_dimensions(swiss_roll(2000)).values():
        assert float(estimate) == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize("method", METHODS)
def test_ten_dimensions_read_low_and_say_so(method):
    estimate = intrinsic_dimension(cube(2000, 10), method=method)
    assert 7.0 < float(estimate) < 9.2
    assert not bool(estimate.converged)
    assert any("reads low" in note for note in estimate.notes)


@pytest.mark.parametrize("method", METHODS)
def test_duplicates_change_nothing_and_are_counted(method):
    distinct = cube(2500, 4)
    mixed = torch.cat([distinct, distinct[:500]])[torch.randperm(3000, generator=generator("mix"))]
    alone, repeated = intrinsic_dimension(distinct, method=method), intrinsic_dimension(mixed, method=method)
    torch.testing.assert_close(repeated.value, alone.value, rtol=1e-12, atol=0)
    assert int(repeated.n) == 2500
    assert any("500" in note for note in repeated.notes)
    assert alone.notes == ()


@pytest.mark.parametrize("method", METHODS)
def test_the_standard_error_is_the_spread_over_samples_up_to_shared_neighbours(method):
    estimates = [intrinsic_dimension(cube(600, 2, seed=seed), method=method) for seed in range(60)]
    spread = torch.stack([estimate.value for estimate in estimates]).std()
    claimed = torch.stack([estimate.standard_error for estimate in estimates]).mean()
    assert 0.65 < float(claimed / spread) < 1.1


@pytest.mark.parametrize("method", METHODS)
def test_resampling_agrees_with_the_formula_on_a_uniform_density(method):
    h = cube(1000, 2)
    formula = intrinsic_dimension(h, method=method).standard_error
    resampled = intrinsic_dimension(h, method=method, generator=generator("resample")).standard_error
    again = intrinsic_dimension(h, method=method, generator=generator("resample")).standard_error
    assert torch.equal(resampled, again)
    assert 0.7 < float(resampled / formula) < 1.4


def test_one_search_serves_all_three():
    h = cube(300, 2)
    together = intrinsic_dimensions(h, nearest_neighbours(h, 20))
    assert list(together) == METHODS
    for method in METHODS:
        assert torch.equal(together[method].value, intrinsic_dimension(h, method=method).value)


@pytest.mark.parametrize("neighbours", [2, 7, 25])
def test_neighbours_given_do_not_change_the_answer(neighbours):
    h = cube(300, 2)
    given = intrinsic_dimension(h, method="levina-bickel", neighbours=nearest_neighbours(h, neighbours))
    assert torch.equal(given.value, intrinsic_dimension(h, method="levina-bickel").value)


@pytest.mark.parametrize("method", METHODS)
def test_does_not_depend_on_scale_shift_rotation_or_order(method):
    h = cube(400, 3).double()
    turn = torch.linalg.qr(torch.randn(30, 30, generator=generator("turn"), dtype=torch.float64)).Q
    moved = (1e4 * h @ turn + 7)[torch.randperm(400, generator=generator("order"))]
    original, other = (intrinsic_dimension(each, method=method) for each in (h, moved))
    torch.testing.assert_close(original.value, other.value, rtol=1e-6, atol=0)


def test_a_huge_offset_costs_float32_only_the_digits_it_has_lost():
    h = cube(2000, 2)
    torch.testing.assert_close(intrinsic_dimension(h + 1e3).value, intrinsic_dimension(h).value, rtol=0.02, atol=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "h",
    [torch.zeros(100, 5), torch.zeros(100, 5).index_fill(0, torch.tensor([3]), 1.0), torch.eye(50)],
    ids=["all equal", "two distinct", "all equally far"],
)
def test_no_dimension_where_there_is_none(method, h):
    estimate = intrinsic_dimension(h, method=method)
    assert bool(estimate.value.isnan())
    assert not bool(estimate.converged)
    assert estimate.notes


@pytest.mark.parametrize("n", [3, 4, 20])
def test_few_examples_give_a_number_that_is_not_trusted(n):
    for estimate in intrinsic_dimensions(cube(n, 1)).values():
        assert float(estimate) > 0
        assert int(estimate.n) == n
        assert not bool(estimate.converged)
        assert any("distinct examples are left" in note for note in estimate.notes)


def test_half_precision_is_promoted():
    h = cube(500, 2).half()
    assert torch.equal(intrinsic_dimension(h).value, intrinsic_dimension(h.float()).value)


def test_says_in_a_sentence_what_cannot_be_estimated():
    h = cube(50, 2)
    with pytest.raises(InputError, match="at least 3 examples"):
        intrinsic_dimension(h[:2])
    with pytest.raises(InputError, match="'two-nn'"):
        intrinsic_dimension(h, method="twonn")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="50 examples"):
        intrinsic_dimension(h[:40], neighbours=nearest_neighbours(h, 2))
    with pytest.raises(InputError, match="NaN"):
        intrinsic_dimension(h.index_fill(0, torch.tensor([0]), torch.nan))
