"""The rules for many networks at once are those for one."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learnscope.dynamics import step_control
from learnscope.dynamics.shallow.triton import control
from learnscope.dynamics.step_control import Limits

LIMITS = Limits(0.1, 1e-4)
amount = st.one_of(st.just(0.0), st.floats(1e-14, 1e3))
output = st.one_of(amount, st.just(math.inf), st.just(math.nan))


def tensors(rows):
    return [torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True)]


@given(st.lists(st.tuples(output, *[amount] * 5), min_size=1, max_size=9))
def test_changes_are_those_of_each_network(rows):
    made = control.changes(*tensors(rows))
    for k, row in enumerate(rows):
        expected = step_control.change(*row)
        assert [float(part[k]) for part in made] == pytest.approx(list(expected), rel=1e-15, nan_ok=True)


@given(st.lists(st.tuples(output, amount, amount, amount), min_size=1, max_size=9))
def test_verdicts_and_next_steps_are_those_of_each_network(rows):
    made = control.Changes(*tensors(rows))
    alone = [step_control.Change(*row) for row in rows]
    assert control.judge(made, LIMITS).tolist() == [step_control.judge(each, LIMITS) for each in alone]
    expected = [step_control.next_factor(each, LIMITS) for each in alone]
    assert control.next_factor(made, LIMITS).tolist() == pytest.approx(expected, rel=1e-15)


def test_steps_that_no_longer_change_the_time_are_too_short():
    steps, times = [1e-9, 1e-3, 1e-301], [1e9, 1e9, 0.0]
    found = control.too_short(torch.tensor(steps, dtype=torch.float64), torch.tensor(times, dtype=torch.float64))
    assert found.tolist() == [step_control.too_short(*pair) for pair in zip(steps, times, strict=True)]
