"""Which examples may be neighbours: half squared distances by matrix products, and what lies below a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

# The smallest of each group stands for it while the smallest groups are sought: 16 times fewer to search.
GROUP = 16
DIRECTIONS, SAMPLE = 128, 1024


@dataclass(frozen=True, slots=True, eq=False)
class Screen:
    """Examples laid out for :func:`half_distances`.

    Attributes:
        points: [n up to a multiple of 16, d + 1] the features x and ‖x‖²/2; infinite in what is padded.
        norms: [n] float64, ‖x‖.
        slack: B/2 = slack (‖xᵢ‖ + ‖xⱼ‖)²/2 bounds the rounding of half a squared distance: (d + 8) u.
        exact: False when distances in x are only lower bounds of those sought.
    """

    points: Tensor
    norms: Tensor
    slack: float
    exact: bool = True


def screen(x: Tensor, *, exact: bool = True) -> Screen:
    """Return centred features [n, d], float32 or float64, ready for :func:`half_distances`.

    Examples:
        >>> screen(torch.tensor([[3.0, 4.0]])).norms
        tensor([5.], dtype=torch.float64)
    """
    squares = torch.cat([part.double().square().sum(dim=1) for part in x.split(SAMPLE)])
    points = torch.cat([x, (squares / 2).to(x.dtype)[:, None]], dim=1)
    if more := -len(x) % GROUP:
        points = pad(points, (0, 0, 0, more))
        points[-more:, -1] = torch.inf
    return Screen(points, squares.sqrt(), (x.shape[1] + 8) * torch.finfo(x.dtype).eps / 2, exact)


def half_distances(of: Screen, rows: Tensor) -> Tensor:
    """Return ‖xⱼ‖²/2 − xᵢ·xⱼ of the given rows i with all examples j, infinite for j = i: [rows, padded n].

    That is half a squared distance, ‖xᵢ − xⱼ‖²/2, less the constant ‖xᵢ‖²/2.

    Examples:
        >>> half_distances(screen(torch.tensor([[0.0], [2.0]])), torch.tensor([1]))[:, :2]
        tensor([[0., inf]])
    """
    left = -of.points[rows]
    left[:, -1] = 1
    tile = left @ of.points.mT
    tile[torch.arange(len(rows), device=rows.device), rows] = torch.inf
    return tile


def kth_smallest(tile: Tensor, k: int) -> Tensor:
    """Return for each row a value that at least k others do not exceed, hardly above the k-th smallest: [rows].

    It is the k-th smallest minimum over groups of columns, see :func:`_minima`.

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

    Column c belongs to group c modulo the number of groups.
    """
    size = 1
    while size < GROUP and tile.shape[1] >= 4 * k:
        tile, size = torch.minimum(*tile.chunk(2, dim=1)), 2 * size
    return tile


def at_most(tile: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows and columns of what does not exceed the limit [rows] of its row, in order.

    Examples:
        >>> at_most(torch.tensor([[1.0, 3.0], [2.0, 0.0]]), torch.tensor([1.0, 2.0]))
        (tensor([0, 1, 1]), tensor([0, 0, 1]))
    """
    limit = limit.to(tile.dtype)[:, None]
    if tile.device.type != "cpu":
        rows, columns = (tile <= limit).nonzero(as_tuple=True)
        return rows, columns
    # Several times faster than torch's.
    flat = torch.from_numpy(np.flatnonzero(tile.numpy() <= limit.numpy()))
    rows = flat // tile.shape[1]
    return rows, flat - rows * tile.shape[1]


def leading_directions(sample: Tensor) -> tuple[Tensor, Tensor]:
    """Return 128 orthonormal directions of much variance, the largest variance first, and the coordinates in them.

    One step of Halko, Martinsson, Tropp 2011, algorithm 4.4, on centred features [n, d] float32, d ≥ 128.

    Returns:
        [d, 128] float64, and [n, 128] float64 with the digits of float32.

    Cost: 384 n d multiplications in float32.

    Examples:
        >>> sample = torch.randn(300, 200, generator=torch.Generator().manual_seed(0))
        >>> directions, coordinates = leading_directions(sample)
        >>> torch.allclose(directions.mT @ directions, torch.eye(128).double())
        True
        >>> torch.allclose(coordinates, sample.double() @ directions, atol=1e-4)
        True
    """
    start = torch.randn(sample.shape[1], DIRECTIONS, generator=torch.Generator().manual_seed(0)).to(sample.device)
    basis = torch.linalg.qr((sample.mT @ (sample @ start)).double()).Q
    coordinates = (sample @ basis.float()).double()
    turn = torch.linalg.eigh(coordinates.mT @ coordinates).eigenvectors.flip(1)
    return basis @ turn, coordinates @ turn


def sketch(x: Tensor, directions: Tensor) -> Tensor:
    """Return few coordinates whose distances are no larger than those of ``x``, and not much smaller if all is well.

    The coordinates are s = (Px, ρ) with P the projection on orthonormal directions and ρ = ‖x − PᵀPx‖. As
    |ρᵢ − ρⱼ| ≤ ‖residualᵢ − residualⱼ‖, ‖sᵢ − sⱼ‖ ≤ ‖xᵢ − xⱼ‖.

    Args:
        x: [n, d] float32.
        directions: [d, r] float64.

    Returns:
        [n, r + 1] float32.

    Cost: n d r multiplications in float64.

    Examples:
        >>> sketch(torch.tensor([[1.0, 3.0, 4.0]]), torch.eye(3).double()[:, :1])
        tensor([[1., 5.]])
    """
    parts = [with_residual(part, part @ directions) for part in map(Tensor.double, x.split(SAMPLE // 4))]
    return torch.cat(parts)


def with_residual(x: Tensor, coordinates: Tensor) -> Tensor:
    """Return orthonormal coordinates [n, r] of x [n, d] and the norm of what they leave out: [n, r + 1] float32.

    Examples:
        >>> with_residual(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0]]))
        tensor([[3., 4.]])
    """
    squares = x.square().sum(dim=1) - coordinates.square().sum(dim=1)
    return torch.cat([coordinates, squares.clamp(min=0).sqrt()[:, None]], dim=1).float()
