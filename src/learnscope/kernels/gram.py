"""Checks and eigendecompositions of Gram matrices."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from learnscope.errors import InputError


class Spectrum(NamedTuple):
    """Eigenvalues [n], ascending, those within rounding of zero set to zero, and orthonormal eigenvectors [n, n]."""

    values: Tensor
    vectors: Tensor


def as_gram(kernel: Tensor, name: str = "the kernel") -> Tensor:
    """Return a Gram matrix [n, n] without what rounding left of an antisymmetric part, in its own dtype.

    Raises:
        InputError: if it is not a square, symmetric and finite matrix of float32 or float64.
    """
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or not len(kernel):
        raise InputError(f"{name} has the shape {list(kernel.shape)}: a Gram matrix is square, [n, n] with n > 0.")
    _check_numbers(kernel, name)
    symmetric = (kernel + kernel.mT) / 2
    gap, largest = float((kernel - symmetric).abs().max()), float(kernel.abs().max())
    if gap > tolerance(kernel) * largest:
        raise InputError(
            f"{name} is not symmetric, it and its transpose differ by {2 * gap:.3g}: give that of one set of examples."
        )
    return symmetric


def as_cross(kernel: Tensor, n: int, name: str = "the kernel of new examples") -> Tensor:
    """Return a matrix [m, n] of kernels between m new examples and the n examples of a Gram matrix.

    Raises:
        InputError: if it is not a finite matrix of float32 or float64 with n columns.
    """
    if kernel.ndim != 2 or kernel.shape[1] != n:
        raise InputError(
            f"{name} has the shape {list(kernel.shape)}, but the Gram matrix has {n} examples: give [new ones, {n}]."
        )
    _check_numbers(kernel, name)
    return kernel


def spectrum(gram: Tensor, name: str = "the kernel") -> Spectrum:
    """Return the eigendecomposition of a Gram matrix, as :func:`as_gram` returns it.

    Eigenvalues up to n ε λ_max, ε the dtype's rounding, cannot be told from zero and are zero.

    Raises:
        InputError: if there are negative eigenvalues beyond √ε λ_max.

    Cost: O(n³) time.
    """
    values, vectors = torch.linalg.eigh(gram)
    largest = float(values[-1].clamp(min=0))
    if float(values[0]) < -tolerance(gram) * max(largest, -float(values[0])):
        raise InputError(f"{name} has the eigenvalue {float(values[0]):.3g}: a Gram matrix has no negative ones.")
    rounding = len(gram) * torch.finfo(gram.dtype).eps * largest
    return Spectrum(torch.where(values > rounding, values, 0.0), vectors)


def tolerance(gram: Tensor) -> float:
    """Return the relative error that a kernel may carry: the root of its dtype's rounding."""
    return torch.finfo(gram.dtype).eps ** 0.5


def _check_numbers(kernel: Tensor, name: str) -> None:
    if kernel.dtype not in (torch.float32, torch.float64):
        raise InputError(f"{name} is in {kernel.dtype}: convert it to float32 or float64.")
    if bad := int((~torch.isfinite(kernel)).sum()):
        raise InputError(f"{name} has {bad} entries that are NaN or infinite: look at the model or inputs it is of.")
