"""The losses of :mod:`learnscope.dynamics.margin_losses` on numbers, compiled."""

# ruff: noqa: ANN001, ANN201 (Numba infers the types of what it compiles)
from __future__ import annotations

import math

from learnscope.dynamics.shallow.compiled.passes import inlined

HINGE, SOFT_HINGE, QUADRATIC_HINGE, LOGISTIC, SQUARED = range(5)
KINDS = ("hinge", "soft_hinge", "quadratic_hinge", "logistic", "squared")


@inlined
def softplus(u):
    """Return log(1 + exp(u))."""
    return max(u, 0.0) + math.log1p(math.exp(-abs(u)))


@inlined
def sigmoid(u):
    """Return 1 / (1 + exp(−u))."""
    t = math.exp(-abs(u))
    return 1 / (1 + t) if u > 0 else t / (1 + t)


@inlined
def loss(kind, sharpness, prediction, label):
    """Return the loss of a prediction."""
    if kind == SQUARED:
        return (prediction - label) ** 2 / 2
    margin = label * prediction
    if kind == HINGE:
        return max(0.0, 1 - margin)
    if kind == SOFT_HINGE:
        return softplus(sharpness * (1 - margin)) / sharpness
    return max(0.0, 1 - margin) ** 2 / 2 if kind == QUADRATIC_HINGE else softplus(-margin)


@inlined
def pull(kind, sharpness, prediction, label):
    """Return the derivative of the loss in the prediction."""
    if kind == SQUARED:
        return prediction - label
    margin = label * prediction
    if kind == HINGE:
        return -label if margin < 1 else 0.0 * label
    if kind == SOFT_HINGE:
        return -label * sigmoid(sharpness * (1 - margin))
    return -label * max(0.0, 1 - margin) if kind == QUADRATIC_HINGE else -label * sigmoid(-margin)
