"""Parameters as panels and examples as tiles, the layouts that the passes work on, and back: compiled loops of copying.

Panels and tiles are flat and padded with zeros; :mod:`learnscope.dynamics.shallow.compiled.passes` says what is where.
"""

# ruff: noqa: ANN001, ANN201 (Numba infers the types of what it compiles)
from __future__ import annotations

import math

import numpy as np

from learnscope.dynamics.shallow.compiled.lanes import ROWS
from learnscope.dynamics.shallow.compiled.passes import allocating, compiled


@compiled
def copy(source, target):
    """Set the first numbers of a target; an assignment to a slice would take Numba seconds to compile."""
    for k in range(len(source)):
        target[k] = source[k]


@allocating
def panels(weights, biases, outputs, lanes):
    """Return ω [h, d], b [h] and β [h] as panels."""
    width, dim = weights.shape
    panel = (dim + 2) * lanes
    flat = np.zeros(-(-width // lanes) * panel, weights.dtype)
    for neuron in range(width):
        at = neuron // lanes * panel + neuron % lanes
        for i in range(dim):
            flat[at + i * lanes] = weights[neuron, i]
        flat[at + dim * lanes] = biases[neuron]
        flat[at + (dim + 1) * lanes] = outputs[neuron]
    return flat


@allocating
def rows(flat, width, dim, lanes):
    """Return the ω [h, d], b [h] and β [h] of panels."""
    weights = np.empty((width, dim), flat.dtype)
    biases, outputs = np.empty(width, flat.dtype), np.empty(width, flat.dtype)
    for neuron in range(width):
        at = neuron // lanes * (dim + 2) * lanes + neuron % lanes
        for i in range(dim):
            weights[neuron, i] = flat[at + i * lanes]
        biases[neuron] = flat[at + dim * lanes]
        outputs[neuron] = flat[at + (dim + 1) * lanes]
    return weights, biases, outputs


@allocating
def tiles(x):
    """Return examples [p, d], divided by √d, as tiles."""
    n, dim = x.shape
    root = x.dtype.type(math.sqrt(dim))
    flat = np.zeros(-(-n // ROWS) * ROWS * dim, x.dtype)
    for k in range(n):
        at = k // ROWS * ROWS * dim + k % ROWS
        for i in range(dim):
            flat[at + i * ROWS] = x[k, i] / root
    return flat


@allocating
def padded(values):
    """Return numbers [p] with zeros for the missing examples."""
    longer = np.zeros(-(-len(values) // ROWS) * ROWS, values.dtype)
    copy(values, longer)
    return longer
