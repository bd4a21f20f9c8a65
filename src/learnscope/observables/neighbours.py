"""Exact nearest neighbours: screened in float32, refined by differences in float64, certified row by row."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from learnscope.errors import BudgetError, InputError
from learnscope.memory import keep_freed_memory
from learnscope.observables.candidates import Candidates, all_of, at_most
from learnscope.observables.duplicates import first_of_each, groups_of_equal_rows
from learnscope.observables.features import as_matrix
from learnscope.observables.screening import (
    TRIES,
    Screen,
    half_distances,
    half_distances_alone,
    half_distances_of_pairs,
    laid_out,
    screen,
)
from learnscope.observables.sketches import SAMPLE, screens
from learnscope.threads import Run, side_by_side

# Values of a tile of distances: few enough for the cache, enough for fast matrix products.
TILE = 2**22
# Bytes of differences that are taken at a time; these stay in the cache.
PIECE = 2**19
# Rows with more candidates than that are screened again in float64.
CROWD = 1024
# Pairs of examples that are worth compiled loops, which take seconds to compile, once on a machine.
COMPILED = 2**24


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The k nearest other examples of each example, nearest first.

    Attributes:
        distances: [n, k] float64, Euclidean, ascending along each row.
        indices: [n, k] int64, which example each distance leads to; equal distances in order of index.
    """

    distances: Tensor
    indices: Tensor


def nearest_neighbours(h: Tensor, k: int, *, budget: int = 256 * 2**20) -> Neighbours:
    """Find the k nearest neighbours ‖hᵢ − hⱼ‖ of every example among the others, exactly.

    Screening: tᵢⱼ = (‖xᵢ‖² + ‖xⱼ‖²)/2 − xᵢ·xⱼ, half the squared distances, come from float32 matrix products of
    the centred features x, some rows against all examples at a time.
    Certificate: tᵢⱼ is off by at most B/2, B = (d + 8) u (‖xᵢ‖ + ‖xⱼ‖)², u = 2⁻²⁴. At least k others lie within
    a threshold t, so all neighbours of i have tᵢⱼ ≤ t + B.
    Refinement: what lies within is measured by direct differences Σ(hᵢ − hⱼ)² in float64, free of cancellation.
    Rows with too many candidates are screened again in float64 against everything, with u = 2⁻⁵³, and refined;
    if rows repeat each other exactly, distinct ones only, and their copies are put in afterwards.
    With 384 features and 2,048 examples or more, 33 to 129 coordinates that bound distances from below are screened
    first if that is quicker, see ``sketches.screens``; t is then the largest tᵢⱼ of the k examples that look nearest
    there, and t₍ₖ₎ only of the candidates.
    From 4,096 examples on a CPU, sketches are searched and differences taken by loops that Numba compiles, which
    takes some seconds at the first such call on a machine.

    Args:
        h: [n, d] features of any real dtype and device.
        k: number of neighbours, 1 ≤ k < n.
        budget: bytes of working memory for distances and candidates.

    Returns:
        Neighbours with float64 distances in the units of ``h``; identical rows are at distance exactly 0.

    Raises:
        InputError: when h is not a finite matrix with more than k rows, or k < 1.
        BudgetError: when ``budget`` cannot hold the candidates of one example.

    Cost: n² d multiplications in float32 (33 to 129 for d with a sketch); 8 n d bytes for the centred copies, 2,600 n
    for sketches, and ``budget`` bytes, of which 60 MB are used commonly; never an n × n matrix. Crowded rows cost n d
    multiplications in float64 each, and 16 n d bytes once; that is the fate of data full of exact ties (grids,
    binary codes).

    Examples:
        >>> line = torch.tensor([[0.0], [1.0], [3.0]])
        >>> nearest_neighbours(line, 1).distances.tolist()
        [[1.0], [1.0], [2.0]]
    """
    keep_freed_memory()
    h = _checked(h, k, budget)
    threads = min(torch.get_num_threads(), budget // _least(h)) if h.device.type == "cpu" else 1
    with side_by_side(threads) as run:
        x, exponent = _scaled(h)
        search = _Search(h, exponent, k, budget // threads, threads, run)
        squares = torch.empty(len(h), k, dtype=torch.float64, device=h.device)
        indices = torch.empty_like(squares, dtype=torch.int64)
        crowded = []
        for found in search.among(screens(x, k, run), torch.arange(len(h), device=h.device), CROWD):
            squares[found.rows], indices[found.rows] = found.squares, found.indices
            crowded.append(found.crowded)
        failed = torch.cat(crowded)
        groups = groups_of_equal_rows(h) if len(failed) else torch.arange(len(h))
        alone = int(groups.max()) + 1 == len(h)
        if len(failed) and alone:
            for found in search.among([screen(_centred(h, exponent, torch.float64), run)], failed, len(h)):
                squares[found.rows], indices[found.rows] = found.squares, found.indices
    return Neighbours(squares.sqrt() * 2.0**exponent, indices) if alone else _among_groups(h, groups, k, budget)


class _Found(NamedTuple):
    """Rows, the squares and indices [rows, k] of their nearest, and rows with too many candidates to say."""

    rows: Tensor
    squares: Tensor
    indices: Tensor
    crowded: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    """The search for the k nearest among examples h, some rows at a time.

    Attributes:
        h: the examples.
        exponent: e; screens are of the examples over 2^e.
        k: how many neighbours.
        budget: bytes for a tile of distances, all of which may be candidates.
        threads: how many tiles are searched at once.
        run: searches them.
    """

    h: Tensor
    exponent: int
    k: int
    budget: int
    threads: int
    run: Run

    def among(self, screened: list[Screen], rows: Tensor, crowd: int) -> list[_Found]:
        """Return what is found for some rows, which ascend.

        Args:
            screened: the screen with all coordinates, and before it there may be others with lower bounds.
            rows: [rows] int64.
            crowd: how many candidates a row may have; those with more are left.
        """
        laid = laid_out(screened[0])
        # Memory that is used again is a good deal faster than what is asked for anew.
        spare: deque[Tensor] = deque()

        def searched(some: Tensor) -> _Found:
            memory = spare.pop() if spare else laid.new_empty(most, len(laid))
            pairs, counts = self._candidates(laid, screened, some, memory[: len(some)], crowd)
            spare.append(memory)
            few = counts <= crowd
            some, left = some[few], some[~few]
            if len(left):
                pairs = pairs.rows(few)
            return _Found(some, *_nearest(self.h, some, pairs, self.exponent, self.k), left)

        most = max(1, min(TILE, self.budget // 64) // len(laid))
        blocks = -(-len(rows) // most)
        most = -(-len(rows) // (blocks + -blocks % self.threads))
        return self.run(searched, rows.split(most))

    def _candidates(
        self, laid: Tensor, screened: list[Screen], rows: Tensor, memory: Tensor, crowd: int
    ) -> tuple[Candidates, Tensor]:
        """Return examples among which are the k nearest of each row, and how many each row has.

        Args:
            laid: the examples as the first screen has them.
            screened: as in :meth:`among`.
            rows: [rows] int64.
            memory: [rows, n] takes half distances.
            crowd: rows with more candidates may lack them.
        """
        if len(screened) > 1 and self.h.device.type == "cpu" and len(self.h) ** 2 >= COMPILED:
            tile = half_distances_alone(laid, rows, memory)
            return _compiled().candidates(tile, rows, screened, self.k, crowd)
        pairs = self._candidates_in_steps(laid, screened, rows, memory)
        return pairs, pairs.counts

    def _candidates_in_steps(self, laid: Tensor, screened: list[Screen], rows: Tensor, memory: Tensor) -> Candidates:
        """Return examples among which are the k nearest of each row."""
        k, (first, *between, exact) = self.k, (screened if len(screened) > 1 else screened * 2)
        tile = half_distances(laid, rows, TRIES * k, out=memory)
        if first is exact:
            return at_most(tile.values, _limit(tile.kth_smallest(k), rows, exact, exact))
        tried = half_distances_of_pairs(exact, rows, all_of(tile.small_ones(TRIES * k))).view(len(rows), -1)
        kth = _kth(tried, k)
        pairs = at_most(tile.values, _limit(kth, rows, first, exact))
        for finer in between:
            lower = half_distances_of_pairs(finer, rows, pairs)
            pairs = pairs.only(lower <= pairs.spread(_limit(kth, rows, finer, exact).to(lower.dtype)))
        halves = half_distances_of_pairs(exact, rows, pairs)
        limit = _limit(_kth(pairs.padded(halves, torch.inf), k), rows, exact, exact)
        return pairs.only(halves <= pairs.spread(limit.to(halves.dtype)))


def _kth(values: Tensor, k: int) -> Tensor:
    """Return the k-th smallest of each row."""
    return values.topk(k, dim=1, largest=False, sorted=False).values.amax(dim=1)


def _checked(h: Tensor, k: int, budget: int) -> Tensor:
    """Return features as a finite matrix of more than k rows, and check that the budget holds a row of tiles."""
    if k < 1:
        raise InputError(f"k = {k} neighbours were asked for, but at least 1 is needed")
    h = as_matrix(h, least=k + 1)
    least = _least(h)
    if budget < least:
        raise BudgetError(
            f"a budget of {budget} bytes cannot hold one of {h.shape[0]} examples of {h.shape[1]} features: "
            f"allow at least {least} bytes"
        )
    return h


def _least(h: Tensor) -> int:
    """Return the bytes that one row of a tile and its candidates take."""
    return 64 * sum(h.shape)


def _scaled(h: Tensor) -> tuple[Tensor, int]:
    """Return centred features over 2^e in float32, and e such that they can be squared; 0 for all usual magnitudes."""
    x = _centred(h, 0, torch.float32)
    least, most = x.aminmax()
    if 2.0**-40 < float(most - least) < 2.0**40:
        return x, 0
    spread = float((h.amax(dim=0).double() / 2 - h.amin(dim=0).double() / 2).amax())
    exponent = math.frexp(spread)[1] if spread > 0 else 0
    return _centred(h, exponent, torch.float32), exponent


def _centred(h: Tensor, exponent: int, dtype: torch.dtype) -> Tensor:
    """Return (h − c) / 2^exponent in ``dtype``, with c the mean of a sample; the division is exact."""
    centre = h[:: -(-len(h) // SAMPLE)].mean(dim=0, dtype=torch.float64).to(h.dtype)
    x = h - centre if h.dtype == dtype else h.double() - centre
    return (x.double() * 2.0**-exponent if exponent else x).to(dtype)


def _limit(kth: Tensor, rows: Tensor, coarse: Screen, exact: Screen) -> Tensor:
    """Return t₍ₖ₎ + B less ‖xᵢ‖²/2, which no screened half distance of one of the k nearest exceeds: [rows] float64.

    Neighbours within r of xᵢ have ‖xⱼ‖ ≤ ‖xᵢ‖ + r, and r² ≤ 2 t₍ₖ₎ + B with the largest norm of all in B.

    Args:
        kth: [rows] t₍ₖ₎ less ‖xᵢ‖²/2, as measured with ``exact``.
        rows: [rows] which examples.
        coarse: the screen that is about to be searched.
        exact: the screen with all coordinates.
    """
    norms, largest = exact.norms[rows], exact.norms.amax()
    halves = (kth + norms.square() / 2).clamp(min=0)
    radius = (2 * halves + exact.slack * (norms + largest).square()).sqrt()
    return kth + (exact.slack + coarse.slack) / 2 * (norms + torch.minimum(norms + radius, largest)).square()


def _nearest(h: Tensor, rows: Tensor, pairs: Candidates, exponent: int, k: int) -> tuple[Tensor, Tensor]:
    """Return the k smallest exact squares [rows, k] and their examples, equal ones by index."""
    if not len(rows):
        return torch.empty(0, k, dtype=torch.float64, device=h.device), rows.new_empty(0, k)
    squares = pairs.padded(_squares(h, pairs.spread(rows), pairs.examples, exponent), torch.inf)
    squares, order = squares.sort(dim=1, stable=True)
    return squares[:, :k], pairs.padded(pairs.examples, 0).gather(1, order[:, :k])


def _squares(h: Tensor, rows: Tensor, columns: Tensor, exponent: int) -> Tensor:
    """Return Σ(h_row − h_column)² / 4^exponent of each pair by direct differences: [pairs] float64."""
    if h.device.type == "cpu" and len(h) ** 2 >= COMPILED and h.dtype in (torch.float32, torch.float64):
        return _compiled().squares_of_differences(h, rows, columns, 2.0**-exponent)
    squares = torch.empty(len(rows), dtype=torch.float64, device=h.device)
    size = max(1, PIECE // (8 * h.shape[1]))
    for i, j, part in zip(rows.split(size), columns.split(size), squares.split(size), strict=True):
        difference = _difference(h.index_select(0, i), h.index_select(0, j))
        if exponent:
            difference *= 2.0**-exponent
        if h.device.type == "cpu":
            np.einsum("ij,ij->i", difference.numpy(), difference.numpy(), out=part.numpy())
        else:
            torch.sum(difference.square_(), dim=1, out=part)
    return squares


def _compiled() -> Any:
    """Return the module of compiled loops; Numba is imported when it is needed, for that takes half a second."""
    return import_module("learnscope.observables.compiled_neighbours")


def _difference(a: Tensor, b: Tensor) -> Tensor:
    """Return a − b in float64, in one pass over the memory of both."""
    return (
        torch.from_numpy(np.subtract(a.numpy(), b.numpy(), dtype=np.float64))
        if a.device.type == "cpu"
        else a.double() - b
    )


def _among_groups(h: Tensor, groups: Tensor, k: int, budget: int) -> Neighbours:
    """Return the neighbours of rows of which some are equal, from the neighbours of the distinct rows.

    The k nearest of a row lie in its own group and in the k nearest groups, among the first k + 1 members of each.
    """
    first = first_of_each(groups)
    near = min(k, len(first) - 1)
    members = _members(groups, k + 1)
    own = torch.arange(len(first), device=h.device)[:, None]
    nearest_groups, distances = own, torch.zeros(len(first), 1, dtype=torch.float64, device=h.device)
    if near:
        found = nearest_neighbours(h[first], near, budget=budget)
        nearest_groups = torch.cat([own, found.indices], dim=1)
        distances = torch.cat([distances, found.distances], dim=1)
    parts = []
    for rows in torch.arange(len(h), device=h.device).split(max(1, budget // (64 * (near + 1) * (k + 1)))):
        candidates = members[nearest_groups[groups[rows]]].flatten(1)
        far = distances[groups[rows]].repeat_interleave(k + 1, dim=1)
        far = far.masked_fill((candidates < 0) | (candidates == rows[:, None]), torch.inf)
        candidates, order = candidates.sort(dim=1)
        far, nearest = far.gather(1, order).sort(dim=1, stable=True)
        parts.append((far[:, :k], candidates.gather(1, nearest[:, :k])))
    return Neighbours(torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]))


def _members(groups: Tensor, most: int) -> Tensor:
    """Return the first ``most`` members of each group, −1 where it has fewer: [groups, most]."""
    order = groups.argsort(stable=True)
    counts = groups.bincount()
    place = torch.arange(len(groups), device=groups.device) - (counts.cumsum(0) - counts)[groups[order]]
    members = groups.new_full((len(counts), most), -1)
    kept = place < most
    members[groups[order][kept], place[kept]] = order[kept]
    return members
