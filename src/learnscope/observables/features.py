"""Feature matrices as every measure wants them: checked, promoted and centred without losing digits."""

from __future__ import annotations

import torch
from torch import Tensor

from learnscope.errors import InputError


def promoted(h: Tensor) -> Tensor:
    """Return real features in float32 or float64: half precision, booleans and small integers gain digits.

    Integers of 32 and 64 bits become float64, which holds every one of them below 2⁵³ exactly.

    Raises:
        InputError: for complex features.

    Examples:
        >>> promoted(torch.zeros(2, dtype=torch.float16)).dtype
        torch.float32
        >>> promoted(torch.zeros(2, dtype=torch.int64)).dtype
        torch.float64
    """
    if h.is_complex():
        raise InputError(
            f"the features are {h.dtype}, but real ones are needed: stack h.real and h.imag as separate features"
        )
    if h.dtype in (torch.float32, torch.float64):
        return h.detach()
    wide = h.dtype in (torch.int32, torch.int64)
    return h.detach().to(torch.float64 if wide else torch.float32)


def as_matrix(h: Tensor, *, least: int = 1) -> Tensor:
    """Return features [n, d] promoted to float32 or float64, or say in one sentence why they cannot be used.

    Args:
        h: [n, d], any real dtype.
        least: the smallest number of examples that the caller can use.

    Raises:
        InputError: unless ``h`` is a finite real matrix of at least ``least`` rows and one column.
    """
    if h.ndim != 2:
        raise InputError(
            f"features of shape {tuple(h.shape)} were given, but [examples, features] is needed: use h.flatten(1)"
        )
    n, d = h.shape
    if n < least or d < 1:
        raise InputError(
            f"features of shape {(n, d)} were given, but at least {least} examples of one feature are needed: "
            "use a larger probe"
        )
    h = promoted(h)
    if not all_finite(h):
        raise InputError(
            f"{int((~torch.isfinite(h)).sum())} of the {h.numel()} features are NaN or infinite, but all must be "
            "finite: drop those examples, or look for the step at which training diverged"
        )
    return h


def all_finite(h: Tensor) -> bool:
    """Return whether every value is finite; one fast pass unless the sum overflows."""
    return bool(torch.isfinite(h.sum())) or bool(torch.isfinite(h).all())


def as_classes(y: Tensor, n: int) -> tuple[Tensor, int]:
    """Return labels renumbered 0 ... classes − 1 as int64 [n], and the number of classes present.

    Args:
        y: [n] integers or booleans, any values.
        n: the number of examples that the labels belong to.

    Raises:
        InputError: for another shape or for labels that are not integers.

    Examples:
        >>> as_classes(torch.tensor([7, 3, 7]), 3)
        (tensor([1, 0, 1]), 2)
    """
    if y.shape != (n,):
        raise InputError(f"labels of shape {tuple(y.shape)} were given for {n} examples, but [{n}] is needed")
    if y.is_floating_point() or y.is_complex():
        raise InputError(f"labels are {y.dtype}, but classes must be integers: use y.long()")
    values, classes = y.detach().unique(return_inverse=True)
    return classes, len(values)


def centred(h: Tensor) -> Tensor:
    """Return h minus its mean over the examples, exactly zero for constant features, whatever their offset.

    The mean is subtracted twice: what rounding leaves of a huge offset the first time goes the second time.

    Args:
        h: [..., n, d]; float32 or float64, which is kept, other real dtypes are promoted.

    Returns:
        [..., n, d]; a new tensor.

    Examples:
        >>> centred(torch.tensor([[1e8 + 8.0, 0.1], [1e8 + 24.0, 0.1]])).tolist()
        [[-8.0, 0.0], [8.0, 0.0]]
    """
    h = promoted(h)
    n = h.shape[-2]
    shifted = h - h.sum(dim=-2, keepdim=True) / n
    return shifted.sub_(shifted.sum(dim=-2, keepdim=True) / n)


def unit_scale(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return x over its largest magnitude, so that squares neither overflow nor vanish, and that magnitude.

    Args:
        x: [..., n, d] float32 or float64.

    Returns:
        [..., n, d], and the magnitude [..., 1, 1], 1 where all is zero.

    Examples:
        >>> unit_scale(torch.tensor([[2.0, -4.0]]))
        (tensor([[ 0.5000, -1.0000]]), tensor([[4.]]))
    """
    largest = torch.maximum(x.amax(dim=(-2, -1), keepdim=True), -x.amin(dim=(-2, -1), keepdim=True))
    largest = torch.where(largest == 0, 1.0, largest)
    return x / largest, largest
