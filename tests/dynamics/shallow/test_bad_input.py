import math

import pytest
import torch

from learnscope.distributions.interfaces import stripe as draw
from learnscope.dynamics.shallow import Stop, descend, flow
from learnscope.errors import InputError
from learnscope.networks.activations import Activation

from .conftest import network, stripe

X, Y = stripe(10, 2, 0)
START = network(6, 2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"alpha": 0.0}, "alpha is 0"),
        ({"alpha": -1.0}, "positive"),
        ({"alpha": math.nan}, "alpha is nan"),
        ({"x": X[:0], "y": Y[:0]}, "at least one point"),
        ({"y": Y.abs()}, "both classes"),
        ({"y": (Y + 1) / 2}, "map the classes"),
        ({"y": torch.full_like(Y, torch.nan), "loss": "squared"}, "NaN"),
        ({"y": Y[:5]}, r"\[p, d\] and \[p\]"),
        ({"x": X.float()}, "torch.float32"),
        ({"x": X * torch.inf}, "infinite"),
        ({"x": X[:, :1]}, "1 inputs but the network 2"),
        ({"networks": [START, START], "x": [X]}, "2 networks, 1 x"),
        ({"networks": []}, "0 networks"),
        ({"networks": [START, network(6, 2, kind="erf")]}, "different activations"),
        ({"frozen": ["heads"]}, "'heads'"),
        ({"loss": "hnge"}, "'hinge'"),
        ({"max_output_change": 0.0}, "positive"),
    ],
)
def test_a_flow_that_cannot_be_gets_one_sentence(arguments, says):
    usual = {"networks": [START], "x": X, "y": Y, "alpha": 1.0}
    with pytest.raises(InputError, match=says):
        flow(**(usual | arguments))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"learning_rate": [0.1, 0.2]}, "2 learning rates"),
        ({"momentum": 1.0}, "below 1"),
        ({"batch_size": 0}, "at least 1"),
        ({"batch_size": 3}, "generators"),
        ({"n_steps": 0}, "n_steps is 0"),
    ],
)
def test_a_descent_that_cannot_be_gets_one_sentence(arguments, says):
    usual = {"networks": [START], "x": X, "y": Y, "alpha": 1.0, "learning_rate": 0.1, "n_steps": 3}
    with pytest.raises(InputError, match=says):
        descend(**(usual | arguments))


@pytest.mark.parametrize("rule", [{"fraction": 2.0}, {"max_time": 0.0}, {"max_steps": 0}, {"loss": -1.0}])
def test_a_stop_that_means_nothing_is_refused(rule):
    with pytest.raises(InputError):
        Stop(**rule)


def test_a_stack_of_networks_has_to_be_indexed():
    (run,) = flow([START], X, Y, alpha=1.0, stop=Stop(max_steps=2))
    with pytest.raises(InputError, match="index them"):
        flow([run.snapshots], X, Y, alpha=1.0)


def test_a_small_sample_of_the_stripe_that_has_one_class_only_is_refused():
    samples = (draw(3, 2, torch.Generator().manual_seed(seed)) for seed in range(20))
    x, y = next(sample for sample in samples if abs(float(sample.y.sum())) == 3)
    with pytest.raises(InputError, match=r"all 3 labels are .1; draw the points again, or more"):
        flow([START], x, y, alpha=1.0)


def test_one_point_is_enough_and_other_labels_are_for_the_squared_loss():
    (one,) = flow([START], X[:1], Y[:1], alpha=1.0)
    assert one.stopped_by == "margin"
    (regression,) = flow([START], X, 3 * Y, alpha=1.0, loss="squared", stop=Stop(max_steps=50))
    assert regression.stopped_by == "steps"
    assert regression.first_margin is None


def test_an_activation_is_a_value_that_engines_share():
    sigma = Activation("relu", scale=2.0)
    assert sigma == Activation("relu", scale=2.0)
