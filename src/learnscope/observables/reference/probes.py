"""Probes that really leave each example out: as many fits as there are examples."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from learnscope.observables.reference.neighbours import nearest_neighbours


def linear_probe_predictions(h: Tensor, y: Tensor, ridge: float) -> Tensor:
    """Return the answers [n, classes] of ridge regressions with intercept, each fitted without the example.

    The features are standardised by all examples; the intercept carries no penalty.
    """
    h = h.double() - h.double().mean(0)
    deviation = h.square().mean(0).sqrt()
    x = h / torch.where(deviation > 0, deviation, 1.0)
    targets = torch.nn.functional.one_hot(y).double()
    answers = []
    for i in range(len(x)):
        rest = torch.arange(len(x)) != i
        mean_x, mean_y = x[rest].mean(0), targets[rest].mean(0)
        a, b = x[rest] - mean_x, targets[rest] - mean_y
        weights = torch.linalg.solve(a.T @ a + ridge * torch.eye(x.shape[1], dtype=x.dtype), a.T @ b)
        answers.append(mean_y + (x[i] - mean_x) @ weights)
    return torch.stack(answers)


def knn_accuracy(h: Tensor, y: Tensor, k: int) -> float:
    """Return the share of examples whose k nearest others vote for their class, ties to the nearest."""
    _, indices = nearest_neighbours(h, k)
    right = 0
    for i, row in enumerate(indices.tolist()):
        votes = [int(y[j]) for j in row]
        counts = Counter(votes)
        winner = next(vote for vote in votes if counts[vote] == max(counts.values()))
        right += winner == int(y[i])
    return right / len(y)
