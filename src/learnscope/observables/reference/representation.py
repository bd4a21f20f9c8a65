"""Spread of a representation from its full covariance matrices."""

from __future__ import annotations

import torch
from torch import Tensor


def participation_ratio(h: Tensor) -> Tensor:
    """Return (Σ λ)² / Σ λ² of the eigenvalues λ of the covariance of [n, d]."""
    eigenvalues = torch.linalg.eigvalsh(torch.cov(h.double().T).reshape(h.shape[1], h.shape[1]))
    return eigenvalues.sum().square() / eigenvalues.square().sum()


def class_variance_ratio(h: Tensor, y: Tensor) -> Tensor:
    """Return tr(S_W) / tr(S_B) from the sums over examples and classes."""
    h = h.double()
    within = between = torch.zeros((), dtype=torch.float64)
    for label in y.unique():
        members = h[y == label]
        for member in members:
            within = within + (member - members.mean(0)).square().sum()
        between = between + len(members) * (members.mean(0) - h.mean(0)).square().sum()
    return within / between
