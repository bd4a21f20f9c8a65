"""A matrix of low rank under noise, to be learned as a whole: every entry is seen, and the rank has to be found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from learnscope.errors import InputError


class NoisyMatrix(NamedTuple):
    """What is to be learned, and what hides it.

    Attributes:
        signal: [..., dim, dim] the matrix A* of low rank; the test error is ‖A − A*‖² / dim².
        noise: [..., dim, dim] the matrix E of full rank.
    """

    signal: Tensor
    noise: Tensor

    @property
    def target(self) -> Tensor:
        """A* + E, which training sees: the training error is ‖A − (A* + E)‖² / dim²."""
        return self.signal + self.noise


def noisy_low_rank(
    dim: int,
    rank: int,
    generator: torch.Generator,
    batch: Sequence[int] = (),
    *,
    dtype: torch.dtype = torch.float64,
) -> NoisyMatrix:
    """Draw A* = C Dᵀ with C, D [dim, rank] of independent entries N(0, rank^(-1/2)), and E of entries N(0, 1).

    Entries of A* have variance 1, as those of E have: the zero matrix has test error 1. The singular values of A* are
    close to dim / √rank, those of E fill [0, 2 √dim]. The best approximation of A* + E of rank k = ``rank`` has a test
    error close to 2 k / dim, the noise that falls onto its singular vectors.

    Args:
        dim: rows and columns.
        rank: of A*, from 1 to dim.
        generator: source of C, D and E; its device is the matrices'.
        batch: leading dimensions: the shape of a stack of independent pairs.
        dtype: of the matrices.

    Returns:
        A* and E, each [*batch, dim, dim].

    Raises:
        InputError: the rank is out of its range.

    Source: Tu, Aranguri, Jacot 2024, section 3 and their code.

    Examples:
        >>> drawn = noisy_low_rank(40, 2, torch.Generator().manual_seed(0))
        >>> int(torch.linalg.matrix_rank(drawn.signal)), int(torch.linalg.matrix_rank(drawn.target))
        (2, 40)
    """
    if not 1 <= rank <= dim:
        raise InputError(f"rank is {rank}, but a matrix of {dim} × {dim} has a rank from 1 to {dim}.")
    shape = (2, *batch, dim, rank)
    left, right = rank**-0.25 * torch.randn(shape, generator=generator, device=generator.device, dtype=dtype)
    noise = torch.randn((*batch, dim, dim), generator=generator, device=generator.device, dtype=dtype)
    return NoisyMatrix(left @ right.mT, noise)
