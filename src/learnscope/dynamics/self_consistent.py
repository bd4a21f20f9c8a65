"""Two-layer linear networks of large width: how A = W₂ W₁ moves, said by A alone (Tu, Aranguri, Jacot 2024).

Weights start as independent N(0, σ²) and follow their own gradients in the flow of small steps, for a loss L(A) with
gradient G. Then D = W₁ W₁ᵀ − W₂ᵀ W₂ is conserved. For widths w far above the dimensions, D² acts as (σ² w)² on all that
W₁ and W₂ᵀ map to, whence

    C₁ = W₁ᵀ W₁ = √(AᵀA + (σ² w)²),    C₂ = W₂ W₂ᵀ = √(AAᵀ + (σ² w)²),    dA/dt = −C₂ G − G C₁.

With the threshold τ = σ² w, singular values s ≪ τ are lazy, dA/dt = −2 τ G, as in a linear model; those with s ≫ τ are
active, dA/dt = −√(AAᵀ) G − G √(AᵀA), as for balanced weights. Each moves at ds/dt = −2 √(s² + τ²) uᵀGv.

The flow keeps the equations for C₁ and C₂ exactly once they hold: with J = diag(1, −1) and the Gram matrix of
X = (W₁, W₂ᵀ) they say (XᵀX J)² = τ², and X J Xᵀ = D is conserved. So nothing is lost but at the start, where C₁ and C₂
are off by a share of about √(dimension / w).
"""

from __future__ import annotations

import torch
from torch import Tensor

from learnscope.dynamics.two_layer_linear import ReducedNetwork
from learnscope.errors import InputError


def self_consistent_velocity(product: Tensor, gradient: Tensor, threshold: float | Tensor) -> Tensor:
    """Return dA/dt = −√(AAᵀ + τ²) G − G √(AᵀA + τ²).

    At τ = 0 this is the velocity of balanced weights, for τ ≫ ‖A‖ that of :func:`lazy_velocity`.

    Args:
        product: [..., outputs, inputs] the matrix A, any floating dtype, which the result keeps.
        gradient: [..., outputs, inputs] the gradient G of the loss with respect to A.
        threshold: τ = σ² w, a number or [...] one for each matrix; not negative.

    Returns:
        [..., outputs, inputs].

    Raises:
        InputError: a negative threshold.

    Cost: a singular value decomposition and four matrix products of the size of A, some four times as long as
    :func:`~learnscope.dynamics.two_layer_linear.gradient_step`.

    Source: Tu, Aranguri, Jacot 2024, equation 1.

    Examples:
        >>> A = torch.diag(torch.tensor([4.0, 0.0]))
        >>> self_consistent_velocity(A, torch.eye(2), 3.0).diagonal().tolist()
        [-10.0, -6.0]
    """
    tau = _checked(threshold, product)
    U, s, Vh = torch.linalg.svd(product, full_matrices=False)
    above = (
        torch.hypot(s, tau)[..., None, :] - tau[..., None]
    )  # √(AAᵀ + τ²) = τ + U above Uᵀ, also where A is not square
    active = (U * above) @ (U.mT @ gradient) + (gradient @ Vh.mT * above) @ Vh
    return -2 * tau[..., None] * gradient - active


def lazy_velocity(gradient: Tensor, threshold: float | Tensor) -> Tensor:
    """Return dA/dt = −2 τ G, the velocity while all singular values are far below the threshold τ = σ² w.

    Args:
        gradient: [..., outputs, inputs] the gradient G of the loss with respect to A.
        threshold: τ, a number or [...] one for each matrix; not negative.

    Raises:
        InputError: a negative threshold.

    Examples:
        >>> lazy_velocity(torch.ones(1, 2), 3.0).tolist()
        [[-6.0, -6.0]]
    """
    return -2 * _checked(threshold, gradient)[..., None] * gradient


def self_consistent_network(product: Tensor, threshold: float | Tensor) -> ReducedNetwork:
    """Return the network that computes A and has C₁ = √(AᵀA + τ²) and C₂ = √(AAᵀ + τ²).

    Gradient descent from it follows :func:`self_consistent_velocity` up to the error of the steps, without a singular
    value decomposition in each, and with the same errors that the steps of a random network have.

    Args:
        product: [..., outputs, inputs] the matrix A, any floating dtype, which the result keeps.
        threshold: τ = σ² w, a number or [...] one for each matrix; not negative.

    Raises:
        InputError: a negative threshold.

    Cost: one singular value decomposition and two matrix products.

    Examples:
        >>> network = self_consistent_network(torch.diag(torch.tensor([4.0, 0.0])), 3.0)
        >>> network.input_gram.diagonal().tolist()
        [5.0, 3.0]
    """
    tau = _checked(threshold, product)
    U, s, Vh = torch.linalg.svd(product, full_matrices=False)
    above = torch.hypot(s, tau)[..., None, :] - tau[..., None]
    rows, columns = (torch.eye(n, dtype=product.dtype, device=product.device) for n in product.shape[-2:])
    scale = tau[..., None]
    return ReducedNetwork(product, scale * columns + (Vh.mT * above) @ Vh, scale * rows + (U * above) @ U.mT)


def mode_velocity(singular_value: Tensor, goal: Tensor, threshold: float | Tensor) -> Tensor:
    """Return ds/dt = 2 √(s² + τ²) (s* − s), the speed of a mode that is aligned with its target, for L = ½ ‖A − Y‖².

    Aligned means that the singular vectors of A are those of the target Y at its singular value s*. All arguments
    broadcast.

    Args:
        singular_value: s, of A.
        goal: s*, of Y.
        threshold: τ = σ² w.

    Source: follows from Tu, Aranguri, Jacot 2024, equation 1.

    Examples:
        >>> float(mode_velocity(torch.tensor(4.0), torch.tensor(5.0), 3.0))
        10.0
    """
    return 2 * torch.hypot(singular_value, torch.as_tensor(threshold).to(singular_value)) * (goal - singular_value)


def _checked(threshold: float | Tensor, matrix: Tensor) -> Tensor:
    """Return the threshold as a tensor [..., 1] of the matrix's dtype and device."""
    tau = torch.as_tensor(threshold, dtype=matrix.dtype, device=matrix.device)
    if bool((tau < 0).any()):
        raise InputError(f"the threshold is {float(tau.min()):g}, but it is σ² times the width: give 0 or more.")
    return tau[..., None]
