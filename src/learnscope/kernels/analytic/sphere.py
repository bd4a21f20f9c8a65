"""Kernels that depend on the angle between points of a sphere alone, decomposed into spherical harmonics.

On the unit sphere of ℝ^d with its uniform probability measure, κ(x · x') = Σ_k λ_k N_k P_k(x · x'): there are N_k
harmonics of degree k, all with the eigenvalue λ_k, and P_k is the Gegenbauer polynomial with P_k(1) = 1.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from learnscope.distributions.harmonics import legendre
from learnscope.errors import InputError

NODES = 400


def funk_hecke(kernel: Callable[[Tensor], Tensor], dim: int, max_degree: int, *, nodes: int = NODES) -> Tensor:
    """Return the eigenvalues λ_0 ... λ_K of a kernel κ(x · x') on the unit sphere of ℝ^d: [..., K + 1].

    By the formula of Funk and Hecke, λ_k = ∫ κ(t) P_k(t) (1 - t²)^((d-3)/2) dt / ∫ (1 - t²)^((d-3)/2) dt. The integral
    is taken over the angle, t = cos φ with the weight sin(φ)^(d-2), by Gauss and Legendre: kernels of ReLU networks
    have roots of 1 ± t, which are analytic in φ, so that a few hundred nodes reach rounding. That is 10⁻¹⁶ κ(1) in λ_k:
    eigenvalues of less than 10⁻¹³ κ(1) are noise, which the number of harmonics of a high degree can make look large.

    Args:
        kernel: maps cosines [m] of float64 to values [..., m].
        dim: d ≥ 2.
        max_degree: K.
        nodes: of the quadrature, some more than K.

    Raises:
        InputError: if the dimension is below 2, the degree negative, or there are no more nodes than degrees.

    Cost: O(nodes · K), and an eigenproblem of size ``nodes`` for the quadrature.

    Source: C. Müller 1998, chapter 2, Theorem of Funk and Hecke.

    Examples:
        >>> funk_hecke(lambda t: t**2, 3, 3).tolist()  # t² = 1/3 P_0 + 2/3 P_2, with N_2 = 5
        [0.33333, 0.0, 0.13333, 0.0]
    """
    if nodes <= max_degree:
        raise InputError(f"{nodes} nodes do not resolve degree {max_degree}: give more nodes than degrees.")
    angle, weight = _quadrature(nodes)
    weight = weight * torch.sin(angle) ** (dim - 2)
    cosine = torch.cos(angle)
    return kernel(cosine) @ (legendre(cosine, dim, max_degree) * (weight / weight.sum())).mT


@functools.cache
def _quadrature(nodes: int) -> tuple[Tensor, Tensor]:
    """Return angles in (0, π) and weights that integrate over them."""
    place, weight = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(nodes))
    return (place + 1) * (math.pi / 2), weight * (math.pi / 2)
