"""The law of Marchenko and Pastur against numerical integrals, its moments, and random designs."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from learnscope.errors import InputError
from learnscope.observables.random_matrices import (
    condition_number,
    gram_eigenvalues,
    is_positive,
    marchenko_pastur_cdf,
    marchenko_pastur_condition_number,
    marchenko_pastur_density,
    marchenko_pastur_distance,
    marchenko_pastur_edges,
    marchenko_pastur_quadrature,
)
from learnscope.randomness import generator

RATIOS = [0.05, 0.5, 1.0, 2.0, 10.0]
ratios = st.floats(0.01, 20)


def density(value: float, ratio: float) -> float:
    return float(marchenko_pastur_density(torch.tensor(value, dtype=torch.float64), ratio))


@pytest.mark.parametrize("ratio", RATIOS)
def test_the_cumulative_distribution_is_the_integral_of_the_density(ratio):
    low, high = marchenko_pastur_edges(ratio)
    for share in (0.1, 0.5, 0.9):
        end = low + share * (high - low)
        area, _ = integrate.quad(density, low, end, args=(ratio,), limit=400)
        cdf = float(marchenko_pastur_cdf(torch.tensor(end, dtype=torch.float64), ratio))
        assert cdf == pytest.approx(max(0.0, 1 - 1 / ratio) + area, abs=1e-6)


@given(ratios)
def test_the_distribution_rises_from_the_zeros_to_one(ratio):
    low, high = marchenko_pastur_edges(ratio)
    places = torch.cat([torch.tensor([-1.0, 0.0]), torch.linspace(low, high, 50)]).double()
    cdf = marchenko_pastur_cdf(places, ratio)
    assert float(cdf[0]) == 0
    assert float(cdf[1]) == pytest.approx(max(0.0, 1 - 1 / ratio), abs=1e-9)
    assert float(cdf[-1]) == pytest.approx(1, abs=1e-6)
    assert bool((cdf.diff() >= -1e-9).all())


@given(ratios.filter(lambda ratio: abs(ratio - 1) > 0.02) | st.just(1.0))
def test_the_quadrature_has_the_moments_of_the_law(ratio):
    values, masses = marchenko_pastur_quadrature(ratio, 2000)
    moments = [float((masses * values**k).sum()) for k in range(4)]
    narayana = [min(1, 1 / ratio), 1, 1 + ratio, 1 + 3 * ratio + ratio**2]
    assert moments == pytest.approx(narayana, rel=1e-9)


@given(ratios)
def test_the_condition_number_is_that_of_the_transposed_design(ratio):
    assert marchenko_pastur_condition_number(ratio) == pytest.approx(
        marchenko_pastur_condition_number(1 / ratio), rel=1e-6
    )


def test_as_many_rows_as_columns_have_no_condition_number():
    assert marchenko_pastur_condition_number(1.0) == math.inf


@pytest.mark.parametrize(("n", "d"), [(900, 300), (300, 300), (100, 300)])
def test_random_designs_follow_the_law_and_correlated_ones_do_not(n, d):
    random = generator("test random matrices", n, d)
    x = torch.randn(n, d, generator=random, dtype=torch.float64)
    values = gram_eigenvalues(x)
    assert int((~is_positive(values)).sum()) == max(0, d - n)
    assert float(marchenko_pastur_distance(values, d / n)) < 10 / d
    mixed = x @ torch.linspace(0.2, 1.8, d).diag().double()
    assert float(marchenko_pastur_distance(gram_eigenvalues(mixed), d / n)) > 10 / d


def test_the_distance_is_that_of_scipy_where_there_are_no_zeros():
    values = torch.linspace(0.2, 2.5, 40, dtype=torch.float64)
    theirs = stats.kstest(values.numpy(), lambda v: marchenko_pastur_cdf(torch.from_numpy(v), 0.4).numpy())
    assert float(marchenko_pastur_distance(values, 0.4)) == pytest.approx(float(theirs.statistic), abs=1e-12)


def test_the_condition_number_ignores_zeros_and_batches():
    values = torch.tensor([[0.0, 1e-17, 0.5, 2.0], [1.0, 2.0, 3.0, 4.0]], dtype=torch.float64)
    assert condition_number(values).tolist() == [4.0, 4.0]


def test_eigenvalues_are_the_squared_singular_values_over_the_rows():
    x = torch.randn(3, 7, 4, generator=generator("gram"), dtype=torch.float64)
    torch.testing.assert_close(gram_eigenvalues(x), torch.linalg.svdvals(x).square().flip(-1) / 7)


@pytest.mark.parametrize("ratio", [0.0, -1.0, math.nan])
def test_a_ratio_must_be_positive(ratio):
    for function in (marchenko_pastur_edges, marchenko_pastur_quadrature):
        with pytest.raises(InputError, match="give d / n"):
            function(ratio)
