"""How fast a network learns along the modes of a kernel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from learnscope.observables.observable import Task

LEARNED = 0.5


def residual(outputs: Tensor, y: Tensor, task: Task) -> Tensor:
    """Return what drives learning, minus the gradient of each example's loss by the outputs, with its sign turned.

    - classes, several outputs: softmax(f(x)) − e_y;
    - classes, one output: 1 / (1 + exp(−f(x))) − y;
    - real targets: f(x) − y.

    Args:
        outputs: [n, outputs].
        y: [n] integers, or [n] or [n, outputs] real targets.
        task: "classification" or "regression".

    Returns:
        [n, outputs] float64.

    Examples:
        >>> residual(torch.zeros(1, 2), torch.tensor([1]), "classification").tolist()
        [[0.5, -0.5]]
    """
    outputs = outputs.double()
    if task == "regression":
        return outputs - y.double().reshape(outputs.shape)
    if outputs.shape[1] == 1:
        return outputs.sigmoid() - y.double()[:, None]
    return outputs.softmax(1) - F.one_hot(y, outputs.shape[1])


def mode_residuals(modes: Tensor, residuals: Tensor) -> Tensor:
    """Return the squared residual along each mode, ‖rᵀφ_r‖² / n² for ⟨φ_r, φ_r⟩ = n.

    Over a full basis they sum to the mean of ‖r(xᵢ)‖². While the kernel stays as it is, gradient flow on the squared
    error divides that of a mode of eigenvalue λ_r by e^{2 λ_r t / n}: modes are learned one after another.

    Args:
        modes: [n, k] orthogonal, of squared norm n.
        residuals: [n, outputs].

    Returns:
        [k] float64.

    Examples:
        >>> mode_residuals(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.tensor([[3.0], [1.0]])).tolist()
        [4.0, 1.0]
    """
    return (residuals.double().mT @ modes.double()).square().sum(0) / len(modes) ** 2


def mode_learning_speeds(residuals: Tensor, steps: Tensor) -> Tensor:
    """Return 1/T of each mode, T the first measured step from which its squared residual stays at half or less.

    Half of what it was at the first measurement. What is missing in between is passed over.

    Args:
        residuals: [measurements, k] as :func:`mode_residuals` returns them.
        steps: [measurements], increasing.

    Returns:
        [k] float64, per step; 0 for a mode that is not learned to the end, NaN without a residual to begin with.

    Examples:
        >>> halves = torch.tensor([[4.0, 1.0], [3.0, 0.4], [1.0, 0.9]])
        >>> mode_learning_speeds(halves, torch.tensor([0, 10, 20])).tolist()
        [0.05, 0.0]
    """
    speeds = torch.full(residuals.shape[1:], torch.nan, dtype=torch.float64)
    for r, column in enumerate(residuals.double().T):
        seen = torch.isfinite(column)
        values, times = column[seen], steps[seen].double()
        if not len(values) or values[0] <= 0:
            continue
        waiting = torch.nonzero(values > LEARNED * values[0])
        last = int(waiting[-1])  # the first value waits, so there is one
        speeds[r] = 1 / times[last + 1] if last + 1 < len(values) else 0.0
    return speeds
