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
def relu(u, sharpness):
    """Return the rectifier."""
    return tiles.where_positive(u, u)


@inlined
def pulled_relu(u, sharpness, pull):
    """Return the pull on u, and two factors of the pull on β: its activation is u wherever there is a pull on u."""
    pulled = tiles.where_positive(u, pull)
    return pulled, u, pulled


def _smooth(activated):
    """Return what :func:`relu` and :func:`pulled_relu` do for an activation whose value and slope are computed."""

    @inlined
    def value_of(u, sharpness):
        return activated(u, sharpness)[0]

    @inlined
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
def add_products(gradients, neuron, pulled, examples, example, dim, lanes):
    """Add Σ pulled · x over a tile to the gradients of a panel's ω, four inputs at a time, then two, then one."""
    fours, twos = dim - dim % 4, dim - dim % 2
    for i in range(0, fours, 4):
        tiles.add_inner_of_four(gradients, neuron + i * lanes, pulled, examples, example + i * ROWS)
    if fours < twos:
        tiles.add_inner_of_two(gradients, neuron + fours * lanes, pulled, examples, example + fours * ROWS)
    if twos < dim:
        tiles.add_inner(gradients, neuron + twos * lanes, pulled, examples, example + twos * ROWS)


def _passes(value_of, pulled_by):
    """Return both passes for one activation; to choose between activations inside of them would cost registers."""

    @compiled
    def outputs_of(parameters, examples, outputs, sharpness, dim, lanes, first, last):
        panel = (dim + 2) * lanes
        for tile in range(first, last):
            total = tiles.zeros(parameters)
            for neuron in range(0, len(parameters), panel):
                u = preactivations(parameters, neuron, examples, tile * dim * ROWS, dim, lanes)
                value = value_of(u, sharpness)
                total = tiles.add_product(total, value, parameters, neuron + (dim + 1) * lanes)
            tiles.store_sums(outputs, tile * ROWS, total)

    @compiled
    def gradients_of(parameters, examples, pulls, gradients, sharpness, dim, lanes, first, last):
        panel = (dim + 2) * lanes
        for neuron in range(first * panel, last * panel, panel):
            for row in range(neuron, neuron + panel, lanes):
                tiles.clear_row(gradients, row)
            for tile in range(len(pulls) // ROWS):
                u = preactivations(parameters, neuron, examples, tile * dim * ROWS, dim, lanes)
                pulled, value, pull = pulled_by(u, sharpness, tiles.filled(pulls, tile * ROWS))
                tiles.add_sums(gradients, neuron + dim * lanes, pulled)
                tiles.add_sums_of_products(gradients, neuron + (dim + 1) * lanes, value, pull)
                add_products(gradients, neuron, pulled, examples, tile * dim * ROWS, dim, lanes)
            outputs = neuron + (dim + 1) * lanes
            for row in range(neuron, outputs, lanes):
                tiles.scale_row(gradients, row, 1.0, parameters, outputs)

    return outputs_of, gradients_of


outputs_of_relu, gradients_of_relu = _passes(relu, pulled_relu)
outputs_of_softplus, gradients_of_softplus = _passes(*_smooth(softplus))
outputs_of_erf, gradients_of_erf = _passes(*_smooth(erf))
outputs_of_tanh, gradients_of_tanh = _passes(*_smooth(tanh))


@compiled
def sum_outputs(parameters, examples, outputs, kind, sharpness, dim, lanes, first, last):
    """Set the sums over neurons β a(u) of the examples in the tiles from first to before last."""
    if kind == RELU:
        outputs_of_relu(parameters, examples, outputs, sharpness, dim, lanes, first, last)
    elif kind == SOFTPLUS:
        outputs_of_softplus(parameters, examples, outputs, sharpness, dim, lanes, first, last)
    elif kind == ERF:
        outputs_of_erf(parameters, examples, outputs, sharpness, dim, lanes, first, last)
    else:
        outputs_of_tanh(parameters, examples, outputs, sharpness, dim, lanes, first, last)


@compiled
def sum_gradients(parameters, examples, pulls, gradients, kind, sharpness, dim, lanes, first, last):
    """Set the sums over examples of pull times (β a' x, β a', a), for the panels from first to before last."""
    if kind == RELU:
        gradients_of_relu(parameters, examples, pulls, gradients, sharpness, dim, lanes, first, last)
    elif kind == SOFTPLUS:
        gradients_of_softplus(parameters, examples, pulls, gradients, sharpness, dim, lanes, first, last)
    elif kind == ERF:
        gradients_of_erf(parameters, examples, pulls, gradients, sharpness, dim, lanes, first, last)
    else:
        gradients_of_tanh(parameters, examples, pulls, gradients, sharpness, dim, lanes, first, last)
