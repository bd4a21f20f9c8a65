"""A step of the gradient flow of modules, on the examples in pieces that the caches hold, and on all of them at once.

python benchmarks/module_flow.py [--repeats 5]

Networks are those of the experiments on images, on random images of the size of MNIST. "Theirs" is the same step
without pieces; the difference is the largest of the velocities, relative to their largest entry.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch
from torch import Tensor, nn

from learnscope.dynamics.margin_losses import margin_loss
from learnscope.dynamics.module_run import ModuleProblem, problem_of
from learnscope.networks.unit_weights import convolutional, fully_connected
from learnscope.randomness import generator
from timing import heading, largest_relative_difference, line, race

SIDE, STRIDES = 28, (1, 2, 2)


def networks() -> list[tuple[str, nn.Sequential, int]]:
    """Return names, networks and numbers of examples."""
    source = generator("a step of the flow of modules")
    found: list[tuple[str, nn.Sequential, int]] = [
        (
            f"{channels} channels, {hidden} units",
            convolutional((1, SIDE, SIDE), (channels,) * 3, STRIDES, source, hidden=(hidden,)),
            n,
        )
        for channels, hidden, n in ((8, 32, 1024), (16, 64, 512), (64, 256, 256))
    ]
    return [*found, ("five layers of 300", fully_connected(SIDE**2, (300,) * 5, source), 4096)]


def step(problem: ModuleProblem) -> Tensor:
    """Return the velocity at the start."""
    state, output = problem.at(problem.start())
    return problem.velocity(state, output, problem.pulls(torch.zeros_like(output.detach())))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="of each step")
    repeats = parser.parse_args().repeats
    heading()
    for name, network, n in networks():
        source = generator("examples of the flow of modules", n)
        shape = (n, SIDE**2) if isinstance(network[0], nn.Linear) else (n, 1, SIDE, SIDE)
        x, y = torch.randn(shape, generator=source), torch.randn(n, generator=source).sign()
        pieces = problem_of(network, x, y, 1.0, margin_loss("hinge"))
        whole = replace(pieces, piece=n)
        ours, theirs = race(lambda p=pieces: step(p), lambda p=whole: step(p), repeats)
        difference = largest_relative_difference(ours.result, theirs.result)
        line(f"{name}, p = {n:,}, {-(-n // pieces.piece)} pieces", ours, theirs, difference)


if __name__ == "__main__":
    main()
