"""The compiled loops as they are called from outside, kept on disk between processes.

The passes for each activation are compiled apart from the loops, which call them by their address: they take longest
to compile, and only those that are used are.

Numba tells versions of a kept function apart by the file that holds it and by what its closure holds. What these
functions compile to follows from every file of this package and from the step control, so a digest of all of these is
in their closures.
"""
# ruff: noqa: ANN001, ANN202 (Numba infers the types of what it compiles)

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numba
from numba import types

from learnscope.dynamics import step_control
from learnscope.dynamics.shallow.compiled import layout, passes, state, stochastic, team, training

cfunc: Any = numba.cfunc
cached: Callable[..., Any] = passes.njit(nogil=True, cache=True, error_model="numpy", _nrt=False)
allocating: Callable[..., Any] = passes.njit(nogil=True, cache=True, error_model="numpy")


class Entries(NamedTuple):
    """What there is to call; the arguments are those of the functions of the same names in this package.

    ``passes`` returns both passes for an activation and the bits of a number, as functions with an address.
    """

    passes: Callable[[str, int], tuple[Any, Any]]
    prepared: Callable[..., Any]
    rows: Callable[..., Any]
    begin: Callable[..., None]
    follow: Callable[..., int]
    descend: Callable[..., int]
    descend_on_batches: Callable[..., int]
    together: Callable[..., None]
    assist: Callable[..., None]
    dismiss: Callable[..., None]


def _entries(sources: str) -> Entries:
    def outputs_of_relu(parameters, examples, outputs, sharpness, dim, lanes, first, last):
        assert sources
        passes.outputs_of_relu(parameters, examples, outputs, sharpness, dim, lanes, first, last)

    def gradients_of_relu(parameters, examples, pulls, gradients, sharpness, dim, lanes, first, last):
        assert sources
        passes.gradients_of_relu(parameters, examples, pulls, gradients, sharpness, dim, lanes, first, last)

    def outputs_of_softplus(parameters, examples, outputs, sharpness, dim, lanes, first, last):
        assert sources
        passes.outputs_of_softplus(parameters, examples, outputs, sharpness, dim, lanes, first, last)

    def gradients_of_softplus(parameters, examples, pulls, gradients, sharpness, dim, lanes, first, last):
        assert sources
        passes.gradients_of_softplus(parameters, examples, pulls, gradients, sharpness, dim, lanes, first, last)

    def outputs_of_erf(parameters, examples, outputs, sharpness, dim, lanes, first, last):
        assert sources
        passes.outputs_of_erf(parameters, examples, outputs, sharpness, dim, lanes, first, last)

    def gradients_of_erf(parameters, examples, pulls, gradients, sharpness, dim, lanes, first, last):
        assert sources
        passes.gradients_of_erf(parameters, examples, pulls, gradients, sharpness, dim, lanes, first, last)

    def outputs_of_tanh(parameters, examples, outputs, sharpness, dim, lanes, first, last):
        assert sources
        passes.outputs_of_tanh(parameters, examples, outputs, sharpness, dim, lanes, first, last)

    def gradients_of_tanh(parameters, examples, pulls, gradients, sharpness, dim, lanes, first, last):
        assert sources
        passes.gradients_of_tanh(parameters, examples, pulls, gradients, sharpness, dim, lanes, first, last)

    both = {
        "relu": (outputs_of_relu, gradients_of_relu),
        "softplus": (outputs_of_softplus, gradients_of_softplus),
        "erf": (outputs_of_erf, gradients_of_erf),
        "tanh": (outputs_of_tanh, gradients_of_tanh),
    }

    @cache
    def passes_of(activation: str, bits: int) -> tuple[Any, Any]:
        number = getattr(types, f"float{bits}")
        numbers, sizes = types.Array(number, 1, "C"), (number, *[types.intp] * 4)
        outputs_of, gradients_of = (
            cfunc(types.void(*[numbers] * arrays, *sizes), cache=True, error_model="numpy", _nrt=False)(function)
            for arrays, function in zip((3, 4), both[activation], strict=True)
        )
        return outputs_of, gradients_of

    @allocating
    def prepared(weights, biases, outputs, x, y, directions, moving, lanes):
        assert sources
        return state.prepared(weights, biases, outputs, x, y, directions, moving, lanes)

    @allocating
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
    def together(job, arrays, rules):
        assert sources
        state.together(job, arrays, rules)

    @cached
    def assist(arrays, rules, rank):
        assert sources
        state.assist(arrays, rules, rank)

    @cached
    def dismiss(arrays):
        assert sources
        team.announce(arrays.team, state.QUIT)

    return Entries(passes_of, prepared, rows, begin, follow, descend, descend_on_batches, together, assist, dismiss)


def _digest() -> str:
    files = [*sorted(Path(__file__).parent.glob("*.py")), Path(step_control.__file__)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


ENTRIES = _entries(_digest())
