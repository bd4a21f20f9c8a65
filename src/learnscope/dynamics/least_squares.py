"""Gradient flow on least squares in closed form."""

from __future__ import annotations

import torch
from torch import Tensor


def least_squares_flow(covariance: Tensor, correlation: Tensor, initial: Tensor, times: Tensor) -> Tensor:
    """Return A(t) of dA/dt = -(A C - B), the flow on L(A) = ‖Y - A X‖² / (2n) with C = X Xᵀ / n and B = Y Xᵀ / n.

    With C = Σ_i c_i v_i v_iᵀ it is A(t) v_i = exp(-c_i t) A₀ v_i + (1 - exp(-c_i t)) / c_i · B v_i. What A₀ does in
    the null space of C stays as it is, so the limit from A₀ = 0 is the solution of minimum norm.

    Args:
        covariance: [..., inputs, inputs] C, symmetric and positive semidefinite, any floating dtype.
        correlation: [..., outputs, inputs] B.
        initial: [..., outputs, inputs] A₀.
        times: [T], finite.

    Returns:
        [T, ..., outputs, inputs].

    Cost: one eigendecomposition, then two products a time: O(inputs³ + T outputs inputs²).

    Examples:
        >>> at = least_squares_flow(torch.eye(1), torch.ones(1, 1), torch.zeros(1, 1), torch.tensor([0.0, 1.0]))
        >>> at.flatten().tolist()
        [0.0, 0.632]
    """
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    rates = eigenvalues.clamp(min=0)
    times = times.to(rates).reshape(-1, *(1,) * rates.ndim)
    positive = rates > 0
    learned = torch.where(positive, -torch.expm1(-rates * times) / torch.where(positive, rates, 1.0), times)
    kept = torch.exp(-rates * times)
    modes = (initial @ vectors) * kept[..., None, :] + (correlation @ vectors) * learned[..., None, :]
    return modes @ vectors.mT
