"""Losses, margins, learning times and unit statistics by their definitions, one example at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np


def cross_entropy(outputs: Sequence[float], label: int) -> float:
    """Return -log of the softmax at the label, with the largest output subtracted."""
    top = max(outputs)
    return math.log(sum(math.exp(o - top) for o in outputs)) - (outputs[label] - top)


def margin(outputs: Sequence[float], label: int) -> float:
    """Return the label's output minus the largest other one."""
    return outputs[label] - max(o for k, o in enumerate(outputs) if k != label)


def learning_time(correct: Sequence[bool], steps: Sequence[int]) -> float:
    """Return the first step from which all later measurements are correct; infinity without one."""
    for k, step in enumerate(steps):
        if all(correct[k:]):
            return float(step)
    return math.inf


def forgetting_events(correct: Sequence[bool]) -> int:
    """Return how often a correct measurement is followed by a wrong one."""
    return sum(a and not b for a, b in itertools.pairwise(correct))


def dead_share(activations: np.ndarray) -> float:
    """Return the share of units [n, units, positions] with a single distinct value."""
    units = [activations[:, k, :].ravel() for k in range(activations.shape[1])]
    return sum(len(set(u.tolist())) == 1 for u in units) / len(units)


def rms(activations: np.ndarray) -> float:
    """Return the root mean square of all activations."""
    flat = [float(a) for a in activations.flat]
    return math.sqrt(sum(a * a for a in flat) / len(flat))
