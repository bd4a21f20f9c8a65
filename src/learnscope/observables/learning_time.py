"""When each example, and each class, was learned for good, and how often it was forgotten."""

from __future__ import annotations

import torch
from torch import Tensor


def learning_times(correct: Tensor, steps: Tensor) -> Tensor:
    """Return for each example the first measured step from which it stays correct to the end.

    Args:
        correct: [measurements, n] booleans (any dtype, non-zero is correct).
        steps: [measurements], increasing.

    Returns:
        [n] float64; +inf for an example that is wrong at the last measurement. The true time lies between
        the previous measured step and this one.

    Examples:
        >>> correct = torch.tensor([[0, 1], [1, 0], [1, 0]])
        >>> learning_times(correct, torch.tensor([0, 10, 100])).tolist()
        [10.0, inf]
    """
    correct = correct.bool()
    measurements = len(correct)
    if measurements == 0:
        return torch.full(correct.shape[1:], torch.inf, dtype=torch.float64)
    stays = correct.flip(0).to(torch.int8).cumprod(0).flip(0)
    first = measurements - stays.sum(0)
    padded = torch.cat([steps.double(), torch.tensor([torch.inf], dtype=torch.float64)])
    return padded[first]


def forgetting_events(correct: Tensor) -> Tensor:
    """Return how often each example turned from correct to wrong between two measurements.

    Source: Toneva et al. 2019 (arXiv:1812.05159), counted at measured steps, so a lower bound.

    Args:
        correct: [measurements, n].

    Returns:
        [n] int64.

    Examples:
        >>> forgetting_events(torch.tensor([[1, 0], [0, 0], [1, 1]])).tolist()
        [1, 0]
    """
    correct = correct.bool()
    return (correct[:-1] & ~correct[1:]).sum(0)


def class_learning_times(correct: Tensor, steps: Tensor, y: Tensor, n_classes: int, share: float = 0.9) -> Tensor:
    """Return for each class the first measured step from which ``share`` of its examples stay correct.

    Args:
        correct: [measurements, n].
        steps: [measurements], increasing.
        y: [n] integer classes.
        n_classes: number of classes.
        share: the share of a class's examples that must be correct at once.

    Returns:
        [n_classes] float64; +inf if not reached by the end, NaN for a class without examples.

    Examples:
        >>> correct = torch.tensor([[1, 0, 0], [1, 1, 0]])
        >>> class_learning_times(correct, torch.tensor([1, 2]), torch.tensor([0, 0, 1]), 2).tolist()
        [2.0, inf]
    """
    times = torch.full((n_classes,), torch.nan, dtype=torch.float64)
    for label in range(n_classes):
        mine = correct[:, y == label].double()
        if mine.shape[1]:
            times[label] = learning_times((mine.mean(1) >= share)[:, None], steps)[0]
    return times
