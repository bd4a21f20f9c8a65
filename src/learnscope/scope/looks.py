"""Close looks: the measurements at which what costs most is measured too, about every other one by default."""

from __future__ import annotations

from collections.abc import Iterable

GROWTH, PAUSE = 3, 600


def is_due(step: int, last: int | None) -> bool:
    """Return whether to look closely again: when the step has tripled since the last time, or 600 steps have passed.

    A close look takes as long as five steps or so on batches of 64.
    """
    return last is None or step >= GROWTH * last or step >= last + PAUSE


def last_look(steps: Iterable[int]) -> int | None:
    """Return the last of some measured steps at which a close look was due; None if there are no steps."""
    last = None
    for step in steps:
        if is_due(step, last):
            last = step
    return last
