"""Which examples may be neighbours: half squared distances by float32 matrix products, in tiles."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

LARGEST_TILE = 2048
# The smallest of each group stands for it while the smallest groups are sought: 16 times fewer to sort.
GROUP = 16
SKETCH = 128


def screen(x: Tensor, m: int, budget: int) -> tuple[Tensor, Tensor]:
    """Return for each example the m others with the smallest ‖xᵢ − xⱼ‖²/2, up to rounding, and their indices.

    Args:
        x: [n, d] float32, centred.
        m: how many, below n.
        budget: bytes for tiles.

    Returns:
        [n, m] float32 half squares, ascending, and [n, m] int64; all examples left out have none smaller than the
        last one kept.

    Cost: n² d / 2 multiplications, each pair of tiles once.

    Examples:
        >>> screen(torch.tensor([[-1.0], [0.0], [2.0]]), 1, 2**20)[1].flatten().tolist()
        [1, 0, 1]
    """
    n = len(x)
    rows = -(-n // GROUP) * GROUP
    half = pad(half_squares(x), (0, 0, 0, rows - n), value=torch.inf)
    x = pad(x, (0, 0, 0, rows - n))
    size = GROUP * max(1, min(LARGEST_TILE, math.isqrt(budget // 16)) // GROUP)
    screened = x.new_full((rows, m), torch.inf)
    candidates = torch.zeros(rows, m, dtype=torch.int64, device=x.device)
    for top in range(0, rows, size):
        for left in range(top, rows, size):
            i, j = slice(top, top + size), slice(left, left + size)
            part = tile(x[i], half[i], x[j], half[j])
            if top == left:
                part.fill_diagonal_(torch.inf)
            else:
                groups = part.unflatten(0, (GROUP, -1))
                smallest = groups.amin(dim=0).mT.contiguous()
                _keep_smallest(screened[j], candidates[j], groups.permute(2, 0, 1), smallest, top)
            groups = part.unflatten(1, (GROUP, -1))
            _keep_smallest(screened[i], candidates[i], groups, groups.amin(dim=1), left)
    screened, order = screened[:n].sort(dim=1)
    return screened, candidates[:n].gather(1, order)


def tile(rows: Tensor, half_rows: Tensor, columns: Tensor, half_columns: Tensor) -> Tensor:
    """Return ‖rᵢ − cⱼ‖²/2 of all pairs by a single matrix product, norms included.

    Examples:
        >>> x = torch.tensor([[0.0], [2.0]])
        >>> tile(x, half_squares(x), x, half_squares(x)).tolist()
        [[0.0, 2.0], [2.0, 0.0]]
    """
    left = torch.cat([rows, half_rows, torch.ones_like(half_rows)], dim=1)
    right = torch.cat([-columns, torch.ones_like(half_columns), half_columns], dim=1)
    return left @ right.mT


def half_squares(x: Tensor) -> Tensor:
    """Return ‖xᵢ‖²/2, summed in float64: [n, 1] in the precision of ``x``."""
    sums = [part.double().square().sum(dim=1, keepdim=True) for part in x.split(LARGEST_TILE)]
    return (torch.cat(sums) / 2).to(x.dtype)


def _keep_smallest(screened: Tensor, candidates: Tensor, groups: Tensor, smallest: Tensor, offset: int) -> None:
    """Merge half squares [rows, members, groups], the first of example ``offset``, into the running lists, in place.

    ``smallest`` [rows, groups] holds the minimum over the members: the m smallest lie in the m groups smallest so.
    """
    m, count = screened.shape[1], groups.shape[2]
    chosen = smallest.topk(min(m, count), dim=1, largest=False, sorted=False).indices[:, None, :]
    values = groups.gather(2, chosen.expand(-1, GROUP, -1)).flatten(1)
    members = offset + chosen + count * torch.arange(GROUP, device=chosen.device)[:, None]
    values, order = torch.cat([screened, values], dim=1).topk(m, dim=1, largest=False, sorted=False)
    candidates.copy_(torch.cat([candidates, members.flatten(1)], dim=1).gather(1, order))
    screened.copy_(values)


def sketch(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return few coordinates whose distances are no larger than those of ``x``, and how far they may fall short.

    The coordinates are s = (Px, ρ) with P the projection on 128 leading directions, found by a randomised
    iteration on at most 2,048 examples (Halko, Martinsson, Tropp 2011), and ρ = ‖x − PᵀPx‖. As |ρᵢ − ρⱼ| ≤
    ‖residualᵢ − residualⱼ‖ ≤ ρᵢ + ρⱼ, ‖sᵢ − sⱼ‖² ≤ ‖xᵢ − xⱼ‖² ≤ ‖sᵢ − sⱼ‖² + 4 ρᵢρⱼ.

    Args:
        x: [n, d] float32, centred, d > 128.

    Returns:
        s [n, 129] float32 and ρ [n] float64.

    Cost: 128 n d multiplications in float64.

    Examples:
        >>> s, residual = sketch(torch.eye(200)[:5])
        >>> s.shape, float(residual.max()) < 1e-6
        (torch.Size([5, 129]), True)
    """
    sample = x[:: -(-len(x) // LARGEST_TILE)]
    start = torch.randn(x.shape[1], SKETCH, generator=torch.Generator().manual_seed(0)).to(x.device)
    directions = torch.linalg.qr((sample.mT @ (sample @ start)).double()).Q
    parts, residuals = [], []
    for part in x.split(LARGEST_TILE):
        part = part.double()
        projected = part @ directions
        parts.append(projected.float())
        residuals.append(part.square_().sum(dim=1) - projected.square_().sum(dim=1))
    residual = torch.cat(residuals).clamp(min=0).sqrt()
    return torch.cat([torch.cat(parts), residual[:, None].float()], dim=1), residual
