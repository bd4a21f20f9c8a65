"""Rows that repeat another one exactly: dead layers, saturated units and repeated examples make them."""

from __future__ import annotations

import torch
from torch import Tensor


def groups_of_equal_rows(h: Tensor) -> Tensor:
    """Return which distinct row each row is, numbered by first appearance.

    Rows are grouped by a hash of their bits and then compared, so the answer is exact; −0.0 equals 0.0.

    Args:
        h: [n, d] float32 or float64, finite.

    Returns:
        [n] int64, 0 ... distinct − 1.

    Cost: O(n d) time; 16 n d bytes for the hashes.

    Examples:
        >>> groups_of_equal_rows(torch.tensor([[5.0], [2.0], [5.0]])).tolist()
        [0, 1, 0]
    """
    bits = (h + 0.0).view(torch.int32 if h.dtype == torch.float32 else torch.int64).long()
    # An odd multiplier for each column, so that different rows almost never share a hash.
    seeded = torch.Generator().manual_seed(0)
    multipliers = 2 * torch.randint(2**62, (h.shape[1],), generator=seeded).to(h.device) + 1
    groups = _by_appearance((bits * multipliers).sum(dim=1).unique(return_inverse=True)[1])
    if torch.equal(h[first_of_each(groups)[groups]], h):
        return groups
    return _by_appearance(h.unique(dim=0, return_inverse=True)[1])


def first_of_each(groups: Tensor) -> Tensor:
    """Return the index of the first member of each group: [n] → [groups].

    Examples:
        >>> first_of_each(torch.tensor([0, 1, 0])).tolist()
        [0, 1]
    """
    order = torch.arange(len(groups), device=groups.device)
    return order.new_full((int(groups.max()) + 1,), len(groups)).scatter_reduce(0, groups, order, "amin")


def _by_appearance(groups: Tensor) -> Tensor:
    """Return groups numbered in the order of their first members."""
    return first_of_each(groups).argsort().argsort()[groups]
