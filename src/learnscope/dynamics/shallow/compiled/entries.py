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

    ``passes`` returns both passes for an activation, the bits of a number and the number of inputs, as functions with
    an address.
    """

    passes: Callable[[str, int, int], tuple[Any, Any]]
    prepared: Callable[..., Any]
    rows: Callable[..., Any]
    begin: Callable[..., None]
    follow: Callable[..., int]
    descend: Callable[..., int]
    descend_on_batches: Callable[..., int]
    together: Callable[..., None]
    assist: Callable[..., None]
    dismiss: Callable[..., None]


def _gradients(sources: str, known: int) -> dict[str, Callable[..., None]]:
    """Return the second pass by activation, for a number of inputs that is known when it is compiled, or for any: 0."""

    @passes.named(f"gradients_of_relu_in_{known}")
    def relu(parameters, examples, pulls, gradients, sharpness, dim, first, last):
        assert sources
        passes.gradients_of_relu(parameters, examples, pulls, gradients, sharpness, known or dim, first, last)

    @passes.named(f"gradients_of_softplus_in_{known}")
    def softplus(parameters, examples, pulls, gradients, sharpness, dim, first, last):
        assert sources
        passes.gradients_of_softplus(parameters, examples, pulls, gradients, sharpness, known or dim, first, last)

    @passes.named(f"gradients_of_erf_in_{known}")
    def erf(parameters, examples, pulls, gradients, sharpness, dim, first, last):
        assert sources
        passes.gradients_of_erf(parameters, examples, pulls, gradients, sharpness, known or dim, first, last)

    @passes.named(f"gradients_of_tanh_in_{known}")
    def tanh(parameters, examples, pulls, gradients, sharpness, dim, first, last):
        assert sources
        passes.gradients_of_tanh(parameters, examples, pulls, gradients, sharpness, known or dim, first, last)

    return {"relu": relu, "softplus": softplus, "erf": erf, "tanh": tanh}


def _entries(sources: str) -> Entries:
    def outputs_of_relu(parameters, examples, outputs, sharpness, dim, first, last):
        assert sources
        passes.outputs_of_relu(parameters, examples, outputs, sharpness, dim, first, last)

    def outputs_of_softplus(parameters, examples, outputs, sharpness, dim, first, last):
        assert sources
        passes.outputs_of_softplus(parameters, examples, outputs, sharpness, dim, first, last)

    def outputs_of_erf(parameters, examples, outputs, sharpness, dim, first, last):
        assert sources
        passes.outputs_of_erf(parameters, examples, outputs, sharpness, dim, first, last)

    def outputs_of_tanh(parameters, examples, outputs, sharpness, dim, first, last):
        assert sources
        passes.outputs_of_tanh(parameters, examples, outputs, sharpness, dim, first, last)

    outputs_of = {
        "relu": outputs_of_relu,
        "softplus": outputs_of_softplus,
        "erf": outputs_of_erf,
        "tanh": outputs_of_tanh,
    }

    @cache
    def passes_of(activation: str, bits: int, dim: int) -> tuple[Any, Any]:
        known = dim if dim <= passes.FEW_INPUTS else 0
        return compiled(outputs_of[activation], 3, bits), gradients_for(activation, bits, known)

    @cache
    def gradients_for(activation: str, bits: int, known: int) -> Any:
        return compiled(_gradients(sources, known)[activation], 4, bits)

    @cache
    def compiled(function: Callable[..., None], arrays: int, bits: int) -> Any:
        number = getattr(types, f"float{bits}")
        signature = types.void(*[types.Array(number, 1, "C")] * arrays, number, *[types.intp] * 3)
        return cfunc(signature, cache=True, error_model="numpy", _nrt=False)(function)

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
