"""What an activation makes of Gaussian pre-activations: E[σ(u)σ(v)] and E[σ'(u)σ'(v)] in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from learnscope.errors import InputError, nearest_names

Activation = Literal["relu", "erf", "linear"]


@dataclass(frozen=True, slots=True)
class InfiniteWidthKernels:
    """The two kernels of an infinitely wide network on the same inputs.

    Attributes:
        nngp: [n, n'] covariance of the outputs at initialisation (the neural network Gaussian process).
        tangent: [n, n'] tangent kernel, constant in training (Jacot, Gabriel, Hongler 2018).
    """

    nngp: Tensor
    tangent: Tensor


Moments = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def moments(activation: str) -> Moments:
    """Return the function (E[u²], E[uv], E[v²]) → (E[σ(u)σ(v)], E[σ'(u)σ'(v)]) of an activation.

    Raises:
        InputError: if the activation is not known.

    Examples:
        >>> one = torch.ones(())
        >>> value, slope = moments("relu")(one, one, one)  # E[max(u, 0)²] = 1/2, P(u > 0) = 1/2
        >>> print(f"{float(value):.3f} {float(slope):.3f}")
        0.500 0.500
    """
    known: dict[str, Moments] = {"relu": relu_moments, "erf": erf_moments, "linear": linear_moments}
    if activation not in known:
        raise InputError(
            f"activation {activation!r} has no closed form here: choose {nearest_names(activation, known)}."
        )
    return known[activation]


def relu_moments(first: Tensor, cross: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return both moments of max(u, 0): the arc-cosine kernels of order 1 and 0 (Cho, Saul 2009, equations 3 and 6).

    With c = cross / √(first · second) and t = arccos c they are √(first · second) [sin t + (π - t) c] / 2π and
    (π - t) / 2π; where a variance is zero, the first is zero and the second that of independent signs, 1/4.
    """
    scale = (first * second).clamp(min=0).sqrt()
    cosine = torch.where(scale > 0, cross / scale.clamp(min=torch.finfo(cross.dtype).tiny), 0.0).clamp(-1, 1)
    angle = torch.arccos(cosine)
    sine = (1 - cosine.square()).clamp(min=0).sqrt()
    return scale * (sine + (math.pi - angle) * cosine) / (2 * math.pi), (math.pi - angle) / (2 * math.pi)


def erf_moments(first: Tensor, cross: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return both moments of erf(u): (2/π) arcsin(2 cross / √((1 + 2 first)(1 + 2 second))) and its derivative.

    The second is (4/π) / √((1 + 2 first)(1 + 2 second) - 4 cross²) (Williams 1997, equation 11).
    """
    product = (1 + 2 * first) * (1 + 2 * second)
    value = 2 / math.pi * torch.arcsin((2 * cross / product.sqrt()).clamp(-1, 1))
    slope = 4 / math.pi / (product - 4 * cross.square()).clamp(min=torch.finfo(cross.dtype).tiny).sqrt()
    return value, slope


def linear_moments(first: Tensor, cross: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return both moments of u itself: cross, and one."""
    return cross, torch.ones_like(cross)
