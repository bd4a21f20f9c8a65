"""Compiled loops over tiles of half distances: each row is searched in one go, while it is in the cache.

They do what :mod:`learnscope.observables.neighbours` does in steps of PyTorch, whose formulas are explained there.
"""

# ruff: noqa: ANN001, ANN202 (Numba infers the types of what it compiles)
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from learnscope.observables.candidates import Candidates
from learnscope.observables.screening import GROUP, TRIES, Screen

# Columns of a group, as in `screening`: what is compiled and kept would not see a constant of another file change.
MEMBERS = 16
njit: Any = numba.njit  # whose type leaves `_nrt` out
kept: Callable[..., Any] = njit(nogil=True, cache=True, error_model="numpy")
# Without `_nrt`, which only functions that make arrays need, who holds an array is not counted at each call.
plain: Callable[..., Any] = njit(nogil=True, error_model="numpy", _nrt=False)
summed: Callable[..., Any] = njit(nogil=True, error_model="numpy", _nrt=False, fastmath={"reassoc", "contract"})


def candidates(tile: Tensor, rows: Tensor, screens: list[Screen], k: int, crowd: int) -> tuple[Candidates, Tensor]:
    """Return examples among which are the k nearest of each row, and how many each row has.

    Args:
        tile: [rows, n] half distances of the first screen, less ‖xᵢ‖²/2, infinite for j = i; n a multiple of 16.
        rows: [rows] int64, which examples.
        screens: screens with lower bounds, the first of which made the tile, and one with all coordinates; float32.
        k: how many neighbours are sought.
        crowd: rows with more candidates than that get none.
    """
    first, *between, exact = screens
    finer = between[0] if between else exact
    assert MEMBERS == GROUP
    starts, examples, counts = _candidates(
        tile.numpy(),
        rows.numpy(),
        exact.points.numpy(),
        finer.points.numpy(),
        exact.halves.numpy(),
        exact.norms.numpy(),
        np.array([first.slack, finer.slack, exact.slack]),
        bool(between),
        k,
        TRIES * k,
        crowd,
    )
    return Candidates(torch.from_numpy(starts), torch.from_numpy(examples)), torch.from_numpy(counts)


def squares_of_differences(h: Tensor, rows: Tensor, columns: Tensor, factor: float) -> Tensor:
    """Return Σ ((h_row − h_column) · factor)² of each pair in float64; h [n, d] is float32 or float64."""
    return torch.from_numpy(_squares(h.numpy(), rows.numpy(), columns.numpy(), factor))


@kept
def _squares(h, rows, columns, factor):
    found = np.empty(len(rows))
    for pair in range(len(rows)):
        found[pair] = _square(h, rows[pair], columns[pair], factor)
    return found


@summed
def _square(h, i, j, factor):
    """Return the squared distance of two rows, times the square of the factor, in float64."""
    total = 0.0
    for k in range(h.shape[1]):
        difference = (np.float64(h[i, k]) - np.float64(h[j, k])) * factor
        total += difference * difference
    return total


@summed
def _product(points, i, j):
    """Return the inner product of two rows in the precision of the numbers."""
    total = points.dtype.type(0)
    for k in range(points.shape[1]):
        total += points[i, k] * points[j, k]
    return total


@plain
def _set_minima(tile, row, minima):
    """Set the minima of a row over groups of columns; column c belongs to group c modulo the number of groups."""
    groups = len(minima)
    for group in range(groups):
        minima[group] = tile[row, group]
    for start in range(1, MEMBERS):  # in whole steps, or LLVM would not take many groups at once
        for group in range(groups):
            value = tile[row, start * groups + group]
            if value < minima[group]:
                minima[group] = value


@plain
def _keep_smallest(value, place, values, places):
    """Put a value into an ascending list, and its place into another, if it is below the last of them."""
    if not value < values[-1]:
        return
    at = len(values) - 1
    while at > 0 and value < values[at - 1]:
        values[at], places[at] = values[at - 1], places[at - 1]
        at -= 1
    values[at], places[at] = value, place


@plain
def _limit(kth, norm, largest, coarse, exact):
    """Return what :func:`learnscope.observables.neighbours._limit` does."""
    radius = math.sqrt(2 * max(kth + norm**2 / 2, 0.0) + exact * (norm + largest) ** 2)
    return kth + (exact + coarse) / 2 * (norm + min(norm + radius, largest)) ** 2


@kept
def _candidates(tile, rows, points, finer, halves, norms, slacks, has_finer, k, tries, crowd):
    n = tile.shape[1]
    groups = n // MEMBERS
    largest = norms.max()
    minima = np.empty(groups, tile.dtype)
    tries = min(tries, groups)
    small, where = np.empty(tries), np.empty(tries, np.int64)
    nearest, unused = np.empty(k), np.empty(k, np.int64)
    found, lower = np.empty(n, np.int64), np.empty(n)
    starts, counts = np.zeros(len(rows) + 1, np.int64), np.empty(len(rows), np.int64)
    examples = np.empty(len(rows) * 4 * k, np.int64)
    for t in range(len(rows)):
        row = rows[t]
        norm = norms[row]
        _set_minima(tile, t, minima)
        small[:] = np.inf
        where[:] = -1
        for group in range(groups):
            _keep_smallest(np.float64(minima[group]), group, small, where)
        nearest[:] = np.inf
        for group in where:
            if group < 0:
                continue
            best = group
            for column in range(group, n, groups):
                if tile[t, column] < tile[t, best]:
                    best = column
            half = np.float64(halves[best] - _product(points, row, best))
            _keep_smallest(half, best, nearest, unused)
        bound = nearest[-1]
        limit = _limit(bound, norm, largest, slacks[0], slacks[2])
        count = 0
        for group in range(groups):
            if minima[group] <= limit:
                for column in range(group, n, groups):
                    if tile[t, column] <= limit:
                        found[count] = column
                        count += 1
        if has_finer:
            limit, passed = _limit(bound, norm, largest, slacks[1], slacks[2]), count
            count = 0
            for place in range(passed):
                column = found[place]
                if halves[column] - _product(finer, row, column) <= limit:
                    found[count] = column
                    count += 1
        nearest[:] = np.inf
        for place in range(count):
            column = found[place]
            lower[place] = halves[column] - _product(points, row, column)
            _keep_smallest(lower[place], column, nearest, unused)
        limit, passed = _limit(nearest[-1], norm, largest, slacks[2], slacks[2]), count
        count = 0
        for place in range(passed):
            if lower[place] <= limit:
                found[count] = found[place]
                count += 1
        counts[t], starts[t + 1] = count, starts[t]
        if count <= crowd:
            found[:count].sort()
            starts[t + 1] += count
            if starts[t + 1] > len(examples):
                longer = np.empty(2 * starts[t + 1], np.int64)
                longer[: starts[t]] = examples[: starts[t]]
                examples = longer
            examples[starts[t] : starts[t + 1]] = found[:count]
    return starts, examples[: starts[-1]].copy(), counts
