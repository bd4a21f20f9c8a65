"""Patterns of twelve points on the sphere, labelled by a quantity that no rotation changes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

POINTS = 12
DEGREE = 6  # the lowest above 0 at which the twelve points together differ from a uniform sphere


def icosahedron() -> Tensor:
    """Return the twelve vertices of a regular icosahedron on the unit sphere, [12, 3] float64.

    Examples:
        >>> cosines = icosahedron() @ icosahedron().T
        >>> sorted(set(cosines.flatten().round(decimals=3).tolist()))
        [-1.0, -0.447, 0.447, 1.0]
    """
    golden = (1 + math.sqrt(5)) / 2
    signs = [(a, b * golden) for a in (1.0, -1.0) for b in (1.0, -1.0)]
    corners = [corner for a, b in signs for corner in ((0.0, a, b), (a, b, 0.0), (b, 0.0, a))]
    vertices = torch.tensor(corners, dtype=torch.float64)
    return vertices / torch.linalg.vector_norm(vertices, dim=1, keepdim=True)


def sphere_patterns() -> tuple[Tensor, Tensor]:
    """Return all 4096 patterns x [4096, 12] in ±1, float64, and labels y [4096] in {0, 1}, int64.

    Each of twelve points u_k on the sphere carries a mass m_k = 0 or 1, x_k = 2 m_k − 1. The label tells whether the
    power of the masses in the spherical harmonics of degree 6, Σ_kl m_k m_l P₆(u_k · u_l), is above its median. It
    does not change when the pattern is rotated, and H(Y) = 0.999 bits.

    Source: Shwartz-Ziv, Tishby 2017, who draw labels by a function of the power spectrum that is not given
    in full; the degree and the threshold are ours.

    Examples:
        >>> x, y = sphere_patterns()
        >>> x.shape, round(float(y.double().mean()), 2)
        (torch.Size([4096, 12]), 0.48)
    """
    masses = (torch.arange(2**POINTS)[:, None] >> torch.arange(POINTS) & 1).double()
    vertices = icosahedron()
    legendre = torch.special.legendre_polynomial_p(vertices @ vertices.T, torch.tensor(DEGREE))
    power = ((masses @ legendre) * masses).sum(1).round(decimals=9)
    return 2 * masses - 1, (power > power.median()).long()
