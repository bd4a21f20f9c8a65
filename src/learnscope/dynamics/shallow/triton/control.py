"""The rules of the step control and of the end of a training for many networks at once, on their device.

What :mod:`learnscope.dynamics.step_control` and :mod:`learnscope.dynamics.shallow.loops` decide for one network from
numbers is decided here from double-precision tensors [networks], so that no step waits for the host.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from learnscope.dynamics import step_control
from learnscope.dynamics.shallow.run import Stop
from learnscope.dynamics.step_control import CROSSED, REFUSED, TAKEN, Limits

if TYPE_CHECKING:  # it needs Triton, and what is here does not
    from learnscope.dynamics.shallow.triton.layout import Layout

RUNNING, MARGIN, FRACTION, TIME, STEPS, LOSS, STATIONARY, DIVERGED, TOO_SHORT = range(9)
NAMES = ("", "margin", "fraction", "time", "steps", "loss", "stationary", "diverged", "diverged")


class Changes(NamedTuple):
    """What :class:`learnscope.dynamics.step_control.Change` holds, of each network."""

    output: Tensor
    gradient: Tensor
    share: Tensor
    error: Tensor


def changes(output: Tensor, step: Tensor, difference: Tensor, before: Tensor, after: Tensor, size: Tensor) -> Changes:
    """Return what steps change, from the squared norms of v' − v, v, v' and θ."""
    product, largest = before.sqrt() * after.sqrt(), torch.maximum(before, after)
    without = torch.where(difference > 0, math.inf, 0.0).to(output)
    gradient = torch.where(product > 0, difference / product, without)
    share = torch.where(largest > 0, (difference / largest).sqrt(), 0.0)
    error = torch.where(size > 0, step * (difference / size).sqrt(), 0.0)
    return Changes(output, gradient, share, error)


def judge(made: Changes, limits: Limits) -> Tensor:
    """Return TAKEN, CROSSED or REFUSED of each step."""
    crossed = torch.where(of_floor(made, limits) <= 1, CROSSED, REFUSED)
    allowed = torch.where(made.gradient < limits.gradient, TAKEN, crossed)
    return torch.where(made.output < limits.output, allowed, REFUSED)


def next_factor(made: Changes, limits: Limits) -> Tensor:
    """Return the length of each next step relative to this one."""
    smooth = (limits.gradient / made.gradient).sqrt()  # infinite where nothing changes
    wanted = torch.maximum(smooth, 1 / of_floor(made, limits))
    wanted = torch.minimum(wanted, limits.output / made.output)
    wanted = (step_control.SAFETY * wanted).clamp(step_control.STRONGEST_CUT, step_control.LARGEST_GROWTH)
    factor = torch.exp2(torch.floor(step_control.NOTCHES * torch.log2(wanted)) / step_control.NOTCHES)
    return torch.where(torch.isfinite(made.output), factor, step_control.STRONGEST_CUT)


def of_floor(made: Changes, limits: Limits) -> Tensor:
    """Return the larger of the two errors of the floor relative to what it lets pass."""
    output = made.share * made.output / (step_control.FLOOR_OUTPUT * limits.output)
    return torch.maximum(output, made.error / (step_control.FLOOR_ERROR * limits.gradient))


def too_short(step: Tensor, time: Tensor) -> Tensor:
    """Whether steps no longer change the time."""
    return (step < 1e-300) | (time + step == time)


def fitted(layout: Layout, predictions: Tensor, stop: Stop) -> Tensor:
    """Return the number of fitted points of each network."""
    return ((predictions * layout.labels > stop.margin) & layout.with_margin).sum(1)


def ended(
    layout: Layout, predictions: Tensor, stop: Stop, time: Tensor, tried: Tensor, squared_speed: Tensor | None
) -> Tensor:
    """Return the rule that ends the training of each network now, RUNNING if none does."""
    reason = torch.where(tried >= stop.max_steps, STEPS, RUNNING)
    reason = torch.where(time >= stop.max_time, TIME, reason)
    if squared_speed is not None:
        reason = torch.where(squared_speed == 0, STATIONARY, reason)
    if stop.loss > 0:
        losses = layout.problems[0].loss.of(predictions, layout.labels)
        mean = torch.where(layout.valid, losses, 0.0).sum(1) / layout.sizes
        reason = torch.where(mean <= stop.loss, LOSS, reason)
    count = fitted(layout, predictions, stop)
    reason = torch.where(count > stop.fraction * layout.sizes.double(), FRACTION, reason)
    reason = torch.where(count == layout.sizes, MARGIN, reason)
    return torch.where((torch.isfinite(predictions) | ~layout.valid).all(1), reason, DIVERGED)
