"""The compiled loops as they are called from outside, kept on disk between processes.

Numba tells versions of a kept function apart by the file that holds it and by what its closure holds. What these
functions compile to follows from every file of this package and from the step control, so a digest of all of these is
in their closures.
"""
# ruff: noqa: ANN001, ANN202 (Numba infers the types of what it compiles)

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numba

from learnscope.dynamics import step_control
from learnscope.dynamics.shallow.compiled import layout, state, stochastic, team, training

cached: Callable[..., Any] = numba.njit(nogil=True, cache=True, error_model="numpy")


class Entries(NamedTuple):
    """What there is to call; the arguments are those of the functions of the same names in this package."""

    prepared: Callable[..., Any]
    rows: Callable[..., Any]
    begin: Callable[..., None]
    follow: Callable[..., int]
    descend: Callable[..., int]
    descend_on_batches: Callable[..., int]
    assist: Callable[..., None]
    dismiss: Callable[..., None]


def _entries(sources: str) -> Entries:
    @cached
    def prepared(weights, biases, outputs, x, y, directions, moving, lanes):
        assert sources
        return state.prepared(weights, biases, outputs, x, y, directions, moving, lanes)

    @cached
    def rows(flat, width, dim, lanes):
        assert sources
        return layout.rows(flat, width, dim, lanes)

    @cached
    def begin(arrays, rules):
        assert sources
        training.begin(arrays, rules)

    @cached
    def follow(arrays, rules, clock, counts, budget):
        assert sources
        return training.follow(arrays, rules, clock, counts, budget)

    @cached
    def descend(arrays, rules, clock, counts, budget):
        assert sources
        return training.descend(arrays, rules, clock, counts, budget)

    @cached
    def descend_on_batches(arrays, rules, batch, of_batch, rows, period, clock, counts):
        assert sources
        return stochastic.descend(arrays, rules, batch, of_batch, rows, period, clock, counts)

    @cached
    def assist(arrays, rules, rank):
        assert sources
        state.assist(arrays, rules, rank)

    @cached
    def dismiss(arrays):
        assert sources
        team.announce(arrays.team, state.QUIT)

    return Entries(prepared, rows, begin, follow, descend, descend_on_batches, assist, dismiss)


def _digest() -> str:
    files = [*sorted(Path(__file__).parent.glob("*.py")), Path(step_control.__file__)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


ENTRIES = _entries(_digest())
