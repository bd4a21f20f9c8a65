"""A step of the gradient flow of modules, on the examples in pieces that the caches hold, and on all of them at once.

python benchmarks/module_flow.py [--repeats 5]

Networks are those of the experiments on images, on random images of the size of MNIST. "Theirs" is the same step
without pieces; the difference is the largest of the velocities, relative to their largest entry. Then a whole training
in the feature regime on scikit-learn's digits, until 95 % of the margins are reached: "theirs" sends all examples
forward and backward in each step, also those whose pulls do not count; the difference is that of the predictions, which
steps of the flow amplify.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch
from torch import Tensor, nn

from learnscope.distributions.even_or_odd import even_or_odd
from learnscope.distributions.images import digits
from learnscope.dynamics import module_flow
from learnscope.dynamics.margin_losses import MarginLoss, margin_loss
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


def training(n: int, backward: float) -> Tensor:
    """Return the predictions of a network trained on digits; a negative ``backward`` sends all examples."""
    source = generator("a training of modules", n)
    sample = even_or_odd(digits(), n, 1, source)
    channels, hidden = 16, 64
    network = convolutional(sample.x.shape[1:], (channels,) * 3, STRIDES, source, hidden=(hidden,))
    module_flow.BACKWARD = backward
    loss, stop = MarginLoss("soft_hinge", 20.0), module_flow.Stop(fraction=0.95)
    run = module_flow.flow(
        network,
        sample.x,
        sample.y,
        alpha=1e-4,
        loss=loss,
        stop=stop,
        max_output_change=0.5,
        max_gradient_change=0.1,
    )
    return run.outputs


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
    backward = module_flow.BACKWARD
    training(100, backward)
    for n in (300, 1200):
        ours, theirs = race(lambda p=n: training(p, backward), lambda p=n: training(p, -1.0), 1)
        line(f"a training on digits, p = {n:,}", ours, theirs, largest_relative_difference(ours.result, theirs.result))


if __name__ == "__main__":
    main()
