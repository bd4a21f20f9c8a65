"""Is a vector field on matrices a gradient? Its Jacobian, and its work along circles."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STEP = 1e-3  # error of the differences: STEP⁴ times a fifth derivative / 30, and rounding / STEP


def jacobian(field: Callable[[Tensor], Tensor], matrix: Tensor) -> Tensor:
    """Return ∂F_k/∂A_l by central differences of fourth order; it is symmetric where F is a gradient.

    Args:
        field: maps [..., m, n] to the same shape, each matrix by itself; entries should vary on the scale of 1.
        matrix: [..., m, n] where to differentiate, float64.

    Returns:
        [..., m n, m n], entries k and l in the order of rows.

    Cost: 4 m n evaluations of the field, in four batches.

    Examples:
        >>> jacobian(lambda A: A @ A, torch.full((1, 1), 3.0, dtype=torch.float64)).round(decimals=9).tolist()
        [[6.0]]
    """
    size = matrix.shape[-2:].numel()
    basis = torch.eye(size, dtype=matrix.dtype, device=matrix.device)
    basis = basis.reshape(size, *(1,) * (matrix.ndim - 2), *matrix.shape[-2:])
    near, far = (field(matrix + h * basis) - field(matrix - h * basis) for h in (STEP, 2 * STEP))
    return ((8 * near - far) / (12 * STEP)).flatten(-2).movedim(0, -1)


def work_along_circles(
    field: Callable[[Tensor], Tensor], centres: Tensor, axes: Tensor, radius: float, n_angles: int
) -> Tensor:
    """Return ∫ F·dA along circles up to each angle, over ∮ |F| |dA|; the last one is zero where F is a gradient.

    The sum over equal angles around a closed curve converges faster than any power of their number where F is smooth.

    Args:
        field: maps [..., m, n] to the same shape, each matrix by itself.
        centres: [..., m, n].
        axes: [2, ..., m, n] orthonormal pairs that span the planes of the circles.
        radius: of the circles.
        n_angles: into how many parts a circle is cut.

    Returns:
        [..., n_angles + 1] the shares of the work at the angles 0, 2π / n_angles, ..., 2π.

    Cost: n_angles + 1 evaluations of the field for a circle, in one batch.

    Examples:
        A turning field works as much as it can, a constant one not at all:

        >>> axes = torch.eye(2)[:, None]
        >>> turning = lambda A: A.flip(-1) * torch.tensor([-1.0, 1.0])
        >>> work_along_circles(turning, torch.zeros(1, 2), axes, 1.0, 4).tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
        >>> round(float(work_along_circles(torch.ones_like, torch.zeros(1, 2), axes, 1.0, 4)[-1]), 6)
        0.0
    """
    angle = torch.linspace(0, 2 * torch.pi, n_angles + 1, dtype=centres.dtype, device=centres.device)
    cosine, sine = (part.reshape(-1, *(1,) * centres.ndim) for part in (angle.cos(), angle.sin()))
    force = field(centres + radius * (cosine * axes[0] + sine * axes[1]))
    forward = (force * (cosine * axes[1] - sine * axes[0])).sum((-2, -1))
    steps = (forward[1:] + forward[:-1]) / 2
    share = steps.cumsum(0) / torch.linalg.matrix_norm(force[1:]).sum(0)
    return torch.nn.functional.pad(share.movedim(0, -1), (1, 0))
