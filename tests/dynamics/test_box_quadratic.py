"""The least value of a quadratic on a box, against its optimality conditions and SciPy's L-BFGS-B."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from learnscope.dynamics.box_quadratic import box_minimum

TOLERANCE = 1e-8


def drawn(seed, n, rank, scale):
    source = np.random.default_rng(seed)
    factor = source.standard_normal((n, rank)) * scale
    return factor @ factor.T, source.standard_normal(n), source.random(n)


def pulled(quadratic, linear, place):
    """How far each component of the gradient is from pushing against a side, or from zero inside."""
    gradient = quadratic @ place + linear
    at_zero, at_one = np.maximum(-gradient, 0), np.maximum(gradient, 0)
    return np.where(place <= 0, at_zero, np.where(place >= 1, at_one, np.abs(gradient)))


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 30), st.sampled_from([0.1, 1.0, 30.0]))
def test_the_gradient_vanishes_inside_and_pushes_against_the_sides(seed, n, rank, scale):
    quadratic, linear, start = drawn(seed, n, rank, scale)
    found = box_minimum(quadratic, linear, start, tolerance=1e-6)
    assert found.converged
    assert np.all((found.place >= 0) & (found.place <= 1))
    assert pulled(quadratic, linear, found.place).max() <= 1e-6
    assert found.residual == pytest.approx(pulled(quadratic, linear, found.place).max(), abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_no_other_method_finds_a_lower_value(seed):
    quadratic, linear, start = drawn(seed, 25, 25, 1.0)
    place = box_minimum(quadratic, linear, start, tolerance=TOLERANCE).place
    other = minimize(
        lambda s: (s @ quadratic @ s / 2 + linear @ s, quadratic @ s + linear),
        start,
        jac=True,
        bounds=[(0, 1)] * 25,
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-10},
    ).x
    assert np.abs(place - other).max() < 1e-5


def test_the_start_does_not_matter():
    quadratic, linear, start = drawn(3, 40, 40, 1.0)
    ends = [
        box_minimum(quadratic, linear, each, tolerance=TOLERANCE).place for each in (start, 0 * start, 0 * start + 1)
    ]
    assert np.abs(ends[0] - ends[1]).max() < 1e-6
    assert np.abs(ends[0] - ends[2]).max() < 1e-6


def test_equal_rows_share_what_they_pull():
    quadratic = np.ones((4, 4))
    found = box_minimum(quadratic, np.full(4, -2.0), np.zeros(4), tolerance=TOLERANCE)
    assert found.converged
    assert found.place.sum() == pytest.approx(2.0, abs=1e-7)


def test_without_curvature_numbers_go_to_the_side_they_are_pulled_to():
    found = box_minimum(np.zeros((3, 3)), np.array([1.0, -1.0, 0.0]), np.full(3, 0.5), tolerance=TOLERANCE)
    assert found.place[:2].tolist() == [0.0, 1.0]


def test_nothing_to_minimise_is_converged():
    assert box_minimum(np.zeros((0, 0)), np.zeros(0), np.zeros(0), tolerance=TOLERANCE).converged


def test_it_says_so_when_it_gives_up():
    quadratic, linear, start = drawn(0, 30, 30, 3.0)
    found = box_minimum(quadratic, linear, start, tolerance=1e-12, max_steps=1)
    assert not found.converged
    assert found.residual > 1e-12
