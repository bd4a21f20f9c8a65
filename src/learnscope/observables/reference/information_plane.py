"""The information plane by its definitions: counted tuples, and Gaussian mixtures one pair at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from learnscope.observables.reference.information import entropy

Rows = Sequence[Sequence[float]]


def binned_information(h: Rows, y: Sequence[int], width: float, low: float = 0.0) -> tuple[float, float]:
    """Return H(T) and H(T) − Σ_c p_c H(T | Y = c) in bits for T = ⌊(h − low) / width⌋."""
    bins = [tuple(math.floor((value - low) / width) for value in row) for row in h]
    return _with_labels(lambda members: entropy([bins[i] for i in members]), y)


def noisy_information(h: Rows, y: Sequence[int], variance: float) -> tuple[float, float]:
    """Return −mean_i log₂ mean_j exp(−|h_i − h_j|²/2v) and what is left of it after the same within classes."""

    def information(members: Sequence[int]) -> float:
        return -sum(math.log2(_density(h, i, members, variance)) for i in members) / len(members)

    return _with_labels(information, y)


def _density(h: Rows, i: int, members: Sequence[int], variance: float) -> float:
    return sum(math.exp(-(math.dist(h[i], h[j]) ** 2) / (2 * variance)) for j in members) / len(members)


def _with_labels(measure: Callable[[Sequence[int]], float], y: Sequence[int]) -> tuple[float, float]:
    whole = measure(range(len(y)))
    groups = {label: [i for i, other in enumerate(y) if other == label] for label in set(y)}
    return whole, whole - sum(len(members) / len(y) * measure(members) for members in groups.values())
