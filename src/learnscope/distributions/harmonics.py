"""Spherical harmonics: polynomials of one degree on the unit sphere, eigenfunctions of its Laplacian."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from learnscope.errors import InputError


def legendre(cosine: Tensor, dim: int, max_degree: int) -> Tensor:
    """Return P_0 ... P_K of the sphere in ℝ^d: [K + 1, ...] for cosines [...].

    P_k(t) = C_k(t) / C_k(1) with the Gegenbauer polynomials C_k of parameter (d - 2)/2; these are the Legendre
    polynomials for d = 3, those of Chebyshev for d = 2. They follow from

        (k + d - 2) P_{k+1}(t) = (2k + d - 2) t P_k(t) - k P_{k-1}(t).

    √N_k P_k(v · x) is a harmonic of degree k with mean square 1, symmetric about v; there are N_k independent ones.

    Raises:
        InputError: if the dimension is below 2 or the degree negative.

    Cost: O(K) operations a cosine.

    Source: C. Müller 1998, Analysis of spherical symmetries in Euclidean spaces, chapter 2.

    Examples:
        >>> legendre(torch.tensor(0.5), 3, 2).tolist()  # 1, t, (3 t² - 1)/2
        [1.0, 0.5, -0.125]
    """
    _check(dim, max_degree)
    polynomials = [torch.ones_like(cosine), cosine]
    for k in range(1, max_degree):
        following = (2 * k + dim - 2) * cosine * polynomials[k] - k * polynomials[k - 1]
        polynomials.append(following / (k + dim - 2))
    return torch.stack(polynomials[: max_degree + 1])


def n_harmonics(degree: int, dim: int) -> int:
    """Return N_k, the number of independent harmonics of degree k on the unit sphere of ℝ^d.

    It is that of monomials of degree k less that of degree k - 2.

    Raises:
        InputError: if the dimension is below 2 or the degree negative.

    Examples:
        >>> [n_harmonics(k, 3) for k in range(4)], n_harmonics(2, 10)
        ([1, 3, 5, 7], 54)
    """
    _check(dim, degree)
    fewer = math.comb(degree + dim - 3, dim - 1) if degree > 1 else 0
    return math.comb(degree + dim - 1, dim - 1) - fewer


def zonal_harmonics(x: Tensor, poles: Tensor) -> Tensor:
    """Return √N_k P_k(v_k · x), a harmonic of each degree k = 1 ... K with mean square 1, symmetric about v_k: [n, K].

    Args:
        x: [n, d] points of the unit sphere.
        poles: [K, d] unit vectors v_k.

    Raises:
        InputError: if points and poles differ in dimension.

    Examples:
        >>> zonal_harmonics(torch.eye(3)[:2], torch.eye(3)[[0, 0]]).tolist()  # √3 t, and √5 (3 t² - 1)/2
        [[1.732, 2.236], [0.0, -1.118]]
    """
    if x.ndim != 2 or poles.ndim != 2 or x.shape[1] != poles.shape[1]:
        raise InputError(f"points {list(x.shape)} and poles {list(poles.shape)} do not fit: give [n, d] and [K, d].")
    dim, cosines = x.shape[1], x @ poles.mT
    columns = [n_harmonics(k, dim) ** 0.5 * legendre(t, dim, k)[k] for k, t in enumerate(cosines.unbind(1), start=1)]
    return torch.stack(columns, 1)


def _check(dim: int, degree: int) -> None:
    if dim < 2:
        raise InputError(f"the dimension is {dim}: spheres are those of 2 or more dimensions.")
    if degree < 0:
        raise InputError(f"the degree is {degree}: harmonics have degrees from 0 on.")
