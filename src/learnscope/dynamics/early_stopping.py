"""A two-layer linear network that learns a noisy matrix, up to the step at which it knows most of the signal."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from learnscope.dynamics.two_layer_linear import ReducedNetwork, gradient_step
from learnscope.errors import InputError

LEAST_ERROR = 1e-3
LEAST_CHANGE = 2e-4
FIRST_FALL = 1e-2
FIRST_STEPS = 4


class Stopped(NamedTuple):
    """How a training that was stopped early went.

    Attributes:
        best: [outputs, inputs] the product A at the step of the least test error.
        best_step: that step; 0 is before training.
        train_errors: mean squared error of an entry of A against the target, at each step up to the last.
        test_errors: the same against the signal.
    """

    best: Tensor
    best_step: int
    train_errors: list[float]
    test_errors: list[float]


def train_until_overfit(
    network: ReducedNetwork, target: Tensor, signal: Tensor, learning_rate: float, steps: int
) -> Stopped:
    """Follow gradient descent on ½ ‖A − target‖² until :func:`overfits`, or for a number of steps.

    Args:
        network: at the start; a single one.
        target: [outputs, inputs] what training sees.
        signal: [outputs, inputs] what it is to find.
        learning_rate: η.
        steps: at most so many errors are measured, with steps between them; at least 1.

    Raises:
        InputError: the number of steps is not positive.

    Cost: four matrix products a step, whatever the width; the errors take a few percent more.

    Examples:
        >>> import torch
        >>> start = ReducedNetwork(*3 * [torch.full((1, 1), 0.1, dtype=torch.float64)])
        >>> found = train_until_overfit(start, torch.full((1, 1), 2.0), torch.full((1, 1), 1.0), 0.1, 100)
        >>> found.best_step, len(found.test_errors), found.test_errors[found.best_step]
        (7, 10, 0.0002)
    """
    if steps < 1:
        raise InputError(f"steps is {steps}, but the start is measured as well: give at least 1.")
    train_errors: list[float] = []
    test_errors: list[float] = []
    best, best_step = network.product, 0
    for step in range(steps):
        gradient = network.product - target
        train_errors.append(float(gradient.square().mean()))
        test_errors.append(float((network.product - signal).square().mean()))
        if test_errors[-1] < test_errors[best_step]:
            best, best_step = network.product, step
        if overfits(train_errors, test_errors):
            break
        network = gradient_step(network, gradient, learning_rate)
    return Stopped(best, best_step, train_errors, test_errors)


def overfits(train_errors: list[float], test_errors: list[float]) -> bool:
    """Return whether training stops after the last of these errors, by the rules of the authors' code.

    It stops at a training error below 1e-3; or, from the fifth error on, when the test error has risen twice in a row,
    or when the training error has fallen by more than 0.01 in all and now changes by less than 2e-4. The last rule may
    stop on the plateau between two singular values that are far apart.

    Source: code of Tu, Aranguri, Jacot 2024, for entries of signal and noise of variance 1.

    Examples:
        >>> overfits([2.0, 1.0, 0.5, 0.3, 0.2], [1.0, 0.9, 0.8, 0.81, 0.82])
        True
        >>> overfits([2.0, 1.0, 0.5, 0.3, 0.2], [1.0, 0.9, 0.8, 0.81, 0.79])
        False
    """
    if train_errors[-1] < LEAST_ERROR:
        return True
    if len(train_errors) <= FIRST_STEPS:
        return False
    rises = test_errors[-3] < test_errors[-2] < test_errors[-1]
    rests = abs(train_errors[-1] - train_errors[-2]) < LEAST_CHANGE
    return rises or (rests and train_errors[0] - train_errors[-1] > FIRST_FALL)
