import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnscope.errors import InputError
from learnscope.scope import schedules


def fired(schedule, last, **scalars):
    return [step for step in range(last + 1) if schedule(step, scalars)]


def log_spaced(per_decade, start, decades):
    steps = {round(10 ** (k / per_decade)) for k in range(decades * per_decade + 1)}
    return {0} | {step for step in steps if step >= start}


@given(st.integers(1, 20), st.integers(1, 2000))
def test_log_has_its_number_of_measurements_in_every_later_decade(per_decade, start):
    steps = fired(schedules.log(per_decade, start=start), 10_000)
    assert set(steps) == log_spaced(per_decade, start, decades=4)
    assert start > 1_000 or sum(1_000 < s <= 10_000 for s in steps) == per_decade


@given(st.integers(1, 300), st.integers(1, 300), st.lists(st.integers(0, 300)))
def test_what_log_was_asked_before_does_not_change_its_answers(per_decade, start, asked):
    schedule, wanted = schedules.log(per_decade, start=start), log_spaced(per_decade, start, decades=3)
    assert [schedule(step, {}) for step in asked] == [step in wanted for step in asked]


def test_every_epochs_and_at():
    assert fired(schedules.every(5), 12) == [0, 5, 10]
    assert fired(schedules.epochs(2, steps_per_epoch=3), 12) == [0, 6, 12]
    assert fired(schedules.at([3, 7]), 12) == [3, 7]


def test_union_asks_every_part_so_that_none_loses_its_memory():
    union = schedules.every(1) | schedules.loss_falls(2.0)
    losses = [8.0, 5.0, 4.0]
    assert all(union(step, {"loss": loss}) for step, loss in enumerate(losses, 1))
    assert not schedules.at([9])(3, {})
    assert union.parts[1].reference == 4.0


def test_loss_falls_by_a_factor_from_the_last_time_that_it_had():
    schedule = schedules.loss_falls(10)
    losses = [1.0, 0.5, 0.11, 0.1, 0.05, 0.01]
    assert [schedule(k + 1, {"loss": loss}) for k, loss in enumerate(losses)] == [True, False, False, True, False, True]


def test_loss_that_turns_nan_is_no_fall():
    schedule = schedules.loss_falls(2)
    assert schedule(1, {"loss": 1.0})
    assert not schedule(2, {"loss": math.nan})
    assert schedule(3, {"loss": 0.5})


def test_waiting_for_a_scalar_that_is_never_logged_says_so():
    with pytest.raises(InputError, match=r"call scope\.step\(loss=\.\.\.\)"):
        schedules.loss_falls()(1, {})


@pytest.mark.parametrize(
    "make",
    [
        lambda: schedules.every(0),
        lambda: schedules.log(0),
        lambda: schedules.log(start=0),
        lambda: schedules.loss_falls(1),
    ],
)
def test_impossible_schedules_are_refused(make):
    with pytest.raises(InputError):
        make()


def test_plain_functions_unite_on_either_side():
    odd = lambda step, scalars: step % 2 == 1  # noqa: E731
    assert fired(odd | schedules.every(4), 5) == fired(schedules.every(4) | odd, 5) == [0, 1, 3, 4, 5]


@pytest.mark.parametrize("at", [[0, 5], 10, "log", lambda step: True])
def test_what_cannot_be_called_with_step_and_scalars_is_refused(at):
    with pytest.raises(InputError, match=r"use learnscope.steps.log\(\), every\(n\)"):
        schedules.checked(at)


def test_a_scope_has_a_schedule_of_its_own():
    shared = schedules.loss_falls(2)
    assert schedules.checked(shared) is not shared
