"""Which examples may be neighbours: half squared distances by matrix products, and what lies below a threshold."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from learnscope.matrix_products import product
from learnscope.observables.candidates import Candidates
from learnscope.threads import Run, one_after_another

# The smallest of each group stands for it while the smallest groups are sought: 16 times fewer to search.
GROUP = 16
# The k nearest are expected among so many times k examples that look nearest.
TRIES = 2
# Distances that are computed before their minima are taken.
SLICE = 2**20
# Examples that are taken to float64 at a time; pairs of examples that are copied side by side.
PART, PAIRS = 256, 4096


@dataclass(frozen=True, slots=True, eq=False)
class Screen:
    """Examples laid out for :func:`half_distances`.

    Attributes:
        points: [n, d] the features x.
        halves: [n] ‖x‖²/2 in their dtype.
        norms: [n] float64, ‖x‖.
        slack: B/2 = slack (‖xᵢ‖ + ‖xⱼ‖)²/2 bounds the error of half a squared distance: (d + 8) u for rounding.
    """

    points: Tensor
    halves: Tensor
    norms: Tensor
    slack: float


def screen(x: Tensor, run: Run = one_after_another) -> Screen:
    """Return centred features [n, d], float32 or float64, ready for :func:`half_distances`.

    Args:
        x: the features.
        run: does pieces of work.

    Examples:
        >>> screen(torch.tensor([[3.0, 4.0]])).norms
        tensor([5.], dtype=torch.float64)
    """
    norms = torch.cat(run(lambda part: torch.linalg.vector_norm(part, dim=1, dtype=torch.float64), x.split(PART)))
    return Screen(x, (norms.square() / 2).to(x.dtype), norms, (x.shape[1] + 8) * torch.finfo(x.dtype).eps / 2)


def kth_smallest(values: Tensor, k: int) -> Tensor:
    """Return the k-th smallest of each row."""
    if values.device.type != "cpu":
        return values.kthvalue(k, dim=1).values
    # Several times faster than torch's.
    return torch.from_numpy(np.partition(values.numpy(), k - 1, axis=1)[:, k - 1])


def smallest(values: Tensor, k: int) -> Tensor:
    """Return where the k smallest of each row are, in any order: [rows, k]."""
    if values.device.type != "cpu":
        return values.topk(k, dim=1, largest=False, sorted=False).indices
    return torch.from_numpy(np.argpartition(values.numpy(), k - 1, axis=1)[:, :k])


def laid_out(of: Screen) -> Tensor:
    """Return rows (x, ‖x‖²/2) for :func:`half_distances`, and (0, ∞) up to a multiple of 16: infinitely far from all.

    Examples:
        >>> laid_out(screen(torch.ones(3, 2)))[2:4]
        tensor([[1., 1., 1.],
                [0., 0., inf]])
    """
    n, d = of.points.shape
    rows = of.points.new_zeros(n + -n % GROUP, d + 1)
    rows[:n, :d], rows[:n, d], rows[n:, d] = of.points, of.halves, torch.inf
    return rows


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """‖xⱼ‖²/2 − xᵢ·xⱼ of some rows i with all examples j, infinite for j = i.

    That is half a squared distance, ‖xᵢ − xⱼ‖²/2, less the constant ‖xᵢ‖²/2.

    Attributes:
        values: [rows, n].
        minima: [rows, groups] over groups of columns; column c belongs to group c modulo the number of groups.
    """

    values: Tensor
    minima: Tensor

    def kth_smallest(self, k: int) -> Tensor:
        """Return a value that at least k others of a row do not exceed, hardly above the k-th smallest: [rows].

        It is the k-th smallest minimum.
        """
        return kth_smallest(self.minima, k)

    def small_ones(self, k: int) -> Tensor:
        """Return k columns of each row with values hardly above the k smallest: [rows, k]."""
        groups = smallest(self.minima, k)
        members = self.values.unflatten(1, (-1, self.minima.shape[1]))
        member = members.gather(2, groups[:, None, :].expand(-1, members.shape[1], -1)).argmin(dim=1)
        return member * self.minima.shape[1] + groups


def half_distances(laid: Tensor, rows: Tensor, k: int, out: Tensor | None = None) -> Tile:
    """Return half distances of the given rows to all examples.

    Args:
        laid: the examples, from :func:`laid_out`.
        rows: [rows] int64, which of them, ascending.
        k: how many of the smallest will be sought.
        out: [rows, n] takes the values.

    Examples:
        >>> tile = half_distances(laid_out(screen(torch.tensor([[0.0], [2.0], [5.0]]))), torch.tensor([1]), 1)
        >>> tile.values[:, :3], tile.small_ones(1)
        (tensor([[0.0000,    inf, 2.5000]]), tensor([[0]]))
    """
    n, left = len(laid), _multipliers(laid, rows)
    values = left.new_empty(len(rows), n) if out is None else out
    # Groups of fewer columns, where there would be fewer than 2 k groups.
    size = next((size for size in (16, 8, 4, 2) if n >= 2 * k * size), 1)
    minima = left.new_full((len(rows), n // size), torch.inf)
    groups = n // size
    # A few columns of each group at a time, so that minima are taken of what is in the cache still.
    width = groups * max(1, min(size, SLICE // minima.numel()))
    for start in range(0, n, width):
        part = slice(start, min(start + width, n))
        tile = product(left, laid[part], out=values[:, part])
        own = (start <= rows) & (rows < part.stop)
        tile[own, rows[own] - start] = torch.inf
        for columns in tile.split(groups, dim=1):
            torch.minimum(minima, columns, out=minima)
    return Tile(values, minima)


def half_distances_alone(laid: Tensor, rows: Tensor, out: Tensor) -> Tensor:
    """Return the values that :func:`half_distances` does, without minima: [rows, n]."""
    product(_multipliers(laid, rows), laid, out=out)
    out[torch.arange(len(rows), device=rows.device), rows] = torch.inf
    return out


def half_distances_of_pairs(of: Screen, rows: Tensor, pairs: Candidates) -> Tensor:
    """Return ‖xⱼ‖²/2 − xᵢ·xⱼ of pairs of the given rows i, which ascend: [pairs].

    Examples:
        >>> line = screen(torch.tensor([[0.0], [2.0], [3.0]]))
        >>> half_distances_of_pairs(line, torch.tensor([1]), Candidates(torch.tensor([0, 2]), torch.tensor([0, 2])))
        tensor([ 0.0000, -1.5000])
    """
    left, halves = _taken(of.points, rows), of.halves[pairs.examples]
    if left.device.type != "cpu":
        parts = zip(pairs.spread(rows).split(PAIRS), pairs.examples.split(PAIRS), strict=True)
        return halves - torch.cat([torch.linalg.vecdot(of.points[i], of.points[j]) for i, j in parts])
    with warnings.catch_warnings():
        # Without copies of any rows, several times faster; in beta state since 2021.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        size = len(left), len(of.points)
        places = torch.sparse_csr_tensor(pairs.starts, pairs.examples, halves, size, check_invariants=False)
    return torch.sparse.sampled_addmm(places, left, of.points.mT, alpha=-1.0).values()


def _multipliers(laid: Tensor, rows: Tensor) -> Tensor:
    """Return rows (−x, 1), whose products with what is laid out are half distances."""
    left = -_taken(laid, rows)
    left[:, -1] = 1
    return left


def _taken(points: Tensor, rows: Tensor) -> Tensor:
    """Return some of the points, not copied if the rows, which ascend, follow each other."""
    first, last = int(rows[0]), int(rows[-1])
    return points[first : last + 1] if last - first + 1 == len(rows) else points[rows]
