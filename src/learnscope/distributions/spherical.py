"""Points on unit spheres: random ones, and a grid that integrates polynomials exactly."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from learnscope.distributions.designs import gaussian_design
from learnscope.errors import InputError


class SphereGrid(NamedTuple):
    """Points [n, 3] of the unit sphere and their weights [n], which sum to one; float64."""

    points: Tensor
    weights: Tensor


def uniform_on_sphere(n: int, dim: int, generator: torch.Generator, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw n independent points of the unit sphere of ℝ^d, uniformly: [n, d].

    Raises:
        InputError: a size is not positive.

    Examples:
        >>> x = uniform_on_sphere(1000, 4, torch.Generator().manual_seed(0))
        >>> (4 * x.mT @ x / 1000).round(decimals=0).diagonal().tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    normal = gaussian_design(n, dim, generator, dtype=dtype)
    return normal / torch.linalg.vector_norm(normal, dim=1, keepdim=True)


def sphere_grid(degree: int) -> SphereGrid:
    """Return points of the sphere in ℝ³ whose weighted mean integrates every polynomial up to ``degree`` exactly.

    They lie on degree // 2 + 1 circles at the heights of Gauss and Legendre, degree + 1 evenly spaced on each.

    Raises:
        InputError: if the degree is negative.

    Examples:
        >>> points, weights = sphere_grid(4)
        >>> len(points), print(round(float(weights @ points[:, 0] ** 4), 6))  # the mean of x⁴ is 1/5
        0.2
        (15, None)
    """
    if degree < 0:
        raise InputError(f"the degree is {degree}: give that of the polynomials to integrate, from 0 on.")
    height, weight = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(degree // 2 + 1))
    angle = torch.arange(degree + 1, dtype=torch.float64) * (2 * math.pi / (degree + 1))
    radius = (1 - height.square()).sqrt()
    x, y = (radius[:, None] * each for each in (angle.cos(), angle.sin()))
    points = torch.stack([x, y, height[:, None].expand_as(x)], -1).flatten(0, 1)
    return SphereGrid(points, (weight / 2).repeat_interleave(degree + 1) / (degree + 1))
