"""SVCCA of a training history against its end, against the formulas of Raghu et al. 2017 pair by pair in NumPy.

python benchmarks/svcca.py [--pairs 3 | --all]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from learnscope.observables.canonical_correlation import principal_basis, svcca
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


def ours(states: list[list[torch.Tensor]]) -> np.ndarray:
    """Return SVCCA [checkpoint, layer] of every state with the last one, each decomposed once."""
    final = [principal_basis(h, variance=VARIANCE) for h in states[-1]]
    earlier = [
        [svcca(principal_basis(h, variance=VARIANCE), end) for h, end in zip(state, final, strict=True)]
        for state in states[:-1]
    ]
    return torch.stack([torch.stack(row) for row in [*earlier, [svcca(end, end) for end in final]]]).numpy()


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
    parser.add_argument("--pairs", type=int, default=4, help="pairs to measure the formulas on")
    parser.add_argument("--all", action="store_true", help="measure the formulas on all pairs")
    options = parser.parse_args()
    heading()
    states = history(options.checkpoints, options.layers, options.examples, options.units)
    print("components kept at the end:", [len(principal_basis(h).singular_values) for h in states[-1]])
    measured = timed(lambda: ours(states), 1)
    pairs = [(t, layer) for t in range(options.checkpoints) for layer in range(options.layers)]
    chosen = pairs if options.all else pairs[:: max(1, len(pairs) // options.pairs)][: options.pairs]
    arrays = {(t, layer): states[t][layer].double().numpy() for t, layer in {*chosen, *pairs[-options.layers :]}}
    last = options.checkpoints - 1
    peer = timed(lambda: [pairwise(arrays[t, layer], arrays[last, layer]) for t, layer in chosen], 1)
    scale = len(pairs) / len(chosen)
    total = Timing(peer.wall * scale, peer.processor * scale, peer.result)
    difference = largest_relative_difference([measured.result[pair] for pair in chosen], peer.result)
    line(
        f"{options.checkpoints} x {options.layers} states, {options.units} units, {options.examples} examples",
        measured,
        total,
        difference,
    )
    if scale > 1:
        print(
            f"theirs is extrapolated from {len(chosen)} of {len(pairs)} pairs, {peer.wall:.1f} s; --all measures them "
            "all"
        )


if __name__ == "__main__":
    main()
