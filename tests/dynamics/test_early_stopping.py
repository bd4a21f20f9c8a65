import pytest
import torch

from learnscope.distributions.noisy_low_rank import noisy_low_rank
from learnscope.dynamics.early_stopping import overfits, train_until_overfit
from learnscope.dynamics.two_layer_linear import gradient_step, random_network
from learnscope.errors import InputError
from learnscope.randomness import generator as named


def problem(threshold, dim=12):
    draws = named("problem", threshold)
    return random_network(dim, dim, 4000, threshold / 4000, draws), noisy_low_rank(dim, 1, draws)


@pytest.mark.parametrize("threshold", [0.05, 5.0])
def test_it_follows_gradient_descent_to_its_least_test_error(threshold):
    network, matrices = problem(threshold)
    stopped = train_until_overfit(network, matrices.target, matrices.signal, 0.002, 750)
    errors = []
    for _ in range(len(stopped.test_errors)):
        errors.append(float((network.product - matrices.signal).square().mean()))
        if len(errors) == stopped.best_step + 1:
            torch.testing.assert_close(network.product, stopped.best)
        network = gradient_step(network, network.product - matrices.target, 0.002)
    assert stopped.test_errors == pytest.approx(errors)
    assert errors[stopped.best_step] == min(errors)
    assert 0 < stopped.best_step < len(errors) - 1


def test_it_ends_after_the_steps_that_it_is_given():
    network, matrices = problem(0.05)
    stopped = train_until_overfit(network, matrices.target, matrices.signal, 1e-5, 3)
    assert len(stopped.train_errors) == len(stopped.test_errors) == 3


@pytest.mark.parametrize(
    ("train", "test", "stopped"),
    [
        ([9e-4], [1.0], True),  # fitted
        ([2.0, 1.9, 1.8, 1.7], [1.0, 1.1, 1.2, 1.3], False),  # rises, but too early
        ([2.0, 1.9, 1.8, 1.7, 1.6], [0.9, 0.8, 0.7, 0.8, 0.9], True),  # rises twice in a row
        ([2.0, 1.9, 1.8, 1.7, 1.6], [0.9, 0.8, 0.7, 0.7, 0.9], False),  # rises once
        ([2.0, 1.9, 1.8, 1.7, 1.6999], [0.9, 0.8, 0.7, 0.6, 0.5], True),  # rests after a fall
        ([2.0, 2.0, 2.0, 1.9999, 1.9998], [0.9, 0.8, 0.7, 0.6, 0.5], False),  # has not left the start
    ],
)
def test_the_rules_are_those_of_the_authors(train, test, stopped):
    assert overfits(train, test) is stopped


def test_says_in_a_sentence_that_there_are_no_steps():
    network, matrices = problem(0.05)
    with pytest.raises(InputError, match="steps is 0"):
        train_until_overfit(network, matrices.target, matrices.signal, 0.1, 0)
