"""Euler's method under the step control, on a point that moves on a line."""

import itertools
import math

import pytest
import torch

from learnscope.dynamics.euler import trajectory
from learnscope.dynamics.step_control import Limits


class Line:
    """f = θ and dθ/dt = g(F)."""

    def __init__(self, velocity):
        self.rule = velocity

    def outputs(self, state):
        return state

    def velocity(self, state, predictions):
        return self.rule(predictions)


def moments(velocity, *, alpha=1.0, limits=(0.01, 1e-2), max_time=math.inf, count=400):
    start = torch.zeros(1, dtype=torch.float64)
    return list(itertools.islice(trajectory(Line(velocity), start, alpha, Limits(*limits), max_time), count))


def test_it_follows_the_exponential_and_no_step_changes_the_prediction_by_the_limit():
    seen = moments(lambda F: 1 - F, alpha=2.0)
    taken = [moment for moment in seen if moment.moved]
    for moment in taken:
        assert float(moment.predictions) == pytest.approx(1 - math.exp(-2 * moment.time), abs=0.01)
    changes = torch.cat([moment.predictions for moment in taken]).diff()
    assert float(changes.abs().max()) < 0.01
    assert taken[-1].time > 1.0


def test_the_start_comes_first_and_every_try_counts():
    seen = moments(lambda F: 1 - F, count=50)
    assert (seen[0].time, seen[0].tried, seen[0].moved) == (0.0, 0, True)
    assert [moment.tried for moment in seen] == list(range(50))
    refused = [k for k in range(1, 50) if not seen[k].moved]
    assert refused[:1] == [1]  # the first step, of length 1, is too long
    assert all(torch.equal(seen[k].state, seen[k - 1].state) and seen[k].time == seen[k - 1].time for k in refused)


def test_the_last_step_ends_at_the_largest_time():
    seen = moments(lambda F: 1 - F, max_time=0.3)
    assert max(moment.time for moment in seen) == 0.3
    assert 0.3 in [moment.time for moment in seen]


def test_it_is_stuck_where_everything_beyond_is_not_finite():
    seen = moments(lambda F: torch.full_like(F, math.inf), count=400)
    assert not seen[1].stuck
    assert seen[-1].stuck
    assert not any(moment.moved for moment in seen[1:])


def test_a_jump_of_the_velocity_is_crossed_and_its_error_is_counted():
    seen = moments(lambda F: torch.where(F < 0.5, 1.0, -1.0).to(F.dtype), count=2000)
    assert max(float(moment.predictions) for moment in seen) > 0.49
    assert seen[-1].error > 0
    assert not any(moment.error for moment in moments(lambda F: 1 - F) if moment.time < 1.0)
