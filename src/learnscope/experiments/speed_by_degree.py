"""Networks learn low degrees first, each at the rate that is its eigenvalue; without biases they miss odd ones.

A network of one hidden layer of ReLUs on the sphere in ℝ³, f(x) = √(2/h) Σ_j a_j relu(w_j · x + b_j), learns its first
layer alone by gradient descent on half the mean square of its error over the sphere. While it is lazy the part of the
error in harmonics of degree k falls as (1 - η λ_k)^t, with the eigenvalues of κ(t) = (t + 1)(π - arccos t)/π, or of
t (π - arccos t)/π without biases. These fall as k⁻³, and without biases they vanish at odd degrees from 3 on.

The target is a sum of harmonics of degrees 1 ... 6 about a random axis, each with the same mean square; it is learned
when half of a degree's part is left. If it is so large that the neurons have to turn, the rates no longer hold.

Neurons start in pairs of opposite a_j = ±1, w from N(0, 1), b = 0, so that f = 0. The sphere is a grid that is
symmetric about the origin; one that is not couples odd degrees to even ones.

Sources: R. Basri, D. Jacobs, Y. Kasten, S. Kritchman (2019), The convergence rate of neural networks for learned
functions of different frequencies, sections 4 and 5, for spheres and biases.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor
from xarray.ufuncs import exp, log

from learnscope import laboratory
from learnscope.distributions.harmonics import zonal_harmonics
from learnscope.distributions.spherical import sphere_grid, uniform_on_sphere
from learnscope.kernels.analytic import funk_hecke
from learnscope.laboratory import SEEDS, Claim, Criterion, Experiment, Point, median_over_seeds, within
from learnscope.laboratory.claims import Measure
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, depth

DEGREES = np.arange(1, 7)
TIMED = slice(1, 5)  # degrees that are learned to half in the steps of a run
ODD = [3, 5]  # degrees that a network without biases misses
RATE = 1.0  # η; descent is stable below 2/λ_0 = 2.7
RUNS = {"with biases": (1.0, 0.1), "without biases": (0.0, 0.1), "with biases, large target": (1.0, 10.0)}
KEPT = 60  # steps to draw


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    width: int = Field(1000, ge=2, multiple_of=2, description="neurons h")
    grid_degree: int = Field(19, ge=2 * int(DEGREES[-1]), description="of the grid, odd for one symmetric about 0")
    n_steps: int = Field(600, ge=400, description="steps of gradient descent")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Train a network with biases, one without, and one on a large target."""
    grid = sphere_grid(point.grid_degree)
    axis = uniform_on_sphere(1, 3, generator).expand(len(DEGREES), -1)
    targets = zonal_harmonics(grid.points, axis).float()
    biases, sizes = (torch.tensor(each) for each in zip(*RUNS.values(), strict=True))
    inputs = torch.cat(
        [grid.points.float().expand(len(RUNS), -1, -1), biases[:, None, None].expand(-1, len(targets), 1)], -1
    )
    weights = torch.randn(len(RUNS), point.width // 2, 4, generator=generator)
    weights[..., 3] = 0
    left = descend(inputs, grid.weights.float(), targets, sizes, weights, point.n_steps)
    spectra = torch.stack([eigenvalues(float(bias)) for bias in biases])
    kept = np.unique(np.geomspace(1, point.n_steps, KEPT).round().astype(int)) - 1
    return xr.Dataset(
        {
            "left": (["step", "run", "degree"], left[kept]),
            "half_time": (["run", "degree"], half_times(left)),
            "predicted_time": (["run", "degree"], math.log(0.5) / torch.log1p(-RATE * spectra.clamp(min=1e-12))),
            "eigenvalue": (["run", "degree"], spectra),
            "left_at_end": (["run", "degree"], left[-1]),
        },
        {"run": list(RUNS), "degree": DEGREES, "step": kept + 1},
    )


def eigenvalues(bias: float) -> Tensor:
    """Return the eigenvalues of κ(t) = (t + bias)(π - arccos t)/π for the degrees of the target."""
    spectrum = funk_hecke(lambda t: (t + bias) * (math.pi - torch.arccos(t)) / math.pi, 3, int(DEGREES[-1]))
    return spectrum[torch.from_numpy(DEGREES)]


def descend(inputs: Tensor, measure: Tensor, targets: Tensor, sizes: Tensor, weights: Tensor, steps: int) -> Tensor:
    """Train first layers by gradient descent, and return what is left of each harmonic: [steps, runs, degrees].

    Args:
        inputs: [runs, n, 4] points of the sphere and the input of the biases.
        measure: [n] weights of the points, which sum to one.
        targets: [n, degrees] harmonics.
        sizes: [runs] by which their sum is multiplied.
        weights: [runs, h/2, 4] initial ones of one half; the other half copies them.
        steps: number of steps.
    """
    weights = torch.cat([weights, weights], 1)
    half = weights.shape[1] // 2
    signs = torch.cat([torch.ones(half), -torch.ones(half)]) * (2 / weights.shape[1]) ** 0.5
    wanted = sizes[:, None] * targets.sum(1)
    left = []
    for _ in range(steps):
        hidden = (inputs @ weights.mT).relu_()
        error = measure * (wanted - hidden @ signs)
        left.append(error @ targets / sizes[:, None])
        pulled = (hidden > 0).to(hidden).mT @ (error[..., None] * inputs)
        weights.add_(signs[:, None] * pulled, alpha=RATE)
    return torch.stack(left)


def half_times(left: Tensor) -> Tensor:
    """Return when half is left of each degree, exact for geometric decay, at most the number of steps: [...].

    Args:
        left: [steps, ...], 1 at first.
    """
    below = left <= 0.5
    after = below.int().argmax(0).clamp(min=1)
    ends = torch.stack([left.gather(0, (after - back)[None])[0] for back in (1, 0)]).clamp(min=1e-6).log()
    inside = (ends[0] - math.log(0.5)) / (ends[0] - ends[1])
    return torch.where(below.any(0), after - 1 + inside, len(left))


def _time_over_predicted(run: str) -> Measure:
    """Return the time to half over that predicted, mean of logs over degrees."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        times = data[["half_time", "predicted_time"]].sel(run=run, degree=TIMED)
        return exp(log(times["half_time"] / times["predicted_time"]).mean("degree"))

    return measure


def _odd_left(run: str) -> Measure:
    return lambda data: data["left_at_end"].sel(run=run, degree=ODD).mean("degree")


CLAIM = Claim(
    name="speed-by-degree",
    statement="In the lazy regime gradient descent learns harmonics of degree k on the sphere at the rate of the "
    "kernel's eigenvalue λ_k, low degrees first; without biases odd degrees from 3 on are not learned.",
    source="Basri, Jacobs, Kasten, Kritchman 2019",
    criteria=(
        Criterion(
            name="time to half of a degree over that predicted, mean over degrees 1 to 5",
            predicted=1.0,
            measured=_time_over_predicted("with biases"),
            band=within(0.15),
            reason="eigenvalues of random features fluctuate by up to 0.2 for single degrees at this width; the mean "
            "over five of them by half of that",
            control=_time_over_predicted("with biases, large target"),
            control_name="a large target, for which the neurons turn",
        ),
        Criterion(
            name="share of degrees 3 and 5 that is left without biases",
            predicted=1.0,
            measured=_odd_left("without biases"),
            band=within(absolute=0.01),
            reason="exact at any width and time: the odd part of max(u, 0) is u/2, of degree 1; rounding of float32",
            control=_odd_left("with biases"),
            control_name="with biases",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw what is left of each degree over time, and times by degree."""
    choices = []
    for run in data["run"].values:
        lines = [
            median_over_seeds(data["left"].sel(run=run, degree=k), f"degree {k}", depth(i, len(DEGREES)))
            for i, k in enumerate(DEGREES)
        ]
        choices.append(Choice(str(run), Axis("left", "part that is left", range=(-0.1, 1.1)), (Lines(tuple(lines)),)))
    return (
        Figure(
            "parts",
            "Low degrees first",
            Caption(
                shows="What is left of the harmonics of each degree in the error, over steps of gradient descent. "
                f"{SEEDS}",
                look_for="One degree after the other; without biases degrees 3 and 5 stay.",
                source="Basri, Jacobs, Kasten, Kritchman 2019",
            ),
            charts=(Chart(Axis("step", "step", "log", data["step"].values), tuple(choices), starts=(0, 1)),),
        ),
        _times_figure(data),
    )


def _times_figure(data: xr.Dataset) -> Figure:
    lines = []
    for i, run in enumerate(RUNS):
        lines.append(median_over_seeds(data["half_time"].sel(run=run), run, depth(i, len(RUNS))))
    theory = data["predicted_time"].sel(run="with biases")
    lines.append(median_over_seeds(theory, "with biases, theory", depth(0, len(RUNS)), "dashed"))
    return Figure(
        "times",
        "The time that a degree takes",
        Caption(
            shows=f"Steps until half of a degree is learned; those that end at the top were not. {SEEDS}",
            look_for="With biases the times follow the eigenvalues (dashed), about k³. Large targets take longer than "
            "the kernel at the start says.",
            source="Basri, Jacobs, Kasten, Kritchman 2019",
        ),
        charts=(
            Chart(
                Axis("degree", "degree k", "log", DEGREES),
                (Choice("steps", Axis("steps", "steps to half", "log"), (Lines(tuple(lines)),)),),
            ),
        ),
    )


EXPERIMENT = Experiment(
    name="speed-by-degree",
    title="The speed at which networks learn each degree",
    source="Basri, Jacobs, Kasten, Kritchman 2019",
    settings=Settings,
    paper={"width": 16_000, "grid_degree": 41, "n_steps": 3000},
    simulate=simulate,
    claims=(CLAIM,),
    figures=figures,
)
