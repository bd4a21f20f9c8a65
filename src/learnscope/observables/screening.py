"""Which examples may be neighbours: half squared distances by matrix products, and what lies below a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

# The smallest of each group stands for it while the smallest groups are sought: 16 times fewer to search.
GROUP = 16
SKETCH, SAMPLE = 128, 2048


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

    It is the k-th smallest minimum over groups of columns, of which there are more than 2 k.

    Examples:
        >>> kth_smallest(torch.arange(64.0).view(1, 64), 3)
        tensor([2.])
    """
    minima, size = tile, GROUP
    while size > 1 and minima.shape[1] >= 4 * k:
        minima, size = torch.minimum(*minima.chunk(2, dim=1)), size // 2
    if tile.device.type != "cpu":
        return minima.kthvalue(k, dim=1).values
    # Several times faster than torch's.
    return torch.from_numpy(np.partition(minima.numpy(), k - 1, axis=1)[:, k - 1])


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


def sketch(x: Tensor) -> Tensor:
    """Return few coordinates whose distances are no larger than those of ``x``, and not much smaller if all is well.

    The coordinates are s = (Px, ρ) with P the projection on 128 leading directions, found by a randomised
    iteration on at most 2,048 examples (Halko, Martinsson, Tropp 2011), and ρ = ‖x − PᵀPx‖. As |ρᵢ − ρⱼ| ≤
    ‖residualᵢ − residualⱼ‖, ‖sᵢ − sⱼ‖ ≤ ‖xᵢ − xⱼ‖.

    Args:
        x: [n, d] float32, centred, d > 128.

    Returns:
        [n, 129] float32.

    Cost: 128 n d multiplications in float64.

    Examples:
        >>> s = sketch(torch.eye(200)[:5])
        >>> s.shape, round(float((s[0] - s[1]).norm()) ** 2, 5)
        (torch.Size([5, 129]), 2.0)
    """
    sample = x[:: -(-len(x) // SAMPLE)]
    start = torch.randn(x.shape[1], SKETCH, generator=torch.Generator().manual_seed(0)).to(x.device)
    directions = torch.linalg.qr((sample.mT @ (sample @ start)).double()).Q
    parts = []
    for part in x.split(SAMPLE // 8):
        part = part.double()
        projected = part @ directions
        squares = part.square_().sum(dim=1) - projected.square().sum(dim=1)
        parts.append(torch.cat([projected, squares.clamp(min=0).sqrt()[:, None]], dim=1).float())
    return torch.cat(parts)
