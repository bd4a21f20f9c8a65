"""Gradient flow by Euler's method under :mod:`learnscope.dynamics.step_control`, for whatever has a velocity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from learnscope.dynamics.step_control import CROSSED, REFUSED, Change, Limits, change, judge, next_factor, too_short

Rule = TypeVar("Rule")


class System(Protocol):
    """What flows: a state of any layout, from which outputs f [p] and dθ/dt follow."""

    def outputs(self, state: Tensor) -> Tensor:
        """Return f at the points."""
        ...

    def velocity(self, state: Tensor, predictions: Tensor) -> Tensor:
        """Return dθ/dt, for predictions F; it is asked for at the state whose outputs were asked for last."""
        ...


class Moment(NamedTuple):
    """Where a flow is after some tries.

    Attributes:
        state: θ.
        predictions: [p] F = α (f − f₀).
        squared_speed: |dθ/dt|².
        time: since the start.
        tried: steps tried, those that were refused included.
        step: the length of the next one.
        error: accumulated by the steps that crossed.
        moved: whether the last step was taken; so it is said of the start, too.
    """

    state: Tensor
    predictions: Tensor
    squared_speed: float
    time: float
    tried: int
    step: float
    error: float
    moved: bool

    @property
    def stuck(self) -> bool:
        """Whether the next step would not change the time, because the outputs beyond are not finite."""
        return too_short(self.step, self.time)


def until(moments: Iterator[Moment], ended: Callable[[Moment], Rule | None]) -> tuple[Moment, Rule | None]:
    """Return the first moment of a trajectory that a rule ends, and the rule; or at which it is stuck, and None."""
    while True:
        now = next(moments)
        if (rule := ended(now)) is not None or now.stuck:
            return now, rule


def trajectory(system: System, state: Tensor, alpha: float, limits: Limits, max_time: float) -> Iterator[Moment]:
    """Yield the start of a flow and where it is after each try, without end; no step leads beyond the largest time.

    Args:
        system: what flows.
        state: θ at the start.
        alpha: α in F = α (f − f₀).
        limits: of a step.
        max_time: where the last step ends.

    Examples:
        A point on a line, with f = θ and dθ/dt = 1 − F, is at 1 − 1/e after a time of 1:

        >>> class Line:
        ...     def outputs(self, state): return state
        ...     def velocity(self, state, predictions): return 1 - predictions
        >>> moments = trajectory(Line(), torch.zeros(1), 1.0, Limits(0.01, 1e-3), 1.0)
        >>> end = next(moment for moment in moments if moment.time >= 1.0)
        >>> end.time, f"{float(end.state):.2f}"
        (1.0, '0.63')
    """
    first = output = system.outputs(state)
    predictions = torch.zeros_like(output)
    velocity = system.velocity(state, predictions)
    speed, time, step, tried, error, moved = _square(velocity), 0.0, 1.0, 0, 0.0, True
    while True:
        yield Moment(state, predictions, speed, time, tried, step, error, moved)
        tried, moved, length = tried + 1, False, min(step, max_time - time)
        new = state + length * velocity
        new_output = system.outputs(new)
        made = Change(alpha * float((new_output - output).abs().max()), 0.0, 0.0, 0.0)
        if made.output < limits.output:
            new_predictions = alpha * (new_output - first)
            new_velocity = system.velocity(new, new_predictions)
            new_speed = _square(new_velocity)
            made = change(made.output, length, _square(new_velocity - velocity), speed, new_speed, _square(state))
            verdict = judge(made, limits)
            if moved := verdict != REFUSED:
                time = time + length if length == step else max_time
                error += made.error if verdict == CROSSED else 0.0
                state, output, predictions, velocity, speed = new, new_output, new_predictions, new_velocity, new_speed
        step = length * next_factor(made, limits)


def _square(tensor: Tensor) -> float:
    return float(tensor.square().sum(dtype=torch.float64))
