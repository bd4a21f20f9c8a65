"""Weight spectra and movement by their definitions, in NumPy's float64."""

from __future__ import annotations

import math

import numpy as np


def singular_values(matrix: np.ndarray) -> np.ndarray:
    """Return the singular values by a full singular value decomposition."""
    return np.linalg.svd(matrix.astype(np.float64), compute_uv=False)


def stable_rank(matrix: np.ndarray) -> float:
    """Return ‖A‖_F² / ‖A‖₂²."""
    return float(np.linalg.norm(matrix, "fro") ** 2 / np.linalg.norm(matrix, 2) ** 2)


def effective_rank(matrix: np.ndarray) -> float:
    """Return exp of the entropy of the singular values as shares of their sum, term by term."""
    values = singular_values(matrix)
    shares = [v / values.sum() for v in values]
    return math.exp(-sum(p * math.log(p) for p in shares if p > 0))


def relative_distance(weight: np.ndarray, initial: np.ndarray) -> float:
    """Return ‖W - W₀‖ / ‖W₀‖ by summing squares one at a time."""
    moved = sum((float(a) - float(b)) ** 2 for a, b in zip(weight.flat, initial.flat, strict=True))
    return math.sqrt(moved / sum(float(b) ** 2 for b in initial.flat))


def cosine(weight: np.ndarray, initial: np.ndarray) -> float:
    """Return ⟨W, W₀⟩ / (‖W‖ ‖W₀‖) by summing products one at a time."""
    dot = sum(float(a) * float(b) for a, b in zip(weight.flat, initial.flat, strict=True))
    return dot / math.sqrt(sum(float(a) ** 2 for a in weight.flat) * sum(float(b) ** 2 for b in initial.flat))
