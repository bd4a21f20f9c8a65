"""Stochastic gradient descent on batches, the loop of :func:`learnscope.dynamics.shallow.loops.descend` compiled."""

# ruff: noqa: ANN001, ANN201 (Numba infers the types of what it compiles)
from __future__ import annotations

import math

from learnscope.dynamics.shallow.compiled.lanes import ROWS
from learnscope.dynamics.shallow.compiled.passes import compiled
from learnscope.dynamics.shallow.compiled.state import OUTPUTS, VELOCITY, together
from learnscope.dynamics.shallow.compiled.training import (
    DIVERGED,
    DRAWN,
    FOUND,
    LOOKED,
    PAUSED,
    RECORD,
    RUNNING,
    TRIED,
    ended,
    push,
    set_pulls,
    to_record,
)


@compiled
def gather(rows, a, batch, dim):
    """Copy the examples of some rows, their labels and what the network gave for them at first, into a batch."""
    for k in range(len(rows)):
        row = rows[k]
        source, target = row // ROWS * ROWS * dim + row % ROWS, k // ROWS * ROWS * dim + k % ROWS
        for i in range(dim):
            batch.examples[target + i * ROWS] = a.examples[source + i * ROWS]
        batch.labels[k], batch.first[k] = a.labels[row], a.first[row]


@compiled
def finite(numbers):
    """Whether no number is NaN or infinite."""
    count = 0
    for number in numbers:
        count += math.isfinite(number)
    return count == len(numbers)


@compiled
def descend(a, r, batch, of_batch, rows, period, clock, counts):
    """Take a step for each batch [k, size] of rows that is left; ``batch`` shares its parameters with ``a``.

    Return the rule that ended the training, or that something is to be recorded, or batches are to be drawn. The rules
    are looked at, on all examples, whenever a period of steps has passed.
    """
    while True:
        if counts[LOOKED] != counts[TRIED]:  # not when it goes on after a pause
            counts[LOOKED], counts[FOUND] = counts[TRIED], RUNNING
            if counts[TRIED] % period == 0 or counts[TRIED] == r.max_steps:
                together(OUTPUTS, a, r)
                set_pulls(a.outputs, a, r)
                counts[FOUND] = ended(a, r, clock, counts, 1.0)
        reason = counts[FOUND]
        if reason != DIVERGED and to_record(clock, counts):
            return RECORD
        if reason != RUNNING:
            return reason
        if counts[DRAWN] == len(rows):
            return PAUSED
        gather(rows[counts[DRAWN]], a, batch, r.dim)
        together(OUTPUTS, batch, of_batch)
        set_pulls(batch.outputs, batch, of_batch)
        if not finite(batch.predictions[: of_batch.n]):
            return DIVERGED
        together(VELOCITY, batch, of_batch)
        push(batch, of_batch, clock, counts)
        counts[DRAWN] += 1
