"""What looser limits of a step of the gradient flow change: default limits against C = 0.5 and G = 1.

python benchmarks/step_limits.py [--seeds 10]

Both train the same networks with one hidden layer of rectifiers on the hinge loss at α = 1e-4 until every margin is
reached, on small samples of the sphere and of the stripe. Printed are the steps and seconds of processor time that each
takes, how many of the networks reach every margin, and over the seeds where both do, the mean of the test error and of
the number of sets of training points that activate some neuron, with the mean difference and its standard error.
"""

from __future__ import annotations

import argparse
import time
from typing import NamedTuple

import numpy as np
import torch

from learnscope.distributions.interfaces import sphere, stripe
from learnscope.dynamics.shallow import Stop, flow
from learnscope.dynamics.step_control import Limits
from learnscope.networks.one_hidden_layer import one_hidden_layer
from learnscope.observables.neurons import Neurons, active_sets
from learnscope.randomness import generator

TIGHT, LOOSE = Limits(0.1, 1e-4), Limits(0.5, 1.0)
STOP = Stop(max_steps=400_000)


class Task(NamedTuple):
    """What is learned: a name, the interface, its dimension, the number of points, and the width of the network."""

    name: str
    interface: str
    dim: int
    n: int
    width: int
    mirrored: bool


TASKS = (
    Task("attractors", "sphere", 2, 32, 200, False),
    Task("sphere4", "sphere", 4, 64, 400, True),
    Task("stripe5", "stripe", 5, 64, 400, True),
    Task("sphere10", "sphere", 10, 64, 400, True),
)


def trained(task: Task, seed: int, limits: Limits) -> tuple[float, ...]:
    """Return whether every margin was reached, steps, seconds, test error, and sets of active points."""
    source = generator("limits of steps", task.name, seed)
    draw = sphere if task.interface == "sphere" else stripe
    (x, y), (unseen, label) = draw(task.n, task.dim, source), draw(4000, task.dim, source)
    start = one_hidden_layer(task.width, task.dim, source, activation="normalised_relu", mirrored=task.mirrored)
    begin = time.process_time()
    (run,) = flow(
        [start], x, y, alpha=1e-4, stop=STOP, max_output_change=limits.output, max_gradient_change=limits.gradient
    )
    seconds = time.process_time() - begin
    neurons = Neurons(run.network.weights, run.network.biases, run.network.outputs)
    error = float((run.predict(unseen).sign() != label).double().mean())
    return run.stopped_by == "margin", run.n_steps, seconds, error, active_sets(neurons, x)


def compare(task: Task, seeds: int) -> None:
    """Train with both limits and print one line for each quantity."""
    tight, loose = (np.array([trained(task, seed, limits) for seed in range(seeds)]) for limits in (TIGHT, LOOSE))
    reached = (tight[:, 0] * loose[:, 0]).astype(bool)
    print(f"{task.interface}, d = {task.dim}, p = {task.n}, h = {task.width}: every margin reached by ", end="")
    print(
        f"{tight[:, 0].sum():.0f} with the default limits and {loose[:, 0].sum():.0f} with the loose ones, of {seeds}"
    )
    for name, at in (("steps", 1), ("seconds", 2), ("test error", 3), ("sets of active points", 4)):
        a, b = tight[reached, at], loose[reached, at]
        deviation = (b - a).std(ddof=1) / len(a) ** 0.5
        print(f"  {name:24} {a.mean():10.4g} {b.mean():10.4g}   difference {(b - a).mean():9.2g} ± {deviation:.1g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warm = one_hidden_layer(4, 2, generator("warm"), activation="normalised_relu")
    x = torch.eye(2, dtype=torch.float64)
    flow([warm], x, torch.tensor([1.0, -1.0], dtype=torch.float64), alpha=1.0, stop=Stop(max_steps=2))
    for task in TASKS:
        compare(task, options.seeds)


if __name__ == "__main__":
    main()
