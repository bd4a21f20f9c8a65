"""Gaussian inputs in two classes of equal weight, told apart by few of their directions: stripe, sphere, cylinder.

x ~ N(0, 1) in d dimensions; the class is the sign of the signed distance to an interface, which is a pair of planes
across x₁ (stripe), a sphere in all directions, or one in the first two of them (cylinder).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from learnscope.errors import InputError

STRIPE = (-0.3, 1.18549)  # x₁ inside of it has probability 0.4999995


class Sample(NamedTuple):
    """Examples x [n, d] with labels y [n], each exactly +1 or −1, in the dtype of x."""

    x: Tensor
    y: Tensor


SignedDistance = Callable[[Tensor], Tensor]


def distance_to_stripe(x: Tensor) -> Tensor:
    """Return min(x₁ + 0.3, 1.18549 − x₁) for x [..., d]: how far x lies inside of the stripe, negative outside.

    Examples:
        >>> distance_to_stripe(torch.tensor([[0.0, 9.0], [-1.3, 0.0]])).tolist()
        [0.3, -1.0]
    """
    low, high = STRIPE
    return torch.minimum(x[..., 0] - low, high - x[..., 0])


def distance_to_sphere(x: Tensor) -> Tensor:
    """Return ‖x‖ − R for x [..., d], R² = d (1 − 2 / 9d)³, the median of χ² with d degrees of freedom.

    Wilson and Hilferty's formula; inside lies a weight of 0.507 for d = 1, of 0.505 for d = 2, and of 0.501
    from d = 8 on.

    Examples:
        >>> f"{distance_to_sphere(torch.zeros(10)):.4f}"  # R² = 9.348
        '-3.0575'
    """
    dim = x.shape[-1]
    return torch.linalg.vector_norm(x, dim=-1) - math.sqrt(dim * (1 - 2 / (9 * dim)) ** 3)


def distance_to_cylinder(x: Tensor) -> Tensor:
    """Return √(x₁² + x₂²) − √(2 log 2) for x [..., d], d ≥ 2; the radius is the median, in closed form.

    Examples:
        >>> f"{distance_to_cylinder(torch.tensor([0.0, 1.0, 9.0])):.4f}"
        '-0.1774'
    """
    return torch.linalg.vector_norm(x[..., :2], dim=-1) - math.sqrt(2 * math.log(2))


def stripe(n: int, dim: int, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Sample:
    """Draw n examples with y = +1 inside of the stripe −0.3 < x₁ < 1.18549, and −1 outside.

    Args:
        n: number of examples.
        dim: number of directions d, one of which tells the classes apart.
        generator: source of x; its device is that of the sample.
        dtype: of x and y.

    Raises:
        InputError: n or dim is not positive.

    Source: Paccolat, Petrini, Geiger, Tyloo, Wyart 2021, and their code, where the labels have the other sign.

    Examples:
        >>> x, y = stripe(1000, 5, torch.Generator().manual_seed(0))
        >>> bool(((x[:, 0] > -0.3) & (x[:, 0] < 1.18549) == (y == 1)).all()), f"{y.mean():.1f}"
        (True, '0.0')
    """
    return _sample(n, dim, 1, distance_to_stripe, generator, dtype)


def sphere(n: int, dim: int, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Sample:
    """Draw n examples with y = +1 outside of the sphere ‖x‖² = d (1 − 2 / 9d)³, and −1 inside.

    Arguments, errors and source are those of :func:`stripe`.

    Examples:
        >>> x, y = sphere(1000, 10, torch.Generator().manual_seed(0))
        >>> bool((x.square().sum(1) > 9.348).eq(y == 1).all())
        True
    """
    return _sample(n, dim, 1, distance_to_sphere, generator, dtype)


def cylinder(n: int, dim: int, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Sample:
    """Draw n examples with y = +1 outside of the cylinder x₁² + x₂² = 2 log 2, and −1 inside; dim is at least 2.

    Other arguments, errors and the source are those of :func:`stripe`.

    Examples:
        >>> x, y = cylinder(1000, 3, torch.Generator().manual_seed(0))
        >>> bool(((x[:, 0] ** 2 + x[:, 1] ** 2 > 1.38629436).eq(y == 1)).all())
        True
    """
    return _sample(n, dim, 2, distance_to_cylinder, generator, dtype)


def _sample(
    n: int, dim: int, least: int, distance: SignedDistance, generator: torch.Generator, dtype: torch.dtype
) -> Sample:
    if n < 1:
        raise InputError(f"n is {n}, but a sample has at least 1 example.")
    if dim < least:
        raise InputError(f"dim is {dim}, but this interface needs at least {least} directions.")
    x = torch.randn(n, dim, generator=generator, dtype=dtype, device=generator.device)
    y = torch.where(distance(x) > 0, 1.0, -1.0).to(dtype)
    return Sample(x, y)
