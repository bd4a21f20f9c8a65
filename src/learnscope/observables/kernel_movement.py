"""How far a kernel has moved: in direction, in the Frobenius norm, and since the last look."""

from __future__ import annotations

import torch
from torch import Tensor

from learnscope.errors import InputError
from learnscope.observables.features import promoted


def kernel_distance(kernel: Tensor, other: Tensor) -> Tensor:
    """Compute 1 − ⟨K, K'⟩ / (‖K‖ ‖K'‖) in the Frobenius product: how far a kernel has turned.

    It is 0 for proportional kernels and, as Gram matrices have ⟨K, K'⟩ ≥ 0, at most 1. Computed as
    ½ ‖K/‖K‖ − K'/‖K'‖‖², which keeps the digits of small distances.

    Args:
        kernel: [..., n, n], any real dtype; computed in float64.
        other: the same shape.

    Returns:
        [...] float64; NaN where a kernel is zero or not finite.

    Raises:
        InputError: for kernels of different shapes.

    Cost: O(n²) for each kernel, and two float64 copies.

    Source: Fort, Dziugaite, Paul, Kharaghani, Roy, Ganguli 2020 (arXiv:2010.15110), the kernel distance.

    Examples:
        >>> float(kernel_distance(torch.eye(2), 3 * torch.eye(2)))
        0.0
        >>> float(kernel_distance(torch.diag(torch.tensor([1.0, 0.0])), torch.diag(torch.tensor([0.0, 1.0]))))
        1.0
    """
    a, b = _pair(kernel, other)
    a, b = a / _norm(a), b / _norm(b)
    return (a - b).square().sum((-2, -1)) / 2


def kernel_change(kernel: Tensor, initial: Tensor) -> Tensor:
    """Compute ‖K − K₀‖ / ‖K₀‖ (Frobenius): the change of a kernel, its growth included.

    Args:
        kernel: [..., n, n], any real dtype; computed in float64.
        initial: the same shape.

    Returns:
        [...] float64; NaN where the kernels are zero or not finite, infinite where one left zero.

    Raises:
        InputError: for kernels of different shapes.

    Cost: O(n²) for each kernel, and two float64 copies.

    Source: Chizat, Oyallon, Bach 2019 (arXiv:1812.07956); Geiger, Spigler, Jacot, Wyart 2020 (arXiv:1906.08034).

    Examples:
        >>> float(kernel_change(3 * torch.eye(2), torch.eye(2)))
        2.0
    """
    a, b = _pair(kernel, initial)
    return (_norm(a - b) / _norm(b))[..., 0, 0]


def kernel_velocity(kernel: Tensor, previous: Tensor, steps: float) -> Tensor:
    """Compute how fast a kernel turns: its :func:`kernel_distance` from an earlier one, over the steps between.

    Args:
        kernel: [..., n, n].
        previous: the same shape.
        steps: how many steps, or units of time, lie between the two.

    Raises:
        InputError: for kernels of different shapes, or no time between them.

    Source: Fort et al. 2020 (arXiv:2010.15110), the kernel velocity.

    Examples:
        >>> a, b = torch.diag(torch.tensor([1.0, 0.0])), torch.diag(torch.tensor([0.0, 1.0]))
        >>> float(kernel_velocity(b, a, 10))
        0.1
    """
    if not steps > 0:
        raise InputError(f"{steps} steps lie between the two kernels, but a velocity needs more than 0")
    return kernel_distance(kernel, previous) / steps


def _pair(kernel: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    if kernel.shape != other.shape or kernel.ndim < 2:
        raise InputError(
            f"kernels of shapes {list(kernel.shape)} and {list(other.shape)} were given, but both must be [..., n, n]: "
            "compare kernels of the same examples"
        )
    return promoted(kernel).double(), promoted(other).double()


def _norm(kernel: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(kernel, keepdim=True)
