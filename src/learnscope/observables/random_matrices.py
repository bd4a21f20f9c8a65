"""The law of Marchenko and Pastur: what the spectrum of a purely random design looks like.

X [n, d] has independent entries of mean 0 and variance 1, and its aspect ratio is γ = d / n. For large n and d at
fixed γ, the d eigenvalues of XᵀX / n have the density

    √((λ₊ − λ)(λ − λ₋)) / (2π γ λ) on [λ₋, λ₊],   λ± = (1 ± √γ)²,

and a mass 1 − 1/γ at zero if γ > 1. Eigenvalues of a design with variance σ² are σ² times as large.

Sources: Marchenko, Pastur 1967; Bai, Silverstein 2010, section 3.1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from learnscope.errors import InputError


def marchenko_pastur_edges(ratio: float) -> tuple[float, float]:
    """Return the ends λ₋ and λ₊ of the continuous part of the law.

    Args:
        ratio: γ = d / n, columns over rows.

    Raises:
        InputError: a ratio that is not positive.

    Examples:
        >>> marchenko_pastur_edges(0.25)
        (0.25, 2.25)
    """
    _check(ratio)
    return (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2


def marchenko_pastur_condition_number(ratio: float) -> float:
    """Return λ₊ / λ₋, the condition number of XᵀX on the row space; infinite for as many rows as columns.

    Raises:
        InputError: a ratio that is not positive.

    Examples:
        >>> marchenko_pastur_condition_number(0.25), marchenko_pastur_condition_number(1.0)
        (9.0, inf)
    """
    low, high = marchenko_pastur_edges(ratio)
    return high / low if low > 0 else math.inf


def marchenko_pastur_density(values: Tensor, ratio: float) -> Tensor:
    """Return the density of the continuous part, whose integral is min(1, 1/γ).

    Args:
        values: [...] floating eigenvalues.
        ratio: γ = d / n.

    Returns:
        [...] in the dtype of the values; 0 outside of the edges and at λ = 0.

    Raises:
        InputError: a ratio that is not positive.

    Examples:
        >>> float(marchenko_pastur_density(torch.tensor(2.0, dtype=torch.float64), 1.0) * torch.pi)
        0.5
    """
    low, high = marchenko_pastur_edges(ratio)
    inside = (values > low) & (values < high)
    safe = torch.where(inside, values, (low + high) / 2)
    density = ((high - safe) * (safe - low)).sqrt() / (2 * math.pi * ratio * safe)
    return torch.where(inside, density, torch.zeros_like(density))


def marchenko_pastur_cdf(values: Tensor, ratio: float) -> Tensor:
    """Return the share of eigenvalues that are at most λ, the zeros included.

    With a = √(λ − λ₋) and b = √(λ₊ − λ), between the edges it is

        max(0, 1 − 1/γ) + [a b + 2 (1 + γ) arctan(a / b) − 2 |1 − γ| arctan(√λ₊ a / √λ₋ b)] / (2πγ).

    Args:
        values: [...] floating eigenvalues.
        ratio: γ = d / n.

    Returns:
        [...] in the dtype of the values.

    Raises:
        InputError: a ratio that is not positive.

    Examples:
        >>> marchenko_pastur_cdf(torch.tensor([-1.0, 0.0, 9.0], dtype=torch.float64), 2.0).tolist()
        [0.0, 0.5, 1.0]
    """
    low, high = marchenko_pastur_edges(ratio)
    above, below = (values - low).clamp(0, high - low).sqrt(), (high - values).clamp(0, high - low).sqrt()
    outer = 2 * (1 + ratio) * torch.atan2(above, below)
    inner = 2 * abs(1 - ratio) * torch.atan2(math.sqrt(high) * above, math.sqrt(low) * below)
    continuous = (above * below + outer - inner) / (2 * math.pi * ratio)
    return torch.where(values < 0, torch.zeros_like(continuous), max(0.0, 1 - 1 / ratio) + continuous)


def marchenko_pastur_quadrature(ratio: float, nodes: int = 512) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and masses such that Σ mᵢ f(λᵢ) = ∫ f dλ over the continuous part, for smooth f.

    The midpoint rule in θ for λ = 1 + γ + 2√γ cos θ: nodes θᵢ = (i − ½) π / N with masses 2 sin²θᵢ / (N λᵢ).
    Masses sum to min(1, 1/γ); the error falls like min(γ, 1/γ)^N, and at γ = 1 it is as small.

    Args:
        ratio: γ = d / n.
        nodes: N.

    Returns:
        Two tensors [N] float64, eigenvalues decreasing.

    Raises:
        InputError: a ratio that is not positive.

    Examples:
        >>> values, masses = marchenko_pastur_quadrature(0.5)
        >>> round(float((masses * values).sum()), 9), round(float((masses * values**2).sum()), 9)
        (1.0, 1.5)
    """
    _check(ratio)
    angle = (torch.arange(nodes, dtype=torch.float64) + 0.5) * math.pi / nodes
    values = 1 + ratio + 2 * math.sqrt(ratio) * angle.cos()
    return values, 2 * angle.sin().square() / (nodes * values)


def gram_eigenvalues(design: Tensor) -> Tensor:
    """Return the eigenvalues of XᵀX / n in increasing order: [..., n, d] → [..., d] in the dtype of the design.

    Cost: n d² multiplications and an eigendecomposition of a d × d matrix.

    Examples:
        >>> gram_eigenvalues(torch.tensor([[2.0, 0.0], [0.0, 4.0]])).tolist()
        [2.0, 8.0]
    """
    return torch.linalg.eigvalsh(design.mT @ design / design.shape[-2])


def is_positive(eigenvalues: Tensor) -> Tensor:
    """Return which eigenvalues [..., d] of a Gram matrix are above the rounding of the largest, d ε λ_max.

    Examples:
        >>> is_positive(torch.tensor([1e-9, 1.0])).tolist()
        [False, True]
    """
    floor = eigenvalues.shape[-1] * torch.finfo(eigenvalues.dtype).eps * eigenvalues.amax(-1, keepdim=True)
    return eigenvalues > floor


def condition_number(eigenvalues: Tensor) -> Tensor:
    """Return λ_max over the least positive eigenvalue of a Gram matrix, [..., d] → [...]; see :func:`is_positive`.

    Examples:
        >>> float(condition_number(torch.tensor([0.0, 2.0, 8.0])))
        4.0
    """
    least = torch.where(is_positive(eigenvalues), eigenvalues, torch.inf).amin(-1)
    return eigenvalues.amax(-1) / least


def marchenko_pastur_distance(eigenvalues: Tensor, ratio: float) -> Tensor:
    """Return the distance sup |F_d(λ) − F(λ)| of Kolmogorov and Smirnov between a spectrum and the law.

    For a random design it falls like 1/d up to logarithms (Götze, Tikhomirov 2011), much faster than the 1/√d of
    independent draws, as eigenvalues repel each other.

    Args:
        eigenvalues: [..., d] of XᵀX / n in increasing order.
        ratio: γ = d / n.

    Returns:
        [...]; eigenvalues that are zero up to rounding count as zeros.

    Raises:
        InputError: a ratio that is not positive.

    Examples:
        >>> float(marchenko_pastur_distance(torch.tensor([0.0, 9.0, 10.0, 11.0]), 2.0))
        0.75
    """
    d = eigenvalues.shape[-1]
    predicted = marchenko_pastur_cdf(eigenvalues, ratio)
    rank = torch.arange(1, d + 1, dtype=eigenvalues.dtype, device=eigenvalues.device)
    apart = torch.maximum((rank / d - predicted).abs(), ((rank - 1) / d - predicted).abs())
    return torch.where(is_positive(eigenvalues), apart, 0.0).amax(-1)


def _check(ratio: float) -> None:
    if not ratio > 0:
        raise InputError(f"ratio is {ratio:g}, but columns over rows is a positive number: give d / n.")
