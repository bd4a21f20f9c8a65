"""Matrices of low rank of which a few entries are seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from learnscope.errors import InputError


def low_rank_matrix(
    shape: tuple[int, int],
    rank: int,
    generator: torch.Generator,
    batch: Sequence[int] = (),
    *,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Return a random matrix U Vᵀ of a given rank whose entries have mean square 1.

    U and V have independent N(0, 1) entries; the product is divided by the root of its own mean square. So the mean
    squared error of a zero matrix is 1, and a mean squared error is a share of the variance.

    Args:
        shape: (rows, columns).
        rank: at least 1 and at most the smaller of the two.
        generator: source of U and V; its device is the matrix's.
        batch: leading dimensions: the shape of a stack of independent matrices.
        dtype: of the matrix.

    Returns:
        [*batch, rows, columns].

    Raises:
        InputError: the rank is out of its range.

    Source: Arora, Cohen, Hu, Luo 2019, appendix D.2 (their matrix of Frobenius norm n).

    Examples:
        >>> A = low_rank_matrix((30, 20), 2, torch.Generator().manual_seed(0))
        >>> int(torch.linalg.matrix_rank(A)), round(float(A.square().mean()), 6)
        (2, 1.0)
    """
    rows, columns = shape
    if not 1 <= rank <= min(shape):
        raise InputError(f"rank is {rank}, but a matrix of {rows} × {columns} has a rank from 1 to {min(shape)}.")
    left = torch.randn((*batch, rows, rank), generator=generator, device=generator.device, dtype=dtype)
    right = torch.randn((*batch, columns, rank), generator=generator, device=generator.device, dtype=dtype)
    matrix = left @ right.mT
    return matrix / matrix.square().mean((-2, -1), keepdim=True).sqrt()


def observed_entries(
    shape: tuple[int, int], n_train: int, generator: torch.Generator, batch: Sequence[int] = ()
) -> Tensor:
    """Return which entries are seen: ``n_train`` different ones, every such set with the same probability.

    Args:
        shape: (rows, columns).
        n_train: number of entries that are seen, from 0 to all.
        generator: source of the choice; its device is the result's.
        batch: leading dimensions: the shape of a stack of independent choices.

    Returns:
        [*batch, rows, columns] booleans.

    Raises:
        InputError: there are not so many entries.

    Examples:
        >>> observed_entries((3, 4), 5, torch.Generator().manual_seed(0), (2,)).sum((-2, -1)).tolist()
        [5, 5]
    """
    rows, columns = shape
    entries = rows * columns
    if not 0 <= n_train <= entries:
        raise InputError(f"n_train is {n_train}, but a matrix of {rows} × {columns} has {entries} entries to be seen.")
    chosen = torch.rand((math.prod(batch), entries), generator=generator, device=generator.device, dtype=torch.float64)
    mask = torch.zeros_like(chosen, dtype=torch.bool)
    mask.scatter_(-1, chosen.argsort(-1)[:, :n_train], True)
    return mask.reshape(*batch, rows, columns)
