"""Close looks: the measurements at which what costs most is measured too, about every other one by default."""

from __future__ import annotations

from collections.abc import Iterable

GROWTH, PAUSE = 4, 1000


def is_due(step: int, last: int | None) -> bool:
    """Return whether to look closely again: when the step has quadrupled since the last time, or 1,000 passed.

    What a close look takes of the training of small networks is in ``benchmarks/overhead.py``.
    """
    return last is None or step >= GROWTH * last or step >= last + PAUSE


def last_look(steps: Iterable[int]) -> int | None:
    """Return the last of some measured steps at which a close look was due; None if there are no steps."""
    last = None
    for step in steps:
        if is_due(step, last):
            last = step
    return last
