"""When to look: functions of the progress of training.

A schedule is called once after each optimiser step and answers whether to measure now. Unite two with ``|``.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from learnscope.errors import InputError


@runtime_checkable
class Schedule(Protocol):
    """Whether to measure at a step, given the scalars that the user logged there."""

    def __call__(self, step: int, scalars: Mapping[str, float]) -> bool:
        """Return whether to measure after ``step`` optimiser steps."""
        ...


class _Unitable:
    def __or__(self, other: Schedule) -> Union:
        return Union((self, other))  # pyright: ignore[reportArgumentType]

    def __ror__(self, other: Schedule) -> Union:
        return Union((other, self))  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class Union(_Unitable):
    """Measure when any of several schedules asks for it."""

    parts: tuple[Schedule, ...]

    def __call__(self, step: int, scalars: Mapping[str, float]) -> bool:
        """Ask every part, so that parts with a memory see every step."""
        answers = [part(step, scalars) for part in self.parts]
        return any(answers)


@dataclass
class _Log(_Unitable):
    per_decade: int
    start: int
    pause: tuple[int, int] = field(default=(0, 0), compare=False, repr=False)  # no step between these two is wanted

    def __call__(self, step: int, scalars: Mapping[str, float]) -> bool:
        if self.pause[0] < step < self.pause[1]:  # after most steps, so that training waits for no logarithm
            return False
        if step < self.start:
            return step == 0
        k = round(self.per_decade * math.log10(step))
        near = [round(10 ** (j / self.per_decade)) for j in range(k - 1, k + 3)]
        before, after = (s for s in near if s <= step), (s for s in near if s > step)
        self.pause = max(before, default=0), min(after, default=step + 1)
        return step in near


@dataclass(frozen=True)
class _Every(_Unitable):
    n: int

    def __call__(self, step: int, scalars: Mapping[str, float]) -> bool:
        return step % self.n == 0


@dataclass(frozen=True)
class _At(_Unitable):
    steps: frozenset[int]

    def __call__(self, step: int, scalars: Mapping[str, float]) -> bool:
        return step in self.steps


@dataclass
class _LossFalls(_Unitable):
    factor: float
    scalar: str
    reference: float | None = field(default=None)

    def __call__(self, step: int, scalars: Mapping[str, float]) -> bool:
        if step == 0:
            return True
        if self.scalar not in scalars:
            raise InputError(
                f"the schedule waits for {self.scalar!r} to fall, but step() was not given it: call "
                f"scope.step({self.scalar}=...)."
            )
        loss = float(scalars[self.scalar])
        if self.reference is None:
            self.reference = loss
            return True
        if not loss <= self.reference / self.factor:  # also for NaN
            return False
        self.reference = loss
        return True


def log(per_decade: int = 4, *, start: int = 10) -> _Log:
    """Measure at 0 and at log-spaced steps round(10^(k / per_decade)), k = 0, 1, 2, ..., from ``start`` on.

    Examples:
        >>> schedule = log()
        >>> [step for step in range(101) if schedule(step, {})]
        [0, 10, 18, 32, 56, 100]
        >>> schedule = log(per_decade=3, start=1)
        >>> [step for step in range(101) if schedule(step, {})]
        [0, 1, 2, 5, 10, 22, 46, 100]
    """
    return _Log(_positive(per_decade, "per_decade"), _positive(start, "start"))


def every(n: int) -> _Every:
    """Measure at 0 and at every n-th step.

    Examples:
        >>> [step for step in range(10) if every(4)(step, {})]
        [0, 4, 8]
    """
    return _Every(_positive(n, "n"))


def epochs(n: int = 1, *, steps_per_epoch: int) -> _Every:
    """Measure at 0 and after every n-th epoch of ``steps_per_epoch`` optimiser steps (``len(loader)``).

    Examples:
        >>> [step for step in range(10) if epochs(2, steps_per_epoch=3)(step, {})]
        [0, 6]
    """
    return _Every(_positive(n, "n") * _positive(steps_per_epoch, "steps_per_epoch"))


def at(steps: Iterable[int]) -> _At:
    """Measure at the given steps.

    Examples:
        >>> schedule = at([2, 5]) | every(4)
        >>> [step for step in range(9) if schedule(step, {})]
        [0, 2, 4, 5, 8]
    """
    return _At(frozenset(int(step) for step in steps))


def loss_falls(factor: float = 1.25, scalar: str = "loss") -> _LossFalls:
    """Measure whenever the logged loss has fallen by ``factor`` since the last time that it had.

    The loss is read at every step, which waits for the device if it is a tensor on a GPU.

    Examples:
        >>> schedule = loss_falls(2.0)
        >>> [schedule(step + 1, {"loss": loss}) for step, loss in enumerate([8.0, 5.0, 4.0, 3.0, 1.0])]
        [True, False, True, False, True]
    """
    if not factor > 1:
        raise InputError(f"factor is {factor}, but a loss falls by a factor above 1: pass 1.25, say.")
    return _LossFalls(float(factor), scalar)


def checked(schedule: Schedule | None) -> Schedule:
    """Return a schedule of one's own, the default if None.

    Raises:
        InputError: if it cannot be called with a step and scalars.
    """
    if schedule is None:
        return log()
    try:
        inspect.signature(schedule).bind(0, {})
    except TypeError as error:
        raise InputError(
            f"at is {schedule!r}, but a schedule is a function of (step, scalars): use learnscope.steps.log(), "
            "every(n) or at([...])."
        ) from error
    return copy.deepcopy(schedule)


def _positive(value: int, name: str) -> int:
    if int(value) != value or value < 1:
        raise InputError(f"{name} is {value}, but a schedule needs a whole number of at least 1.")
    return int(value)
