"""Deep matrix completion: a sweep of 48 networks in three stacks, against one network after another in plain PyTorch.

python benchmarks/matrix_completion.py [--steps 100] [--threads 2]

The sweep is that of Arora et al. 2019: matrices of 100 × 100 and rank 5, 2,000 or 5,000 entries seen, 2, 3 or 4
factors, four scales of the initial weights, two learning rates, and RMSprop with one second moment for all weights;
float32. Both sides take the same steps from the same weights and test after each step whether to stop. "plain" computes
what training needs; "published" computes in every step what the published code does as well: the error on all entries
and the norm of the weights. The cost of a step is the same throughout training, so a few steps are timed.
"""

from __future__ import annotations

import argparse
import itertools
from typing import Any

import torch
from torch import Tensor, nn

import timing
from learnscope.distributions.matrix_completion import low_rank_matrix, observed_entries
from learnscope.dynamics.gradient_descent import GroupRMSprop, SquaredError, descend
from learnscope.networks.deep_linear import gaussian_factors, product
from learnscope.randomness import generator
from timing import Timing, heading, largest_relative_difference, line, race

SIZE, RANK = 100, 5
DEPTHS = (2, 3, 4)
SWEEP = tuple(itertools.product((1e-3, 3e-4), (1e-3, 1e-4, 1e-5, 1e-6), (2000, 5000)))  # learning rate, scale, n_train
TOLERANCE = 1e-6


class PlainRMSprop(torch.optim.Optimizer):
    """The learning rate over the root of a running mean of the squared norm of all gradients."""

    def __init__(self, parameters: list[nn.Parameter], learning_rate: float) -> None:
        super().__init__(parameters, {"lr": learning_rate})
        self.moment, self.steps = 0.0, 0

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take a step."""
        parameters = self.param_groups[0]["params"]
        self.steps += 1
        self.moment = 0.99 * self.moment + 0.01 * float(sum(p.grad.pow(2).sum() for p in parameters))
        rate = self.param_groups[0]["lr"] / ((self.moment / (1 - 0.99**self.steps)) ** 0.5 + 1e-4)
        for p in parameters:
            p.add_(p.grad, alpha=-rate)


def plain(factors: list[Tensor], target: Tensor, seen: Tensor, rate: float, steps: int, published: bool) -> Tensor:
    """Train one network by autograd and return its end-to-end matrix."""
    rows, columns = seen.nonzero(as_tuple=True)
    known = target[rows, columns]
    weights = [nn.Parameter(factor.clone()) for factor in factors]
    optimiser = PlainRMSprop(weights, rate)
    for _ in range(steps):
        matrix = weights[0]
        for weight in weights[1:]:
            matrix = weight @ matrix
        loss = (matrix[rows, columns] - known).pow(2).mean()
        if published:
            sum(weight.pow(2).sum() for weight in weights)
            with torch.no_grad():
                (matrix - target).pow(2).mean()
        if loss.item() <= TOLERANCE:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return product([weight.detach() for weight in weights])


def stack(factors: list[Tensor], target: Tensor, seen: Tensor, steps: int) -> Tensor:
    """Train all networks of one depth at once and return their end-to-end matrices."""
    rates = torch.tensor([rate for rate, _, _ in SWEEP])
    weight = seen.float() / seen.sum((-2, -1), keepdim=True)
    run = descend(factors, SquaredError(target, weight), rates, n_steps=steps, tolerance=TOLERANCE, rule=GroupRMSprop())
    return product(run.factors)


def compare(depth: int, steps: int, repeats: int, published: bool) -> tuple[Timing, Timing]:
    """Time the 16 networks of one depth in turn, print the comparison, and return both timings."""
    target = low_rank_matrix((SIZE, SIZE), RANK, generator("target"), dtype=torch.float32)
    seen = torch.stack([observed_entries((SIZE, SIZE), n_train, generator("seen", n_train)) for _, _, n_train in SWEEP])
    scales = torch.tensor([scale for _, scale, _ in SWEEP]) ** (1 / depth)
    dims = (SIZE,) * (depth + 1)
    start = gaussian_factors(dims, scales, generator("start", depth), (len(SWEEP),), dtype=torch.float32)

    def one_by_one() -> Tensor:
        return torch.stack(
            [
                plain([factor[k] for factor in start], target, seen[k], rate, steps, published)
                for k, (rate, _, _) in enumerate(SWEEP)
            ]
        )

    ours, theirs = race(lambda: stack(start, target, seen, steps), one_by_one, repeats)
    kind = "published" if published else "plain"
    difference = max(largest_relative_difference(a, b) for a, b in zip(ours.result, theirs.result, strict=True))
    line(f"{len(SWEEP)} networks of depth {depth}, {steps} steps, {kind}", ours, theirs, difference)
    return ours, theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=timing.THREADS)
    options = parser.parse_args()
    timing.THREADS = options.threads
    heading()
    for published in (False, True):
        pairs = [compare(depth, options.steps, options.repeats, published) for depth in DEPTHS]
        ours, theirs = (
            Timing(sum(t.wall for t in timings), sum(t.processor for t in timings), None)
            for timings in zip(*pairs, strict=True)
        )
        what = f"{len(SWEEP) * len(DEPTHS)} networks, {'published' if published else 'plain'}"
        line(what, ours, theirs, float("nan"))


if __name__ == "__main__":
    main()
