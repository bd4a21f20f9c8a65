"""Exact nearest neighbours: screened in float32, refined by differences in float64, certified row by row."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from learnscope.errors import BudgetError, InputError
from learnscope.observables.duplicates import first_of_each, groups_of_equal_rows
from learnscope.observables.features import as_matrix
from learnscope.observables.screening import (
    DIRECTIONS,
    SAMPLE,
    Screen,
    at_most,
    half_distances,
    kth_smallest,
    leading_directions,
    screen,
    sketch,
    small_ones,
    with_residual,
)

# Values of a tile of distances: few enough for the cache, enough for fast matrix products.
TILE = 2**21
# Bytes of differences that are taken at a time; these stay in the cache.
PIECE = 2**20
# Rows with more candidates than that are screened again in float64.
CROWD = 1024
# A sketch is tried on so many examples; a direct difference takes the time of so many multiplications in matrices.
TRIAL, DIRECT = 64, 100


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
    With 384 features and more, 33 to 129 coordinates that bound distances from below are screened instead if
    that is quicker by a trial on 64 examples, see ``screening.sketch``; t is then half the k-th smallest
    squared distance to the examples that look nearest, measured directly.

    Args:
        h: [n, d] features of any real dtype and device.
        k: number of neighbours, 1 ≤ k < n.
        budget: bytes of working memory for distances and candidates.

    Returns:
        Neighbours with float64 distances in the units of ``h``; identical rows are at distance exactly 0.

    Raises:
        InputError: when h is not a finite matrix with more than k rows, or k < 1.
        BudgetError: when ``budget`` cannot hold the candidates of one example.

    Cost: n² d multiplications in float32 (33 to 129 for d with a sketch); 8 n d bytes for the centred copies and
    ``budget`` bytes, of which 40 MB are used commonly; never an n × n matrix. Crowded rows cost n d
    multiplications in float64 each, and 16 n d bytes once; that is the fate of data full of exact ties (grids,
    binary codes).

    Examples:
        >>> line = torch.tensor([[0.0], [1.0], [3.0]])
        >>> nearest_neighbours(line, 1).distances.tolist()
        [[1.0], [1.0], [2.0]]
    """
    h = _checked(h, k, budget)
    exponent = _exponent(h)
    screened = _cheapest(h, _scaled(h, exponent, torch.float32), k, exponent)
    squares = torch.empty(len(h), k, dtype=torch.float64, device=h.device)
    indices = torch.empty_like(squares, dtype=torch.int64)
    crowd, crowded = CROWD if screened.exact else max(CROWD, len(h) // 8), []
    for rows in torch.arange(len(h), device=h.device).split(_rows_at_once(len(h), budget)):
        local, columns = _candidates(h, screened, rows, k, exponent)
        few = local.bincount(minlength=len(rows)) <= crowd
        if not bool(few.all()):
            crowded.append(rows[~few])
            rows, (local, columns) = rows[few], _only(few, local, columns)
            if not len(rows):
                continue
        if not screened.exact:
            local, columns = _narrowed(h, rows, local, columns, k)
        squares[rows], indices[rows] = _nearest(h, rows, local, columns, exponent, k)
    if crowded:
        groups = groups_of_equal_rows(h)
        if int(groups.max()) + 1 < len(h):
            return _among_groups(h, groups, k, budget)
        failed = torch.cat(crowded)
        squares[failed], indices[failed] = _again(h, failed, k, exponent, budget)
    return Neighbours(squares.sqrt() * 2.0**exponent, indices)


def _cheapest(h: Tensor, x: Tensor, k: int, exponent: int) -> Screen:
    """Return a screen of that sketch of x which costs least by a trial, or of x itself if that is as quick."""
    n, d = x.shape
    least, best = n * d, None
    if d < 3 * DIRECTIONS or n < 16 * TRIAL or exponent:
        return screen(x)
    step = -(-n // SAMPLE)
    sample, features = h[::step], x[::step]
    directions, coordinates = leading_directions(features)
    for r in (32, 64, 96, 128):
        trial = screen(with_residual(features, coordinates[:, :r]), exact=False)
        rows = torch.arange(0, len(sample), len(sample) // TRIAL, device=x.device)
        pairs = len(_candidates(sample, trial, rows, k, exponent)[0]) / len(rows)
        if n * r + pairs * d * DIRECT < least:
            least, best = n * r + pairs * d * DIRECT, r
    return screen(x) if best is None else screen(sketch(x, directions[:, :best]), exact=False)


def _rows_at_once(n: int, budget: int) -> int:
    """Return how many rows of distances to n examples are made at a time, if all of these may be candidates."""
    return max(1, min(TILE, budget // 64) // n)


def _candidates(h: Tensor, screened: Screen, rows: Tensor, k: int, exponent: int) -> tuple[Tensor, Tensor]:
    """Return pairs (place in ``rows``, example), in order, among which are the k nearest of each row."""
    tile = half_distances(screened, rows)
    norms = screened.norms[rows]
    own = norms.square() / 2
    if screened.exact:
        kth = kth_smallest(tile, k) + own
    else:
        columns = small_ones(tile, k)
        squares = _squares(h, rows.repeat_interleave(k), columns.flatten(), 0, h.dtype).view(-1, k)
        kth = _slackened(squares.amax(dim=1), h) / 2
    return at_most(tile, _limit(kth, norms, screened.norms.amax(), screened.slack) - own)


def _narrowed(h: Tensor, rows: Tensor, local: Tensor, columns: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return those of the pairs that may be among the k nearest of their row, by squares in the precision of h."""
    squares = _squares(h, rows.index_select(0, local), columns, 0, h.dtype)
    kth = _padded(squares, local, len(rows), torch.inf).kthvalue(k, dim=1).values
    kept = squares <= _slackened(kth, h)[local]
    return local[kept], columns[kept]


def _slackened(squares: Tensor, h: Tensor) -> Tensor:
    """Return what no square is measured at, in the precision of h, whose true value does not exceed the given ones.

    Direct differences have correctly rounded terms; sums of d of them are off by a share of (d + 3) u.
    """
    limits = torch.finfo(h.dtype)
    return squares * (1 + 2 * (h.shape[1] + 4) * limits.eps) + h.shape[1] * limits.tiny


def _only(few: Tensor, local: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pairs of the rows marked in ``few``, and count their places among these."""
    kept = few[local]
    return (few.cumsum(0) - 1)[local[kept]], columns[kept]


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


def _exponent(h: Tensor) -> int:
    """Return e such that centred features over 2^e can be squared in float32; 0 for all usual magnitudes."""
    spread = float((h.amax(dim=0).double() / 2 - h.amin(dim=0).double() / 2).amax())
    exponent = math.frexp(spread)[1] if spread > 0 else 0
    return exponent if abs(exponent) > 40 else 0


def _scaled(h: Tensor, exponent: int, dtype: torch.dtype) -> Tensor:
    """Return (h − c) / 2^exponent in ``dtype``, with c the mean of a sample; the division is exact."""
    centre = h[:: -(-len(h) // SAMPLE)].mean(dim=0, dtype=torch.float64).to(h.dtype)
    x = h - centre if h.dtype == dtype else h.double() - centre
    return (x.double() * 2.0**-exponent if exponent else x).to(dtype)


def _limit(kth: Tensor, norms: Tensor, largest: Tensor, slack: float) -> Tensor:
    """Return t₍ₖ₎ + B, which no screened half square of one of the k nearest exceeds: [rows] float64.

    Neighbours within r of xᵢ have ‖xⱼ‖ ≤ ‖xᵢ‖ + r, and r² ≤ 2 t₍ₖ₎ + B with the largest norm of all in B.

    Args:
        kth: [rows] t₍ₖ₎.
        norms: [rows] ‖xᵢ‖.
        largest: the largest norm of all examples.
        slack: (d + 8) u of the precision of the screening.
    """
    radius = (2 * kth.clamp(min=0) + slack * (norms + largest).square()).sqrt()
    return kth + slack * (norms + torch.minimum(norms + radius, largest)).square()


def _nearest(h: Tensor, rows: Tensor, local: Tensor, columns: Tensor, exponent: int, k: int) -> tuple[Tensor, Tensor]:
    """Return the k smallest exact squares [rows, k] and their examples, from pairs in order, equal ones by index."""
    squares = _padded(
        _squares(h, rows.index_select(0, local), columns, exponent, torch.float64), local, len(rows), torch.inf
    )
    squares, order = squares.sort(dim=1, stable=True)
    return squares[:, :k], _padded(columns, local, len(rows), 0).gather(1, order[:, :k])


def _padded(values: Tensor, local: Tensor, count: int, fill: float) -> Tensor:
    """Return values [pairs], whose rows ``local`` ascend, as a matrix, filled up: [count, most values of a row]."""
    counts = local.bincount(minlength=count)
    width = int(counts.max())
    slots = torch.arange(len(local), device=local.device) + (width * local - (counts.cumsum(0) - counts)[local])
    return values.new_full((count * width,), fill).index_copy_(0, slots, values).view(count, width)


def _squares(h: Tensor, rows: Tensor, columns: Tensor, exponent: int, dtype: torch.dtype) -> Tensor:
    """Return Σ(h_row − h_column)² / 4^exponent of each pair by direct differences: [pairs]."""
    squares = torch.empty(len(rows), dtype=dtype, device=h.device)
    size = max(1, PIECE // (dtype.itemsize * h.shape[1]))
    for i, j, part in zip(rows.split(size), columns.split(size), squares.split(size), strict=True):
        difference = h.index_select(0, i).to(dtype).sub_(h.index_select(0, j))
        if exponent:
            difference *= 2.0**-exponent
        torch.sum(difference.square_(), dim=1, out=part)
    return squares


def _again(h: Tensor, failed: Tensor, k: int, exponent: int, budget: int) -> tuple[Tensor, Tensor]:
    """Return exact squares and indices [rows, k] of the rows ``failed``, screened in float64 against everything."""
    screened = screen(_scaled(h, exponent, torch.float64))
    parts = [
        _nearest(h, rows, *_candidates(h, screened, rows, k, exponent), exponent, k)
        for rows in failed.split(_rows_at_once(len(h), budget))
    ]
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
