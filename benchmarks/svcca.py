"""SVCCA of a training history against its end, against the formulas of Raghu et al. 2017 pair by pair in NumPy.

python benchmarks/svcca.py [--pairs 16]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from learnscope.observables.canonical_correlation import Basis, principal_bases, svcca
from timing import Timing, heading, largest_relative_difference, line, timed

VARIANCE = 0.99


def history(checkpoints: int, layers: int, examples: int, units: int) -> list[list[torch.Tensor]]:
    """Activations [checkpoint][layer] of a ReLU network whose weights drift from random ones to others.

    Weights carry a decaying spectrum, so that a few hundred components hold 99 % of the variance, as in
    trained networks.
    """
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(examples, units, generator=random)
    decay = torch.arange(1, units + 1).pow(-0.6)
    ends = [
        [torch.linalg.qr(torch.randn(units, units, generator=random)).Q * decay for _ in range(layers)]
        for _ in range(2)
    ]
    states = []
    for progress in torch.linspace(0, 1, checkpoints):
        h, state = inputs, []
        for first, last in zip(*ends, strict=True):
            h = torch.relu(h @ ((1 - progress) * first + progress * last))
            h = h / h.std()
            state.append(h)
        states.append(state)
    return states


def ours(state: list[torch.Tensor], final: list[Basis] | None) -> tuple[list[float], list[Basis]]:
    """Return SVCCA [layer] of a state with the final one, which it is itself if there is none, and its bases."""
    bases = principal_bases(state, variance=VARIANCE)
    return [float(svcca(basis, end)) for basis, end in zip(bases, final or bases, strict=True)], bases


def truncated(h: np.ndarray) -> np.ndarray:
    """Return centred activations [examples, units] in their leading singular directions: [components, examples]."""
    activations = (h - h.mean(axis=0)).T
    _, values, directions = np.linalg.svd(activations, full_matrices=False)
    rank = int(np.searchsorted(np.cumsum(values**2) / np.sum(values**2), VARIANCE)) + 1
    return values[:rank, None] * directions[:rank]


def root(matrix: np.ndarray) -> np.ndarray:
    """Return the square root of a symmetric matrix by its eigendecomposition."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def pairwise(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean canonical correlation of the truncated activations: covariance, pinv, roots, SVD."""
    x, y = truncated(a), truncated(b)
    covariance = np.cov(x, y)
    r = len(x)
    left = root(np.linalg.pinv(covariance[:r, :r]))
    right = root(np.linalg.pinv(covariance[r:, r:]))
    return float(np.linalg.svd(left @ covariance[:r, r:] @ right, compute_uv=False).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", type=int, default=20)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--units", type=int, default=500)
    parser.add_argument("--examples", type=int, default=10000)
    parser.add_argument("--pairs", type=int, default=16, help="pairs to measure the formulas on, layers in turn")
    options = parser.parse_args()
    heading()
    states = history(options.checkpoints, options.layers, options.examples, options.units)
    final = None
    walls, processors, values, peers, theirs = [], [], [], [], []
    for t, state in enumerate(reversed(states)):
        measured = timed(lambda state=state, final=final: ours(state, final), 1)
        if final is None:
            final = measured.result[1]
            print("components kept at the end:", [len(basis.singular_values) for basis in final])
        walls.append(measured.wall)
        processors.append(measured.processor)
        # Pairs of the formulas in between, so that other work on the machine hits both.
        for i in range(t * options.pairs // len(states), (t + 1) * options.pairs // len(states)):
            layer = i % options.layers
            a, b = (each[layer].double().numpy() for each in (state, states[-1]))
            peers.append(timed(lambda a=a, b=b: pairwise(a, b), 1))
            values.append(measured.result[0][layer])
            theirs.append(peers[-1].result)
    scale = options.checkpoints * options.layers / len(peers)
    line(
        f"{options.checkpoints} x {options.layers} states, {options.units} units, {options.examples} examples",
        Timing(sum(walls), sum(processors), values),
        Timing(scale * sum(peer.wall for peer in peers), scale * sum(peer.processor for peer in peers), theirs),
        largest_relative_difference(values, theirs),
    )
    print(f"theirs is {scale:g} times what {len(peers)} pairs took, as many of each layer")


if __name__ == "__main__":
    main()
