"""Steps that are implicit in the hinge loss against those of Euler: steps, seconds, and how far each is from the flow.

python benchmarks/proximal_flow.py [--seeds 3] [--largest 10000]

Networks with one hidden layer of rectifiers learn the stripe at α = 1e-6 until every margin is reached, on one thread.
First small ones, whose flow is followed by short steps of Euler (C = 0.1, G = 1e-4): printed are the medians over seeds
of steps, seconds, the relative distance of the parameters at the end from those of the short steps, and the test
errors. Where networks are sensitive both kinds of coarse steps end far from short ones, so their test errors are then
compared over more seeds, by the mean logarithm of their ratio with its standard error.

Then h = 1,000 neurons in ten dimensions and ever more examples, in single precision; Euler's coarse steps (C = 0.5,
G = 0.01) are timed for a while, of --patience seconds each, and said to be "cut" if they did not arrive. The fitted
exponents are those of steps and seconds in the number of examples. Last, as many neurons as examples.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from learnscope.distributions.interfaces import Sample, stripe
from learnscope.dynamics.shallow import Run, Stop, flow, proximal_flow
from learnscope.networks.one_hidden_layer import OneHiddenLayer, one_hidden_layer
from learnscope.randomness import generator

ALPHA, N_TEST = 1e-6, 10_000
SMALL = ((200, 64, 5), (200, 128, 5), (400, 256, 3))  # neurons, examples, dimensions
SIZES = (128, 512, 2048, 8192)


class Result(NamedTuple):
    """What a training came to."""

    run: Run
    seconds: float
    error: float


def drawn(width: int, n: int, dim: int, seed: int, dtype: torch.dtype) -> tuple[OneHiddenLayer, Sample, Sample]:
    """Return a network, what it learns and what it is tested on."""
    source = generator("steps implicit in the loss", width, n, dim, seed)
    train, test = (stripe(size, dim, source) for size in (n, N_TEST))
    network = one_hidden_layer(width, dim, source, activation="normalised_relu", dtype=dtype)
    seen, unseen = (Sample(each.x.to(dtype), each.y.to(dtype)) for each in (train, test))
    return network, seen, unseen


def trained(train: Callable[..., list[Run]], task: tuple[OneHiddenLayer, Sample, Sample], **options: object) -> Result:
    """Train and time it."""
    network, seen, unseen = task
    begin = time.process_time()
    (run,) = train([network], seen.x, seen.y, alpha=ALPHA, **options)
    seconds = time.process_time() - begin
    return Result(run, seconds, float((run.predict(unseen.x).sign() != unseen.y).double().mean()))


def distance(run: Run, other: Run) -> float:
    """Return |θ − θ'| / |θ'| at the ends of two trainings."""
    ends = [torch.cat([n.weights.flatten(), n.biases, n.outputs]).double() for n in (run.network, other.network)]
    return float((ends[0] - ends[1]).norm() / ends[1].norm())


def compare_with_short_steps(seeds: int) -> None:
    """Print how far coarse steps of both kinds end from short ones."""
    print(f"{'small networks':30} {'steps':>9} {'seconds':>8} {'distance':>9} {'test error':>10}")
    for width, n, dim in SMALL:
        rows: dict[str, list[tuple[float, ...]]] = {}
        for seed in range(seeds):
            task, stop = drawn(width, n, dim, seed, torch.float64), Stop(max_steps=5_000_000)
            short = trained(flow, task, stop=stop)
            coarse = trained(flow, task, stop=stop, max_output_change=0.5, max_gradient_change=1e-2)
            for name, found in (("short", short), ("coarse", coarse), ("implicit", trained(proximal_flow, task))):
                row = (found.run.n_steps, found.seconds, distance(found.run, short.run), found.error)
                rows.setdefault(name, []).append(row)
        for name, found in rows.items():
            steps, seconds, far, error = (statistics.median(column) for column in zip(*found, strict=True))
            print(f"h {width}, p {n}, d {dim}, {name:10} {steps:13.0f} {seconds:8.2f} {far:9.3f} {error:10.4f}")


def compare_test_errors(seeds: int) -> None:
    """Print by how much test errors differ in the mean."""
    print()
    for width, n, dim in SMALL:
        logarithms = []
        for seed in range(seeds):
            task = drawn(width, n, dim, 1000 + seed, torch.float64)
            coarse = trained(flow, task, max_output_change=0.5, max_gradient_change=1e-2)
            logarithms.append(np.log(trained(proximal_flow, task).error / coarse.error))
        mean, deviation = np.mean(logarithms), np.std(logarithms, ddof=1) / seeds**0.5
        print(f"h {width}, p {n}, d {dim}: log of the test error, implicit over coarse: {mean:.3f} ± {deviation:.3f}")


def compare_growth(largest: int, patience: float) -> None:
    """Print steps and seconds of both kinds against the number of examples, and the fitted exponents."""
    print(
        f"\n{'h = 1000, d = 10':16} {'implicit: steps':>16} {'seconds':>8} {'error':>7}   coarse: steps, seconds, error"
    )
    sizes, found = [n for n in SIZES if n <= largest], []
    for n in sizes:
        task = drawn(1000, n, 10, 0, torch.float32)
        ours = trained(proximal_flow, task)
        found.append(ours)
        print(f"p = {n:<12} {ours.run.n_steps:16d} {ours.seconds:8.2f} {ours.error:7.4f}", end="   ", flush=True)
        rate = trained(flow, task, stop=Stop(max_steps=200), max_output_change=0.5, max_gradient_change=1e-2)
        affordable = max(200, round(patience / (rate.seconds / 200)))
        stop = Stop(max_steps=affordable)
        theirs = trained(flow, task, stop=stop, max_output_change=0.5, max_gradient_change=1e-2)
        fitted = float((theirs.run.outputs * task[1].y > 1).double().mean())
        told = "" if theirs.run.converged else f", cut with {100 * fitted:.1f} % of the margins reached"
        print(f"{theirs.run.n_steps}, {theirs.seconds:.1f}, {theirs.error:.4f}{told}", flush=True)
    logs = np.log([[result.run.n_steps, result.seconds] for result in found])
    steps, seconds = np.polyfit(np.log(sizes), logs, 1)[0]
    print(f"growth in p: steps p^{steps:.2f}, seconds p^{seconds:.2f}")


def largest_of_all(size: int) -> None:
    """Print what as many neurons as examples take."""
    found = trained(proximal_flow, drawn(size, size, 10, 0, torch.float32))
    print(f"\nh = p = {size}, d = 10: {found.run.n_steps} steps, {found.seconds:.0f} s, test error {found.error:.4f}")


def main() -> None:
    """Read options and run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--largest", type=int, default=10_000)
    parser.add_argument("--patience", type=float, default=60.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for train in (flow, proximal_flow):  # compiles
        for dtype in (torch.float32, torch.float64):
            network, seen, unseen = drawn(4, 16, 2, 0, dtype)
            trained(train, (network, seen, unseen), stop=Stop(max_steps=2))
    compare_with_short_steps(options.seeds)
    compare_test_errors(max(2, 4 * options.seeds))
    compare_growth(options.largest, options.patience)
    largest_of_all(options.largest)


if __name__ == "__main__":
    main()
