"""The two passes of a training step over all pairs of an example and a neuron, of which nothing is written to memory.

Layouts. Parameters and velocities are panels [h / lanes, d + 2, lanes]: for as many neurons as a vector has lanes, d
rows of ω, then b, then β. Examples are tiles [p / ROWS, d, ROWS] of x / √d. Missing neurons have β = 0, and missing
examples no pull. Both passes compute pre-activations for a tile of examples and a panel of neurons in registers.
"""

# ruff: noqa: ANN001, ANN201, ANN202 (Numba infers the types of what it compiles)
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

from learnscope.dynamics.shallow.compiled import tiles
from learnscope.dynamics.shallow.compiled.lanes import ROWS

# Up to so many inputs, gradients are compiled for each number of them: all sums of a panel then stay in registers.
FEW_INPUTS = 4
njit: Any = numba.njit  # whose type leaves `_nrt` out
# None of these makes an array, which is what `_nrt` lets functions do: with it each call would count, atomically, who
# holds each of the arrays. To hand over a training's hundred numbers takes long too, so its functions are compiled in.
compiled: Callable[..., Any] = njit(nogil=True, error_model="numpy", _nrt=False)
inlined: Callable[..., Any] = njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)
allocating: Callable[..., Any] = njit(nogil=True, error_model="numpy")


def named(name: str) -> Callable[..., Any]:
    """Give a function that is made several times a name of its own.

    Machine code that is kept on disk refers to functions by name and a number that begins anew in each process: of two
    with one name, a process that loads code which others compiled may call the wrong one.
    """

    def renamed(function):
        function.__qualname__ = name
        return function

    return renamed


@inlined
def preactivations(parameters, neuron, examples, example, dim):
    """Return ω·x + b for a panel of neurons and a tile of examples, given where they begin."""
    lanes = tiles.lanes_for(parameters)
    u = tiles.repeated(parameters, neuron + dim * lanes)
    for i in range(dim):
        u = tiles.add_outer(u, parameters, neuron + i * lanes, examples, example + i * ROWS)
    return u


@inlined
def relu(u, sharpness):
    """Return the rectifier."""
    return tiles.where_positive(u, u)


@inlined
def pulled_relu(u, sharpness, pull):
    """Return the pull on u, and two factors of the pull on β: its activation is u wherever there is a pull on u."""
    pulled = tiles.where_positive(u, pull)
    return pulled, u, pulled


def _smooth(kind, activated):
    """Return what :func:`relu` and :func:`pulled_relu` do for an activation whose value and slope are computed."""

    @inlined
    @named(f"value_of_{kind}")
    def value_of(u, sharpness):
        return activated(u, sharpness)[0]

    @inlined
    @named(f"pulled_by_{kind}")
    def pulled_by(u, sharpness, pull):
        value, slope = activated(u, sharpness)
        return tiles.product(slope, pull), value, pull

    return value_of, pulled_by


@inlined
def softplus(u, sharpness):
    """Return s times the softplus, and its slope."""
    return tiles.softplus(tiles.times(u, sharpness))


@inlined
def erf(u, sharpness):
    """Return the error function and its slope."""
    return tiles.erf(u)


@inlined
def tanh(u, sharpness):
    """Return the hyperbolic tangent and its slope."""
    return tiles.tanh(u)


@inlined
def add_products(gradients, neuron, pulled, examples, example, dim):
    """Add Σ pulled · x over a tile to the gradients of a panel's ω, four inputs at a time, then two, then one."""
    lanes = tiles.lanes_for(gradients)
    fours, twos = dim - dim % 4, dim - dim % 2
    for i in range(0, fours, 4):
        tiles.add_inner_of_four(gradients, neuron + i * lanes, pulled, examples, example + i * ROWS)
    if fours < twos:
        tiles.add_inner_of_two(gradients, neuron + fours * lanes, pulled, examples, example + fours * ROWS)
    if twos < dim:
        tiles.add_inner(gradients, neuron + twos * lanes, pulled, examples, example + twos * ROWS)


def _passes(kind, value_of, pulled_by):
    """Return both passes for one activation; to choose between activations inside of them would cost registers."""

    @compiled
    @named(f"outputs_of_{kind}")
    def outputs_of(parameters, examples, outputs, sharpness, dim, first, last):
        lanes = tiles.lanes_for(parameters)
        panel = (dim + 2) * lanes
        for tile in range(first, last):
            total = tiles.zeros(parameters)
            for neuron in range(0, len(parameters), panel):
                u = preactivations(parameters, neuron, examples, tile * dim * ROWS, dim)
                value = value_of(u, sharpness)
                total = tiles.add_product(total, value, parameters, neuron + (dim + 1) * lanes)
            tiles.store_sums(outputs, tile * ROWS, total)

    @inlined
    @named(f"gradients_of_{kind}")
    def gradients_of(parameters, examples, pulls, gradients, sharpness, dim, first, last):
        lanes = tiles.lanes_for(parameters)
        panel = (dim + 2) * lanes
        for neuron in range(first * panel, last * panel, panel):
            for row in range(neuron, neuron + panel, lanes):
                tiles.clear_row(gradients, row)
            for tile in range(len(pulls) // ROWS):
                u = preactivations(parameters, neuron, examples, tile * dim * ROWS, dim)
                pulled, value, pull = pulled_by(u, sharpness, tiles.filled(pulls, tile * ROWS))
                tiles.add_sums(gradients, neuron + dim * lanes, pulled)
                tiles.add_sums_of_products(gradients, neuron + (dim + 1) * lanes, value, pull)
                add_products(gradients, neuron, pulled, examples, tile * dim * ROWS, dim)
            outputs = neuron + (dim + 1) * lanes
            for row in range(neuron, outputs, lanes):
                tiles.scale_row(gradients, row, 1.0, parameters, outputs)

    return outputs_of, gradients_of


outputs_of_relu, gradients_of_relu = _passes("relu", relu, pulled_relu)
outputs_of_softplus, gradients_of_softplus = _passes("softplus", *_smooth("softplus", softplus))
outputs_of_erf, gradients_of_erf = _passes("erf", *_smooth("erf", erf))
outputs_of_tanh, gradients_of_tanh = _passes("tanh", *_smooth("tanh", tanh))
