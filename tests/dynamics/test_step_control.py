import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnscope.dynamics.step_control import (
    CROSSED,
    FLOOR_ERROR,
    FLOOR_OUTPUT,
    LARGEST_GROWTH,
    REFUSED,
    STRONGEST_CUT,
    TAKEN,
    Change,
    Limits,
    change,
    judge,
    next_factor,
)

LIMITS = Limits(0.1, 1e-4)
positive = st.floats(1e-12, 1e12)


def stepping(step, velocity_at, speed=1.0, size=1.0):
    """What a step in one dimension changes: predictions by speed · step, the velocity by what a function says."""
    before, after = velocity_at(0.0), velocity_at(step)
    return change(speed * step, step, (after - before) ** 2, before**2, after**2, size**2)


def converge(velocity_at, step=1.0, tries=200, **sizes):
    """Shorten or lengthen a step until it is taken, and return its length and the verdict."""
    for _ in range(tries):
        made = stepping(step, velocity_at, **sizes)
        if (verdict := judge(made, LIMITS)) != REFUSED:
            return step, verdict
        step *= next_factor(made, LIMITS)
    raise AssertionError("stalled")


def test_a_smooth_step_within_both_limits_is_taken():
    step, verdict = converge(lambda t: 1 + t)
    assert verdict == TAKEN or step * step <= FLOOR_ERROR * LIMITS.gradient
    assert step < LIMITS.output


@given(st.floats(1e-3, 1e3), st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_no_jump_of_the_velocity_stalls_the_flow(jump, speed, size):
    step, verdict = converge(lambda t: 1.0 if t == 0 else 1 + jump, speed=speed, size=size)
    assert step > 0
    if verdict == CROSSED:
        share = jump / (1 + jump)
        assert step * jump <= FLOOR_ERROR * LIMITS.gradient * size * (1 + 1e-9)
        assert share * speed * step <= FLOOR_OUTPUT * LIMITS.output * (1 + 1e-9)
        # No shorter than what the floor lets pass, up to one cut and the rounding of the factor.
        longest = min(FLOOR_ERROR * LIMITS.gradient * size / jump, FLOOR_OUTPUT * LIMITS.output / (share * speed), 1.0)
        assert step >= min(longest, LIMITS.output / speed) * STRONGEST_CUT / 2


def test_a_jump_at_rest_and_a_reversal_are_crossed():
    for after in (0.0, -1.0, 1e6):
        _, verdict = converge(lambda t, after=after: 1.0 if t == 0 else after)
        assert verdict == CROSSED


@given(positive, positive, positive, positive)
def test_predictions_never_change_by_the_limit(output, gradient, share, error):
    if output >= LIMITS.output:
        assert judge(Change(output, gradient, share, error), LIMITS) == REFUSED


@given(positive, positive, positive, positive)
def test_the_next_step_keeps_its_bounds(output, gradient, share, error):
    factor = next_factor(Change(output, gradient, share, error), LIMITS)
    assert STRONGEST_CUT / 2 ** (1 / 8) <= factor <= LARGEST_GROWTH
    assert (8 * math.log2(factor)) == pytest.approx(round(8 * math.log2(factor)), abs=1e-9)


def test_what_is_not_finite_is_refused_and_cut():
    for output in (math.nan, math.inf):
        made = Change(output, 0.0, 0.0, 0.0)
        assert judge(made, LIMITS) == REFUSED
        assert next_factor(made, LIMITS) == STRONGEST_CUT


def test_the_changes_of_a_step_in_closed_form():
    made = change(0.3, 2.0, 9.0, 4.0, 1.0, 100.0)
    assert made == Change(output=0.3, gradient=4.5, share=1.5, error=0.6)
    assert change(0.0, 1.0, 0.0, 0.0, 0.0, 0.0) == Change(0.0, 0.0, 0.0, 0.0)
    assert change(0.0, 1.0, 4.0, 4.0, 0.0, 1.0).gradient == math.inf
