"""SVCCA and PWCCA straight from the activations: singular values, covariances, matrix square roots."""

from __future__ import annotations

import torch
from torch import Tensor


def truncated(h: Tensor, variance: float) -> Tensor:
    """Return the centred activations [n, d] in their leading singular directions [n, r], U S."""
    U, S, _ = torch.linalg.svd(h.double() - h.double().mean(0), full_matrices=False)
    share = S.square().cumsum(0) / S.square().sum()
    rank = int((share < variance * (1 - 1e-12)).sum()) + 1
    return U[:, :rank] * S[:rank]


def inverse_root(covariance: Tensor) -> Tensor:
    """Return C^(−1/2) of a positive definite matrix."""
    eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
    return eigenvectors @ torch.diag(eigenvalues.rsqrt()) @ eigenvectors.T


def canonical_correlations(x: Tensor, y: Tensor) -> Tensor:
    """Return the singular values of C_xx^(−1/2) C_xy C_yy^(−1/2) of centred features [n, r₁], [n, r₂]."""
    return torch.linalg.svdvals(inverse_root(x.T @ x) @ (x.T @ y) @ inverse_root(y.T @ y))


def svcca(a: Tensor, b: Tensor, variance: float) -> Tensor:
    """Return the mean canonical correlation of activations [n, d₁], [n, d₂] (Raghu et al. 2017)."""
    return canonical_correlations(truncated(a, variance), truncated(b, variance)).mean()


def pwcca(a: Tensor, b: Tensor, variance: float) -> Tensor:
    """Return Σ αᵢ ρᵢ / Σ αᵢ, αᵢ = Σⱼ |⟨hᵢ, xⱼ⟩|, over the units xⱼ of ``a`` (Morcos et al. 2018, equation 3)."""
    x, y = truncated(a, variance), truncated(b, variance)
    U, S, _ = torch.linalg.svd(inverse_root(x.T @ x) @ (x.T @ y) @ inverse_root(y.T @ y), full_matrices=False)
    directions = x @ inverse_root(x.T @ x) @ U
    projector = x @ torch.linalg.pinv(x)
    units = projector @ (a.double() - a.double().mean(0))
    total = weighted = 0.0
    for i, correlation in enumerate(S):
        weight = sum(abs(float(directions[:, i] @ unit)) for unit in units.T)
        total, weighted = total + weight, weighted + weight * float(correlation)
    return torch.tensor(weighted / total, dtype=torch.float64)
