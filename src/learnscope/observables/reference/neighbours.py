"""Nearest neighbours from the full matrix of distances."""

from __future__ import annotations

import torch
from torch import Tensor


def nearest_neighbours(h: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return distances [n, k] and indices [n, k] of the k nearest others, equal distances by index.

    Examples:
        >>> nearest_neighbours(torch.tensor([[0.0], [1.0], [3.0]]), 1)[1].flatten().tolist()
        [1, 0, 1]
    """
    h = h.double()
    distances, indices = [], []
    for i in range(len(h)):
        row = (h - h[i]).square().sum(dim=1)
        others = [j for j in range(len(h)) if j != i]
        nearest = sorted(others, key=lambda j: (float(row[j]), j))[:k]
        distances.append(row[nearest].sqrt())
        indices.append(torch.tensor(nearest))
    return torch.stack(distances), torch.stack(indices)
