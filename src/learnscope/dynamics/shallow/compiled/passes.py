"""The two passes of a training step over all pairs of an example and a neuron, of which nothing is written to memory.

Layouts. Parameters and velocities are panels [h / lanes, d + 2, lanes]: for as many neurons as a vector has lanes, d
rows of ω, then b, then β. Examples are tiles [p / ROWS, d, ROWS] of x / √d. Missing neurons have β = 0, and missing
examples no pull. Both passes compute pre-activations for a tile of examples and a panel of neurons in registers.
"""

# ruff: noqa: ANN001, ANN201 (Numba infers the types of what it compiles)
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

from learnscope.dynamics.shallow.compiled import tiles
from learnscope.dynamics.shallow.compiled.lanes import ROWS

RELU, SOFTPLUS, ERF, TANH = range(4)
KINDS = ("relu", "softplus", "erf", "tanh")

inlined: Callable[..., Any] = numba.njit(nogil=True, error_model="numpy", forceinline=True)
compiled: Callable[..., Any] = numba.njit(nogil=True, error_model="numpy")


@inlined
def preactivations(parameters, neuron, examples, example, dim, lanes):
    """Return ω·x + b for a panel of neurons and a tile of examples, given where they begin."""
    u = tiles.repeated(parameters, neuron + dim * lanes)
    for i in range(dim):
        u = tiles.add_outer(u, parameters, neuron + i * lanes, examples, example + i * ROWS)
    return u


@inlined
def activated(kind, sharpness, u):
    """Return a(s u) and a'(s u) of one of the activations; the compiler drops the one that is not used."""
    if kind == RELU:
        return tiles.relu(u)
    if kind == SOFTPLUS:
        return tiles.softplus(tiles.times(u, sharpness))
    if kind == ERF:
        return tiles.erf(u)
    return tiles.tanh(u)


@compiled
def sum_outputs(parameters, examples, outputs, kind, sharpness, dim, lanes, first, last):
    """Set the sums over neurons β a(u) of the examples in the tiles from first to before last."""
    panel = (dim + 2) * lanes
    for tile in range(first, last):
        total = tiles.zeros(parameters)
        for neuron in range(0, len(parameters), panel):
            u = preactivations(parameters, neuron, examples, tile * dim * ROWS, dim, lanes)
            value, _ = activated(kind, sharpness, u)
            total = tiles.add_product(total, value, parameters, neuron + (dim + 1) * lanes)
        tiles.store_sums(outputs, tile * ROWS, total)


@compiled
def sum_gradients(parameters, examples, pulls, gradients, kind, sharpness, dim, lanes, first, last):
    """Set the sums over examples of pull times (β a' x, β a', a), for the panels from first to before last."""
    panel = (dim + 2) * lanes
    for neuron in range(first * panel, last * panel, panel):
        gradients[neuron : neuron + panel] = 0
        for tile in range(len(pulls) // ROWS):
            u = preactivations(parameters, neuron, examples, tile * dim * ROWS, dim, lanes)
            value, slope = activated(kind, sharpness, u)
            tiles.add_inner(gradients, neuron + (dim + 1) * lanes, value, pulls, tile * ROWS)
            pulled = tiles.scale_rows(slope, pulls, tile * ROWS)
            tiles.add_rows(gradients, neuron + dim * lanes, pulled)
            for i in range(dim):
                tiles.add_inner(gradients, neuron + i * lanes, pulled, examples, (tile * dim + i) * ROWS)
        outputs = neuron + (dim + 1) * lanes
        for row in range(neuron, outputs, lanes):
            for lane in range(lanes):
                gradients[row + lane] *= parameters[outputs + lane]
