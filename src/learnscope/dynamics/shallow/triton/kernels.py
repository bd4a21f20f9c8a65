"""The two passes of a training step over all pairs of an example and a neuron, for many networks at once.

Layouts. Parameters and velocities are [networks, d + 2, H], for each neuron d rows of ω, then b, then β. Examples are
[networks, d + 1, P], d rows of x / √d, then one of ones. P and H are multiples of the tiles; what is missing is zero.
Both passes compute pre-activations for a tile of examples and of neurons in registers, and add up in the dtype of the
parameters, of which nothing is rounded to TF32. A sum that is split between programs has a part for each, [networks,
splits, ...], and the parts are added in their order afterwards: no atomics, so the same training has the same numbers
every time.
"""

# ruff: noqa: ANN001, ANN201 (Triton infers the types of what it compiles)
# pyright: reportMissingImports=false
from __future__ import annotations

import triton.language as tl

from learnscope.dynamics.shallow.triton.elementary import activated, jit, pull


@jit
def preactivations(parameters, examples, neurons, points, H, P, ROWS: tl.constexpr):
    """Return ω·x/√d + b for a tile [points, neurons]."""
    dtype: tl.constexpr = parameters.dtype.element_ty
    u = tl.zeros((points.shape[0], neurons.shape[0]), dtype)
    for i in tl.range(0, ROWS, loop_unroll_factor=4):
        u += tl.load(examples + i * P + points)[:, None] * tl.load(parameters + i * H + neurons)[None, :]
    return u


@jit
def share(tiles, split, splits):
    """Return the first tile of a program, and the one after its last."""
    each = tl.cdiv(tiles, splits)
    return split * each, tl.minimum((split + 1) * each, tiles)


@jit
def sum_outputs(
    parameters, examples, widths, sizes, active, parts, H, P, splits,
    ROWS: tl.constexpr, KIND: tl.constexpr, SHARPNESS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Set parts [networks, splits, P] of the sums over neurons β a(s u), for the networks that are active."""
    tile, network, split = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2)
    if (tl.load(active + network) == 0) | (tile * TILE >= tl.load(sizes + network)):
        return
    parameters += network * (ROWS + 1) * H
    examples += network * ROWS * P
    points = tile * TILE + tl.arange(0, TILE)
    total = tl.zeros((TILE, TILE), parameters.dtype.element_ty)
    first, last = share(tl.cdiv(tl.load(widths + network), TILE), split, splits)
    for k in range(first, last):
        neurons = k * TILE + tl.arange(0, TILE)
        u = preactivations(parameters, examples, neurons, points, H, P, ROWS)
        value, _ = activated(u * SHARPNESS, KIND)
        total += value * tl.load(parameters + ROWS * H + neurons)[None, :]
    tl.store(parts + (network * splits + split) * P + points, tl.sum(total, axis=1))


@jit
def sum_gradients(
    parameters, examples, predictions, labels, widths, sizes, active, parts, H, P, splits,
    ROWS: tl.constexpr, KIND: tl.constexpr, SHARPNESS: tl.constexpr,
    LOSS: tl.constexpr, LOSS_SHARPNESS: tl.constexpr, TILE: tl.constexpr, ROW_TILE: tl.constexpr,
):  # fmt: skip
    """Set parts [networks, splits, d + 2, H] of the sums over examples of pull times (β a' x/√d, β a', a)."""
    tile, network, split = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2)
    width, size = tl.load(widths + network), tl.load(sizes + network)
    if (tl.load(active + network) == 0) | (tile * TILE >= width):
        return
    parameters += network * (ROWS + 1) * H
    examples += network * ROWS * P
    dtype: tl.constexpr = parameters.dtype.element_ty
    neurons = tile * TILE + tl.arange(0, TILE)
    rows = tl.arange(0, ROW_TILE)[:, None]
    inputs = tl.zeros((ROW_TILE, TILE), dtype)
    outputs = tl.zeros((TILE, TILE), dtype)
    first, last = share(tl.cdiv(size, TILE), split, splits)
    for k in range(first, last):
        points = k * TILE + tl.arange(0, TILE)
        at = network * P + points
        pulls = pull(tl.load(predictions + at), tl.load(labels + at), LOSS, LOSS_SHARPNESS)
        pulls = tl.where(points < size, pulls, 0.0).to(dtype)[:, None]
        u = preactivations(parameters, examples, neurons, points, H, P, ROWS)
        value, slope = activated(u * SHARPNESS, KIND)
        outputs += pulls * value
        x = tl.load(examples + rows * P + points[None, :], mask=rows < ROWS, other=0.0)
        inputs = tl.dot(x, pulls * slope, inputs, input_precision="ieee", out_dtype=dtype)
    inputs *= tl.load(parameters + ROWS * H + neurons)[None, :]
    parts += (network * splits + split) * (ROWS + 1) * H
    # a neuron that is missing has σ(0), and would learn
    tl.store(parts + rows * H + neurons[None, :], inputs, mask=(rows < ROWS) & (neurons < width)[None, :])
    tl.store(parts + ROWS * H + neurons, tl.sum(outputs, axis=0), mask=neurons < width)
