"""Two-layer linear networks at any width: one step against the weights themselves, and the phase diagram of Tu et al.

python benchmarks/mixed_dynamics.py [--cells 60 | --all]
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

import torch

from learnscope.distributions.noisy_low_rank import noisy_low_rank
from learnscope.dynamics.two_layer_linear import (
    Factors,
    ReducedNetwork,
    direct_step,
    gradient_step,
    random_factors,
    random_network,
    reduced,
)
from learnscope.experiments.mixed_phase_diagram import EXPERIMENT, Settings, cell
from learnscope.randomness import generator
from timing import Timing, heading, largest_relative_difference, line, race

PROCESSES = 2
OURS = 50  # steps of ours in one round, which take about a tenth of one step of the weights
ALLOWED = 600.0  # seconds for the whole diagram


def steps_of_ours(network: ReducedNetwork, target: torch.Tensor, rate: float, steps: int) -> ReducedNetwork:
    for _ in range(steps):
        network = gradient_step(network, network.product - target, rate)
    return network


def steps_of_weights(factors: Factors, target: torch.Tensor, rate: float, steps: int) -> Factors:
    for _ in range(steps):
        factors = direct_step(factors, factors.second @ factors.first - target, rate)
    return factors


def race_steps(dim: int, width: int, repeats: int) -> None:
    """Time one step of each in turn, from starts of one law."""
    variance, rate = dim**-1.85, 1 / (50 * dim)
    target = noisy_low_rank(dim, 5, generator("target")).target
    network = random_network(dim, dim, width, variance, generator("ours"))
    factors = random_factors(dim, dim, width, variance, generator("weights"))
    ours, weights = race(
        lambda: steps_of_ours(network, target, rate, OURS), lambda: steps_of_weights(factors, target, rate, 1), repeats
    )
    one = Timing(ours.wall / OURS, ours.processor / OURS, None)
    line(f"one step, d = {dim}, w = {width}, float64", one, weights, difference(dim, 1000))


def difference(dim: int, width: int) -> float:
    """Return the largest relative difference of A after 50 steps from the same weights, at a small width."""
    target = noisy_low_rank(dim, 5, generator("target")).target
    factors = random_factors(dim, dim, width, 1 / width, generator("small"))
    network = steps_of_ours(reduced(factors), target, 1e-4, 50)
    weights = steps_of_weights(factors, target, 1e-4, 50)
    return largest_relative_difference(network.product, weights.second @ weights.first)


def one_cell(place: tuple[float, float]) -> dict[str, float]:
    """Train one cell of the diagram, on the one target of all, in a process of its own."""
    torch.set_num_threads(1)
    settings = Settings.model_validate(EXPERIMENT.paper)
    matrices = noisy_low_rank(settings.dim, settings.rank, generator("diagram"))
    return cell(matrices, *place, settings.steps, generator("cell", *place))


def time_diagram(cells: int | None) -> None:
    """Train all cells, or a random sample of them, over processes of one thread each."""
    settings = Settings.model_validate(EXPERIMENT.paper)
    places = [(variance, width) for variance in settings.gamma_variance for width in settings.gamma_width]
    order = torch.randperm(len(places), generator=generator("sample")).tolist()
    chosen = [places[k] for k in order[: cells or len(places)]]
    with ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(one_cell, places[:PROCESSES]))  # so that imports are not counted
        start = time.perf_counter()
        measured = list(pool.map(one_cell, chosen))
        wall = time.perf_counter() - start
    whole = wall * len(places) / len(chosen)
    steps = sum(each["last_step"] + 1 for each in measured)
    print(f"diagram, d = {settings.dim}: {len(chosen)} cells, {steps} steps, {wall:.1f} s on {PROCESSES} processes")
    if len(chosen) < len(places):
        print(f"extrapolated from this random sample to {len(places)} cells; --all trains them all")
    print(f"  {len(places)} cells take {whole:.0f} s, {'under' if whole < ALLOWED else 'ABOVE'} {ALLOWED:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dim", type=int, default=200)
    parser.add_argument("--width", type=int, default=150424)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cells", type=int, default=60, help="random cells of the diagram to train")
    parser.add_argument("--all", action="store_true", help="train all cells")
    options = parser.parse_args()
    heading()
    race_steps(options.dim, options.width, options.repeats)
    time_diagram(None if options.all else options.cells)


if __name__ == "__main__":
    main()
