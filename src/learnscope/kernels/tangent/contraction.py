"""One layer's kernel from its factors or Jacobians, added to the kernel of the network.

Kernels are matrices here, [n r, m r] with one row for each example and scalar (r = k), or for each example if only the
trace over scalars is wanted (r = 1). On the diagonal of a symmetric kernel, what is below it may be left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from learnscope.kernels.tangent.layers import Factors
from learnscope.matrix_products import product

Way = Literal["layerwise", "jacobian", "positions"]
Held = Factors | Tensor  # factors, or a Jacobian [n, k, parameters]

STRIPS = 8  # in which the upper triangle is computed, with 1/16 to spare
LEAST_ROWS = 128  # of a strip, for products of matrices to be quick
BATCHED = 3  # time of a multiplication in a batch of small matrices, in those of large ones
PASS = 8  # time of reading and writing a number, in multiplications
SPARED = 8  # part of the scratch for products, while Jacobians take the rest
CACHED = 2**22  # numbers of a temporary that is passed over several times


def add_kernel(
    target: Tensor, first: Held, second: Held, way: Way, scratch: int, *, trace: bool, triangular: bool = False
) -> None:
    """Add the kernel of one layer between two sets of examples to a matrix, in place.

    Args:
        target: [n r, m r] a matrix, contiguous along its rows.
        first: factors or Jacobian of n examples.
        second: of m examples.
        way: how factors are contracted; a Jacobian is multiplied with the other.
        scratch: how many numbers the work may hold at once, see :func:`least_scratch`.
        trace: whether to sum over equal scalars.
        triangular: whether ``second`` is ``first``, and only the diagonal and what is above it are wanted.
    """
    if isinstance(first, Tensor) or isinstance(second, Tensor):
        assert isinstance(first, Tensor)
        assert isinstance(second, Tensor)
        _add_product(target, _rows(first, trace=trace), _rows(second, trace=trace), scratch, triangular=triangular)
    elif way == "jacobian":
        _add_formed(target, first, second, scratch, trace=trace, triangular=triangular)
    elif first.sizes[2] == second.sizes[2] == 1:
        _add_layerwise(target, first, second, min(scratch, CACHED), trace=trace, triangular=triangular)
    else:
        _add_positions(target, first, second, min(scratch, CACHED), trace=trace, triangular=triangular)


def examples_of(held: Held) -> int:
    """Return of how many examples there are factors or Jacobians."""
    return (held.inputs if isinstance(held, Factors) else held).shape[0]  # len() of a tensor is slow


def formed(factors: Factors, groups: slice = slice(None), units: slice = slice(None)) -> Tensor:
    """Return the Jacobian J = Σ_t G_t ⊗ X_t of some groups of weights on some units of inputs, [n, k, parameters]."""
    if factors.window is not None and factors.window.is_quick(factors.inputs):
        found = factors.window.products(factors.inputs, factors.gradients, groups, units)
        return found.unflatten(2, (factors.sizes[0], -1)).transpose(1, 2).flatten(2)
    gradients = factors.gradients[:, :, groups]
    inputs = factors.dense_inputs(groups, units)
    n, k, g, t, _ = gradients.shape
    found = torch.bmm(_positions_last(gradients), inputs.reshape(n * g, t, -1))
    return found.reshape(n, g, k, -1).transpose(1, 2).flatten(2)


def _positions_last(gradients: Tensor) -> Tensor:
    """Return gradients [n, k, g, t, b] as [n g, k b, t], a view if they lie so."""
    return gradients.permute(0, 2, 1, 4, 3).flatten(2, 3).flatten(0, 1)


def add_transposed(matrix: Tensor) -> None:
    """Copy what is above the diagonal of a square matrix to below it, in place."""
    for start, stop in strips(len(matrix), LEAST_ROWS):
        corner = matrix[start:stop, start:stop]
        corner.triu_().add_(corner.triu(1).mT)
        matrix[stop:, start:stop] = matrix[start:stop, stop:].mT


def cheapest(factors: Factors, n: int, *, trace: bool) -> Way:
    """Return the way that takes the least time for the kernel of n examples with factors like these, for each pair."""
    k, g, t, a, b = factors.sizes
    r = 1 if trace else k
    jacobian = a * b * (4 * k * t / n + k * r)  # 4: twice as long as in large matrices, and for both of a pair
    met = 1 if factors.vocabulary else a  # whether tokens are equal takes no multiplications
    if t == 1:
        return "layerwise" if met + k * r * b + PASS * r * r <= jacobian else "jacobian"
    if trace:
        positions = t * t * (met + k * b + PASS)
    else:
        positions = t * t * (met + BATCHED * k * b) + BATCHED * t * k * k * b + PASS * t * k * b
    return "positions" if positions <= jacobian else "jacobian"


def smaller_formed(factors: Factors) -> bool:
    """Return whether the Jacobian is to be kept: unless it takes far more memory than the factors."""
    k, g, _, a, b = factors.sizes
    return k * g * a * b <= 4 * (factors.inputs[0].numel() + factors.gradients[0].numel())


def least_scratch(factors: Factors, way: Way, *, trace: bool) -> int:
    """Return how many numbers the work on one pair of examples holds at least."""
    k, _, t, *_ = factors.sizes
    if way == "jacobian":
        return 2 * sum(_forming(factors))
    return k * k if t == 1 else sum(_meeting(factors, trace=trace))


def strips(rows: int, least: int) -> Iterator[tuple[int, int]]:
    """Yield the beginnings and ends of up to :data:`STRIPS` strips of rows, of ``least`` rows or more."""
    step = max(1, least, -(-rows // STRIPS))
    for start in range(0, rows, step):
        yield start, min(rows, start + step)


def _rows(jacobian: Tensor, *, trace: bool) -> Tensor:
    """Return a row for each row of the kernel, whose products with each other are its entries."""
    return jacobian.flatten(1) if trace else jacobian.flatten(0, 1)


def _add_product(target: Tensor, left: Tensor, right: Tensor, scratch: int, *, triangular: bool) -> None:
    """Add left rightᵀ, some rows at a time: by the quickest library, which cannot add to what is there."""
    step = max(1, min(scratch, CACHED) // len(right))
    if triangular:
        step = min(step, max(LEAST_ROWS, -(-len(left) // STRIPS)))
    for start in range(0, len(left), step):
        begin, stop = start if triangular else 0, start + step
        target[start:stop, begin:] += product(left[start:stop], right[begin:])


def _add_formed(
    target: Tensor, first: Factors, second: Factors, scratch: int, *, trace: bool, triangular: bool
) -> None:
    """Form the Jacobians of a few weights at a time, and multiply them."""
    (units, _), g = first.units, first.sizes[1]
    spare = scratch // SPARED
    scratch -= spare
    n = len(first.inputs) + (0 if triangular else len(second.inputs))
    copied, unit = (n * each for each in _forming(first))
    groups, some = max(1, scratch // (copied + units * unit)), min(units, max(1, (scratch - copied) // unit))
    for i in range(0, g, groups):
        for j in range(0, units, some):
            part = slice(i, i + groups), slice(j, j + some)
            left = _rows(formed(first, *part), trace=trace)
            right = left if triangular else _rows(formed(second, *part), trace=trace)
            _add_product(target, left, right, spare, triangular=triangular)
            del left, right


def _forming(factors: Factors) -> tuple[int, int]:
    """Return how many numbers an example takes to form a group's Jacobian: once, and for each unit of inputs."""
    k, _, t, _, b = factors.sizes
    one = factors.gradients[:1]
    return 0 if _positions_last(one).data_ptr() == one.data_ptr() else k * b * t, factors.units[1] * (k * b + t)


def _add_layerwise(
    target: Tensor, first: Factors, second: Factors, scratch: int, *, trace: bool, triangular: bool
) -> None:
    """Add Σ_g (X X'ᵀ) ∘ (G G'ᵀ) for a layer used at one position, without forming the Jacobian."""
    k, groups, *_ = first.sizes
    n, m, r = first.inputs.shape[0], second.inputs.shape[0], 1 if trace else k
    step = max(1, scratch // (m * r * r))
    if triangular:
        step = min(step, max(-(-LEAST_ROWS // r), -(-n // STRIPS)))
    for g in range(groups):
        left = _rows(first.gradients[:, :, g, 0], trace=trace)
        right = left if triangular else _rows(second.gradients[:, :, g, 0], trace=trace)
        for start in range(0, n, step):
            begin, stop = start if triangular else 0, min(n, start + step)
            whole = stop - start == n  # a slice would take as long as a small product
            left_inputs, right_inputs = (
                (first, second) if whole else (first.of(slice(start, stop)), second.of(slice(begin, None)))
            )
            inputs = _met(left_inputs, right_inputs, g)
            part = target[start * r : stop * r, begin * r :].unflatten(0, (stop - start, r))
            gradients = product(left[start * r : stop * r], right[begin * r :])
            part.addcmul_(
                gradients.view_as(part), inputs.repeat_interleave(r, 1)[:, None] if r > 1 else inputs[:, None]
            )


def _add_positions(
    target: Tensor, first: Factors, second: Factors, scratch: int, *, trace: bool, triangular: bool
) -> None:
    """Add the sum over pairs of positions of (X_t · X'_s)(G_t · G'_s), a few pairs of examples at a time."""
    k, groups, *_ = first.sizes
    n, m, r = len(first.inputs), len(second.inputs), 1 if trace else k
    pair, both = _meeting(first, trace=trace)
    rows = max(1, min(n, int(((both**2 / 4 + pair * scratch) ** 0.5 - both / 2) / pair)))
    columns = max(1, (scratch - rows * both // 2) // (rows * pair + both // 2))
    contract = _summed if trace else _paired
    for g in range(groups):
        for i in range(0, n, rows):
            for j in range(i if triangular else 0, m, columns):
                ours, theirs = first.of(slice(i, i + rows)), second.of(slice(j, j + columns))
                part = target[i * r : (i + rows) * r, j * r : (j + columns) * r]
                part += contract(ours, theirs, g)


def _meeting(factors: Factors, *, trace: bool) -> tuple[int, int]:
    """Return how many numbers the positions of a pair of examples take, and both examples by themselves."""
    k, _, t, a, b = factors.sizes
    pair = 2 * t * t if trace else t * t + 2 * t * k * b
    return pair, 2 * t * ((a if factors.window is not None else 0) + k * b)


def _summed(first: Factors, second: Factors, g: int) -> Tensor:
    """Return Σ_ts (X_t · X'_s)(Σ_k G_kt · G'_ks) of one group, [n, m]."""
    left, right = (each.gradients[:, :, g].transpose(1, 2).flatten(2).flatten(0, 1) for each in (first, second))
    met = _met(first, second, g).mul_(product(left, right))
    return met.reshape(len(first.inputs), -1, len(second.inputs), second.sizes[2]).sum((1, 3))


def _paired(first: Factors, second: Factors, g: int) -> Tensor:
    """Return Σ_t G_it · (Σ_s (X_t · X'_s) G'_js) of one group, [n k, m k]."""
    k, _, t, _, b = first.sizes
    n, m, s = len(first.inputs), len(second.inputs), second.sizes[2]
    inputs = _met(second, first, g).reshape(m, s, n * t).mT
    right = second.gradients[:, :, g].transpose(1, 2).reshape(m, s, k * b)
    mixed = torch.bmm(inputs, right).reshape(m, n, t, k, b)
    left = first.gradients[:, :, g].reshape(n, k, t * b)
    found = torch.bmm(left, mixed.permute(1, 2, 4, 0, 3).reshape(n, t * b, m * k))
    return found.flatten(0, 1)


def _met(first: Factors, second: Factors, g: int) -> Tensor:
    """Return the products X_t · X'_s of one group, [n t, m s]."""
    if first.bias:
        right = second.inputs[:, g].flatten(0, 1)
        return product(first.inputs[:, g].flatten(0, 1), right, plus=right.new_ones(right.shape[0]))
    if not first.vocabulary:
        left, right = (each.dense_inputs(slice(g, g + 1)).flatten(0, 2) for each in (first, second))
        return product(left, right)
    left, right = (each.inputs[:, g].flatten(0, 1) for each in (first, second))
    return ((left == right.mT) & (left >= 0)).to(first.gradients.dtype)
