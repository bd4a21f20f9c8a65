import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learnscope.observables.learning_time import class_learning_times, forgetting_events, learning_times
from learnscope.observables.reference import progress as reference

histories = st.integers(1, 8).flatmap(
    lambda t: st.lists(st.lists(st.booleans(), min_size=t, max_size=t), min_size=1, max_size=6)
)


@given(histories)
def test_times_and_forgetting_equal_their_definitions(by_example):
    correct = torch.tensor(by_example).T
    steps = torch.tensor([3**k for k in range(len(correct))])
    times, events = learning_times(correct, steps), forgetting_events(correct)
    for k, history in enumerate(by_example):
        assert float(times[k]) == reference.learning_time(history, steps.tolist())
        assert int(events[k]) == reference.forgetting_events(history)


def test_without_measurements_nothing_was_learned():
    assert learning_times(torch.zeros(0, 3), torch.zeros(0)).tolist() == [math.inf] * 3


def test_a_class_is_learned_when_nine_tenths_of_it_stay_correct():
    correct = torch.ones(2, 20, dtype=torch.bool)
    correct[0, :3] = False  # 7 of 10 of the first class at the first step
    correct[1, 0] = False  # 9 of 10 at the second
    y = torch.arange(20) // 10
    assert class_learning_times(correct, torch.tensor([5, 50]), y, 2).tolist() == [50.0, 5.0]


def test_a_class_without_examples_has_no_time():
    times = class_learning_times(torch.ones(1, 2), torch.tensor([1]), torch.tensor([0, 0]), 2)
    assert float(times[0]) == 1
    assert math.isnan(float(times[1]))


def test_class_that_is_forgotten_at_the_end_was_not_learned():
    correct = torch.tensor([[1, 1], [1, 1], [0, 0]])
    assert class_learning_times(correct, torch.tensor([0, 1, 2]), torch.tensor([0, 0]), 1).tolist() == [math.inf]
    assert pytest.approx(forgetting_events(correct).tolist()) == [1, 1]
