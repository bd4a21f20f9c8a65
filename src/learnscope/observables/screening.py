"""Which examples may be neighbours: half squared distances by matrix products, and what lies below a threshold."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from learnscope.observables.candidates import Candidates
from learnscope.observables.products import product

# The smallest of each group stands for it while the smallest groups are sought: 16 times fewer to search.
GROUP = 16
# Pairs of rows that are copied side by side at a time.
PAIRS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Screen:
    """Examples laid out for :func:`half_distances`.

    Attributes:
        points: [n, d] the features x; more rows may follow as padding.
        halves: [n] ‖x‖²/2 in their dtype, infinite for padding.
        norms: [n] float64, ‖x‖.
        slack: B/2 = slack (‖xᵢ‖ + ‖xⱼ‖)²/2 bounds the error of half a squared distance: (d + 8) u for rounding.
    """

    points: Tensor
    halves: Tensor
    norms: Tensor
    slack: float


def screen(x: Tensor) -> Screen:
    """Return centred features [n, d], float32 or float64, ready for :func:`half_distances`.

    Examples:
        >>> screen(torch.tensor([[3.0, 4.0]])).norms
        tensor([5.], dtype=torch.float64)
    """
    norms = torch.linalg.vector_norm(x, dim=1, dtype=torch.float64)
    return Screen(x, (norms.square() / 2).to(x.dtype), norms, (x.shape[1] + 8) * torch.finfo(x.dtype).eps / 2)


def evened(of: Screen) -> Screen:
    """Return a screen with rows up to a multiple of 16, which are infinitely far from everything.

    Examples:
        >>> evened(screen(torch.ones(3, 2))).halves[:5]
        tensor([1., 1., 1., inf, inf])
    """
    more = -len(of.points) % GROUP
    if not more:
        return of
    return replace(of, points=pad(of.points, (0, 0, 0, more)), halves=pad(of.halves, (0, more), value=torch.inf))


def half_distances(of: Screen, rows: Tensor, out: Tensor | None = None) -> Tensor:
    """Return ‖xⱼ‖²/2 − xᵢ·xⱼ of the given rows i with all examples j, infinite for j = i: [rows, n].

    That is half a squared distance, ‖xᵢ − xⱼ‖²/2, less the constant ‖xᵢ‖²/2.

    Args:
        of: the examples.
        rows: [rows] int64, which of them.
        out: [rows, n] takes the result.

    Examples:
        >>> half_distances(screen(torch.tensor([[0.0], [2.0]])), torch.tensor([1]))
        tensor([[0., inf]])
    """
    tile = product(-of.points[rows], of.points, plus=of.halves, out=out)
    tile[torch.arange(len(rows), device=rows.device), rows] = torch.inf
    return tile


def half_distances_of_pairs(of: Screen, rows: Tensor, pairs: Candidates) -> Tensor:
    """Return ‖xⱼ‖²/2 − xᵢ·xⱼ of pairs of the given rows i: [pairs].

    Examples:
        >>> line = screen(torch.tensor([[0.0], [2.0], [3.0]]))
        >>> half_distances_of_pairs(line, torch.tensor([1]), Candidates(torch.tensor([0, 2]), torch.tensor([0, 2])))
        tensor([ 0.0000, -1.5000])
    """
    left, halves = of.points[rows], of.halves[pairs.examples]
    if left.device.type != "cpu":
        parts = zip(pairs.spread(rows).split(PAIRS), pairs.examples.split(PAIRS), strict=True)
        return halves - torch.cat([torch.linalg.vecdot(of.points[i], of.points[j]) for i, j in parts])
    with warnings.catch_warnings():
        # Without copies of any rows, several times faster; in beta state since 2021.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        size = len(left), len(of.points)
        places = torch.sparse_csr_tensor(pairs.starts, pairs.examples, halves, size, check_invariants=False)
    return torch.sparse.sampled_addmm(places, left, of.points.mT, alpha=-1.0).values()


def kth_smallest(tile: Tensor, k: int) -> Tensor:
    """Return for each row a value that at least k others do not exceed, hardly above the k-th smallest: [rows].

    In tiles whose width is a multiple of 16; it is the k-th smallest minimum over groups of columns, see
    :func:`_minima`.

    Examples:
        >>> kth_smallest(torch.arange(64.0).view(1, 64), 3)
        tensor([2.])
    """
    minima = _minima(tile, k)
    if tile.device.type != "cpu":
        return minima.kthvalue(k, dim=1).values
    # Several times faster than torch's.
    return torch.from_numpy(np.partition(minima.numpy(), k - 1, axis=1)[:, k - 1])


def small_ones(tile: Tensor, k: int) -> Tensor:
    """Return for each row k columns with values hardly above the k smallest: [rows, k].

    Examples:
        >>> small_ones(torch.arange(64.0).view(1, 64), 3).sort().values
        tensor([[0, 1, 2]])
    """
    minima = _minima(tile, k)
    groups = minima.topk(k, dim=1, largest=False, sorted=False).indices
    members = tile.unflatten(1, (-1, minima.shape[1]))
    member = members.gather(2, groups[:, None, :].expand(-1, members.shape[1], -1)).argmin(dim=1)
    return member * minima.shape[1] + groups


def _minima(tile: Tensor, k: int) -> Tensor:
    """Return minima over groups of 16 columns, fewer where there would be fewer than 2 k groups: [rows, groups].

    Column c belongs to group c modulo the number of groups. The number of columns is a multiple of 16.
    """
    size = GROUP
    while size > 1 and tile.shape[1] < 2 * k * size:
        size //= 2
    return tile.unflatten(1, (size, -1)).amin(dim=1)
