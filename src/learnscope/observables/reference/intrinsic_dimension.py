"""Estimators of the intrinsic dimension, one example at a time, from rows that are all distinct."""

from __future__ import annotations

import math

from torch import Tensor

from learnscope.observables.reference.neighbours import nearest_neighbours


def two_nn(h: Tensor) -> float:
    """Return the slope through the origin of −log(1 − i/N) on log μ, i ≤ 0.9 N (Facco et al. 2017)."""
    distances, _ = nearest_neighbours(h, 2)
    ratios = sorted(float(second / first) for first, second in distances)
    products = squares = 0.0
    for i, ratio in enumerate(ratios[: int(0.9 * len(h))], start=1):
        products += -math.log(1 - i / len(h)) * math.log(ratio)
        squares += math.log(ratio) ** 2
    return products / squares


def two_nn_likelihood(h: Tensor) -> float:
    """Return (N − 1) / Σ log μ."""
    distances, _ = nearest_neighbours(h, 2)
    return (len(h) - 1) / sum(math.log(float(second / first)) for first, second in distances)


def levina_bickel(h: Tensor, k: int) -> float:
    """Return the inverse of the mean over examples of Σ_{j<k} log(r_k/r_j) / (k − 1)."""
    distances, _ = nearest_neighbours(h, k)
    inverses = [sum(math.log(float(row[-1] / r)) for r in row[:-1]) / (k - 1) for row in distances]
    return 1 / (sum(inverses) / len(inverses))
