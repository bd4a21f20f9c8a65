"""Exact nearest neighbours: screened in float32, refined by differences in float64, certified row by row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from learnscope.errors import BudgetError, InputError
from learnscope.observables.candidates import Candidates, all_of, at_most
from learnscope.observables.duplicates import first_of_each, groups_of_equal_rows
from learnscope.observables.features import as_matrix
from learnscope.observables.screening import (
    Screen,
    evened,
    half_distances,
    half_distances_of_pairs,
    screen,
)
from learnscope.observables.sketches import SAMPLE, screens

# Values of a tile of distances: few enough for the cache, enough for fast matrix products.
TILE = 2**22
# Bytes of differences that are taken at a time; these stay in the cache.
PIECE = 2**19
# Rows with more candidates than that are screened again in float64.
CROWD = 1024
# The k nearest are expected among so many times k examples that look nearest.
TRIES = 2


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
    With 384 features and more, 33 to 129 coordinates that bound distances from below are screened first if that
    is quicker, see ``sketches.screens``; t is then the largest tᵢⱼ of the k examples that look nearest there,
    and t₍ₖ₎ only of the candidates.

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
    for sketches, and ``budget`` bytes, of which 40 MB are used commonly; never an n × n matrix. Crowded rows cost n d
    multiplications in float64 each, and 16 n d bytes once; that is the fate of data full of exact ties (grids,
    binary codes).

    Examples:
        >>> line = torch.tensor([[0.0], [1.0], [3.0]])
        >>> nearest_neighbours(line, 1).distances.tolist()
        [[1.0], [1.0], [2.0]]
    """
    h = _checked(h, k, budget)
    x, exponent = _scaled(h)
    screened = screens(x, k)
    squares = torch.empty(len(h), k, dtype=torch.float64, device=h.device)
    indices = torch.empty_like(squares, dtype=torch.int64)
    crowded = []
    for rows, pairs in _candidates(screened, torch.arange(len(h), device=h.device), k, budget):
        few = pairs.counts <= CROWD
        if not bool(few.all()):
            crowded.append(rows[~few])
            rows, pairs = rows[few], pairs.rows(few)
        if len(rows):
            squares[rows], indices[rows] = _nearest(h, rows, pairs, exponent, k)
    if crowded:
        groups = groups_of_equal_rows(h)
        if int(groups.max()) + 1 < len(h):
            return _among_groups(h, groups, k, budget)
        failed = torch.cat(crowded)
        squares[failed], indices[failed] = _again(h, failed, k, exponent, budget)
    return Neighbours(squares.sqrt() * 2.0**exponent, indices)


def _candidates(screened: list[Screen], rows: Tensor, k: int, budget: int) -> Iterator[tuple[Tensor, Candidates]]:
    """Yield some rows at a time, and examples among which are the k nearest of each.

    Args:
        screened: the screen with all coordinates, and before it there may be one with lower bounds.
        rows: [rows] int64, which examples' neighbours are sought.
        k: how many neighbours.
        budget: bytes for a tile of distances, all of which may be candidates.
    """
    coarse, exact = evened(screened[0]), screened[-1]
    n = len(coarse.points)
    # Memory that is used again is a good deal faster than what is asked for anew.
    tiles = coarse.points.new_empty(max(1, min(TILE, budget // 64) // n), n)
    for some in rows.split(len(tiles)):
        tile = half_distances(coarse, some, TRIES * k, out=tiles[: len(some)])
        if len(screened) == 1:
            yield some, at_most(tile.values, _limit(tile.kth_smallest(k), some, exact, exact))
            continue
        tried = half_distances_of_pairs(exact, some, all_of(tile.small_ones(TRIES * k))).view(len(some), -1)
        pairs = at_most(tile.values, _limit(_kth(tried, k), some, coarse, exact))
        halves = half_distances_of_pairs(exact, some, pairs)
        limit = _limit(_kth(pairs.padded(halves, torch.inf), k), some, exact, exact)
        yield some, pairs.only(halves <= pairs.spread(limit.to(halves.dtype)))


def _kth(values: Tensor, k: int) -> Tensor:
    """Return the k-th smallest of each row."""
    return values.topk(k, dim=1, largest=False, sorted=False).values.amax(dim=1)


def _checked(h: Tensor, k: int, budget: int) -> Tensor:
    """Return features as a finite matrix of more than k rows, and check that the budget holds a row of tiles."""
    if k < 1:
        raise InputError(f"k = {k} neighbours were asked for, but at least 1 is needed")
    h = as_matrix(h, least=k + 1)
    least = 64 * sum(h.shape)
    if budget < least:
        raise BudgetError(
            f"a budget of {budget} bytes cannot hold one of {h.shape[0]} examples of {h.shape[1]} features: "
            f"allow at least {least} bytes"
        )
    return h


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
    squares = pairs.padded(_squares(h, pairs.spread(rows), pairs.examples, exponent), torch.inf)
    squares, order = squares.sort(dim=1, stable=True)
    return squares[:, :k], pairs.padded(pairs.examples, 0).gather(1, order[:, :k])


def _squares(h: Tensor, rows: Tensor, columns: Tensor, exponent: int) -> Tensor:
    """Return Σ(h_row − h_column)² / 4^exponent of each pair by direct differences: [pairs] float64."""
    squares = torch.empty(len(rows), dtype=torch.float64, device=h.device)
    size = max(1, PIECE // (8 * h.shape[1]))
    for i, j, part in zip(rows.split(size), columns.split(size), squares.split(size), strict=True):
        difference = h.index_select(0, i).double().sub_(h.index_select(0, j))
        if exponent:
            difference *= 2.0**-exponent
        torch.sum(difference.square_(), dim=1, out=part)
    return squares


def _again(h: Tensor, failed: Tensor, k: int, exponent: int, budget: int) -> tuple[Tensor, Tensor]:
    """Return exact squares and indices [rows, k] of the rows ``failed``, screened in float64 against everything."""
    screened = [screen(_centred(h, exponent, torch.float64))]
    parts = [_nearest(h, *found, exponent, k) for found in _candidates(screened, failed, k, budget)]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


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
