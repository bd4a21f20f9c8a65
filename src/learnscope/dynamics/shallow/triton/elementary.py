"""The activations and the derivatives of the losses on tiles in registers, as Triton compiles them."""

# ruff: noqa: ANN001, ANN201 (Triton infers the types of what it compiles)
# pyright: reportMissingImports=false
from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

jit: Any = triton.jit  # what it makes of a function has no type that checkers know


@jit
def activated(u, KIND: tl.constexpr):
    """Return a(u) and a'(u) of :class:`learnscope.networks.activations.Activation`, for a softplus of sharpness 1.

    NaN stays NaN. Both halves of softplus and tanh are written in t = exp(−|u|), which cannot overflow.
    """
    if KIND == "relu":
        value = tl.where(u <= 0, 0.0, u)
        slope = tl.where(u > 0, 1.0, 0.0).to(u.dtype)
    elif KIND == "softplus":
        value = softplus(u)
        slope = sigmoid(u)
    elif KIND == "erf":
        value = tl.erf(u)
        slope = tl.exp(-u * u) * 1.1283791670955126  # 2 / √π
    else:
        t = tl.exp(-2.0 * tl.abs(u))
        size = (1.0 - t) / (1.0 + t)
        value = tl.where(u < 0, -size, size)
        slope = 1.0 - value * value
    return value, slope


@jit
def softplus(u):
    """Return log(1 + eᵘ) = max(u, 0) + log(1 + t) at t = e^−|u|.

    What 1 + t loses of t to rounding is made up for by the ratio of t to what it keeps, so that small values are exact
    too.

    Source: Kahan, in Goldberg 1991, theorem 4.
    """
    t = tl.exp(-tl.abs(u))
    total = 1.0 + t
    kept = total - 1.0
    log = tl.where(kept == 0, t, tl.log(total) * (t / tl.where(kept == 0, 1.0, kept)))
    return tl.where(u <= 0, 0.0, u) + log


@jit
def sigmoid(u):
    """Return 1 / (1 + e⁻ᵘ)."""
    t = tl.exp(-tl.abs(u))
    inverse = 1.0 / (1.0 + t)
    return tl.where(u > 0, inverse, t * inverse)


@jit
def pull(predictions, labels, KIND: tl.constexpr, SHARPNESS: tl.constexpr):
    """Return the derivative of a loss in each prediction, as :meth:`MarginLoss.pull` does."""
    margins = labels * predictions
    gap = 1.0 - margins
    if KIND == "hinge":
        pulls = tl.where(gap > 0, -labels, 0.0)
    elif KIND == "soft_hinge":
        pulls = -labels * sigmoid(SHARPNESS * gap)
    elif KIND == "quadratic_hinge":
        pulls = -labels * tl.where(gap > 0, gap, 0.0)
    elif KIND == "logistic":
        pulls = -labels * sigmoid(-margins)
    else:
        pulls = predictions - labels
    return pulls
