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
from typing import Any

import numba

from learnscope.dynamics import step_control
from learnscope.dynamics.shallow.compiled import training

cached: Callable[..., Any] = numba.njit(nogil=True, cache=True, error_model="numpy")


def _entries(sources: str) -> tuple[Callable[..., Any], ...]:
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

    return begin, follow, descend


def _digest() -> str:
    files = [*sorted(Path(__file__).parent.glob("*.py")), Path(step_control.__file__)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


begin, follow, descend = _entries(_digest())
