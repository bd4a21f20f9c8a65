"""Whether a training has come to its end."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from learnscope.dynamics.margin_losses import MarginLoss
from learnscope.dynamics.shallow.run import Stop, StoppedBy


class Task(Protocol):
    """What is learned: labels y [p], and the loss."""

    @property
    def y(self) -> Tensor:
        """Labels [p]."""
        ...

    @property
    def loss(self) -> MarginLoss:
        """ℓ."""
        ...

    @property
    def has_margins(self) -> bool:
        """Whether all labels are −1 or +1."""
        ...


def fitted(task: Task, predictions: Tensor, stop: Stop) -> int:
    """Return how many points have a margin y F above that of a fitted point, 0 where labels have no margin."""
    return int((predictions * task.y > stop.margin).sum()) if task.has_margins else 0


def ended(
    task: Task, predictions: Tensor, stop: Stop, time: float, tried: int, squared_speed: float = 1.0
) -> StoppedBy | None:
    """Return the rule that ends a training now, if one does, for predictions F [p] and the square of |dθ/dt|."""
    if not bool(torch.isfinite(predictions).all()):
        return "diverged"
    count = fitted(task, predictions, stop)
    if count == len(predictions):
        return "margin"
    if count > stop.fraction * len(predictions):
        return "fraction"
    if stop.loss > 0 and float(task.loss.of(predictions, task.y).mean()) <= stop.loss:
        return "loss"
    if squared_speed == 0.0:
        return "stationary"
    if time >= stop.max_time:
        return "time"
    return "steps" if tried >= stop.max_steps else None
