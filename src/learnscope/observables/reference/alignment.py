"""Kernel alignment, movement and label projections by their definitions, in NumPy's float64."""

from __future__ import annotations

import math

import numpy as np


def ideal_kernel(y: np.ndarray) -> np.ndarray:
    """Return the ideal kernel of labels, entry by entry: products of targets, or 1 and −1/(c − 1) for classes."""
    n = len(y)
    if y.dtype.kind == "f":
        return np.array([[np.dot(np.atleast_1d(y[i]), np.atleast_1d(y[j])) for j in range(n)] for i in range(n)])
    between = -1 / (len(set(y.tolist())) - 1)
    return np.array([[1.0 if y[i] == y[j] else between for j in range(n)] for i in range(n)])


def alignment(kernel: np.ndarray, y: np.ndarray, *, centred: bool = False) -> float:
    """Return ⟨K, L⟩ / (‖K‖ ‖L‖) with the ideal kernel L, both as HKH if centred."""
    n = len(y)
    H = np.eye(n) - 1 / n if centred else np.eye(n)
    K, L = H @ kernel @ H, H @ ideal_kernel(y) @ H
    return float((K * L).sum() / (np.linalg.norm(K) * np.linalg.norm(L)))


def kernel_distance(kernel: np.ndarray, other: np.ndarray) -> float:
    """Return 1 − ⟨K, K'⟩ / (‖K‖ ‖K'‖)."""
    return float(1 - (kernel * other).sum() / (np.linalg.norm(kernel) * np.linalg.norm(other)))


def label_shares(kernel: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return φᵀ L φ / (n tr L) of every eigenvector φ of the kernel with ‖φ‖² = n, largest eigenvalue first."""
    n = len(y)
    L = ideal_kernel(y)
    vectors = math.sqrt(n) * np.linalg.eigh(kernel)[1][:, ::-1]
    return np.array([v @ L @ v for v in vectors.T]) / (n * np.trace(L))


def component_information(values: np.ndarray, y: np.ndarray, k: int) -> float:
    """Return H(y) − mean H(q) in bits, with the posterior q from sorted distances, one example at a time."""
    classes = sorted(set(y.tolist()))
    total = 0.0
    for i in range(len(y)):
        reach = []
        for c in classes:
            others = [abs(values[i] - values[j]) for j in range(len(y)) if j != i and y[j] == c]
            reach.append(sorted(others)[k - 1])
        inverse = [1 / r for r in reach]
        total -= sum(w / sum(inverse) * math.log2(w / sum(inverse)) for w in inverse)
    shares = [float(np.mean(y == c)) for c in classes]
    return -sum(p * math.log2(p) for p in shares) - total / len(y)
