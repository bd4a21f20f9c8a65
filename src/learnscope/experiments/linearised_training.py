"""Networks and their linearisation: one and the same in the lazy regime, apart in the feature regime.

A network f and its first-order expansion in the weights are trained side by side from the same weights, as
F = α (f − f₀) on 1/(2n α²) Σ (F(xᵢ) − yᵢ)², by gradient descent at the same learning rate. What the linearisation
predicts after any number of steps has a closed form in the tangent kernel Θ₀, where α has no place. The two differ by
what the kernel changes: by 1/α for large α, and as much as two unlike kernels do for small α. With rectifiers, whose
sign changes at some examples, the difference falls by α^(−½) only. The task is that of lazy-training, y = sign(x₁ x₂);
α √h tells the regimes apart.

Sources: L. Chizat, E. Oyallon, F. Bach (2019), On lazy training in differentiable programming, theorem 2.3; J. Lee et
al. (2019), Wide neural networks of any depth evolve as linear models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor
from xarray.ufuncs import log

from learnscope import laboratory
from learnscope.dynamics.gradient_descent import log_spaced_steps
from learnscope.dynamics.scaled_outputs import descend, linearised
from learnscope.kernels import max_learning_rate
from learnscope.laboratory import (
    SEEDS,
    Claim,
    Criterion,
    Experiment,
    Point,
    at_least,
    at_most,
    median_over_seeds,
    within,
)
from learnscope.networks.activations import activation
from learnscope.networks.ntk_parametrised import NTKParametrised, unit_weights
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, depth

Measure = Callable[[xr.Dataset], xr.DataArray]

GROWTH = 4.0  # the kernel grows by up to about this over α √h, and learning rates are smaller by as much
DISTANCE = "|F − F_lin|/|F_lin|"


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    n_train: int = Field(20, ge=2, description="examples")
    n_test: int = Field(100, ge=1, description="examples on which predictions are compared")
    dim: int = Field(10, ge=2, description="numbers d in an example")
    width: int = Field(200, ge=1, description="neurons h of each hidden layer")
    depth: int = Field(2, ge=2, description="layers of weights")
    activations: tuple[Literal["relu", "tanh"], ...] = Field(("relu", "tanh"), description="σ, tanh among them")
    control: tuple[float, ...] = Field(
        (0.1, 1.0, 10.0, 100.0, 1e3, 1e4), min_length=4, description="α √h, increasing from ≤ 1 to ≥ 1000"
    )
    rate: float = Field(0.5, gt=0, lt=1, description="learning rate over the largest stable one")
    n_steps: int = Field(5000, ge=1, description="most steps of a run")
    tolerance: float = Field(1e-3, gt=0, description="mean of (F − y)² at which a run ends")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Train networks at every scale for each activation, and follow them and their linearisation."""
    x = torch.randn(point.n_train + point.n_test, point.dim, generator=generator, dtype=torch.float64)
    y = torch.sign(x[: point.n_train, 0] * x[: point.n_train, 1])
    weights = unit_weights((point.dim, *(point.width,) * (point.depth - 1), 1), generator)
    runs = [_followed(NTKParametrised(activation(name)), weights, x, y, point) for name in point.activations]
    return xr.concat(runs, "activation").assign_coords(activation=list(point.activations), control=list(point.control))


def _followed(network: NTKParametrised, weights: list[Tensor], x: Tensor, y: Tensor, point: Point) -> xr.Dataset:
    n, control = point.n_train, torch.tensor(point.control, dtype=x.dtype)
    alpha, kernel = control / point.width**0.5, network.tangent_kernel(weights, x, x[:n])
    rates = point.rate * max_learning_rate(kernel[:n]) / (1 + GROWTH / control)
    run = descend(
        network,
        [W.expand(len(control), *W.shape) for W in weights],
        x[:n],
        y,
        alpha=alpha,
        learning_rate=rates,
        n_steps=point.n_steps,
        tolerance=point.tolerance,
        observers={"outputs": lambda now: network.outputs(now, x)},
        observed_steps=log_spaced_steps(point.n_steps, 6),
    )
    F = alpha[:, None] * (run.observed["outputs"] - network.outputs(weights, x))
    linear = linearised(kernel, y, F[0], rates, torch.minimum(run.steps[:, None], run.n_steps))
    distance = (F - linear)[..., n:].norm(dim=-1) / linear[-1, :, n:].norm(dim=-1)
    curves = {"loss": _loss(F, y), "linear_loss": _loss(linear, y), "distance": distance}
    data = xr.Dataset({name: (["step", "control"], curve.numpy()) for name, curve in curves.items()})
    data["converged"] = "control", run.converged.numpy()
    return data.assign_coords(step=run.steps.numpy())


def _loss(F: Tensor, y: Tensor) -> Tensor:
    return (F[..., : len(y)] - y).square().mean(-1)


def exponent(low: float, high: float) -> Measure:
    """Return the measure of the exponent in α of the distance at the end, with tanh, over a range of α √h."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        values = log(data["distance"].sel(activation="tanh").isel(step=-1).sel(control=slice(low, high)))
        fit = values.assign_coords(control=np.log(values["control"].values)).polyfit("control", 1)
        return fit["polyfit_coefficients"].sel(degree=1, drop=True)

    return measure


def at_the_end(place: int, bound: Literal["least", "largest"]) -> Measure:
    """Return the measure of the distance at the end at the first or last α √h, the least or largest of activations."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        values = data["distance"].isel(step=-1, control=place)
        return values.min("activation") if bound == "least" else values.max("activation")

    return measure


CLAIM = Claim(
    name="lazy-linearisation",
    statement="In the lazy regime, α √h ≫ 1, a network follows its linearisation through training with an error of "
    "order 1/α; in the feature regime it departs from it.",
    source="Chizat, Oyallon, Bach 2019, theorem 2.3; Jacot, Gabriel, Hongler 2018; Lee et al. 2019",
    criteria=(
        Criterion(
            name=f"exponent of {DISTANCE} in α at α √h ≥ 100, tanh",
            predicted=-1.0,
            measured=exponent(100, np.inf),
            band=within(absolute=0.15),
            reason="the second order is √h/(α √h) = 0.14 of the first at α √h = 100 and h = 200, and 0.014 at 1000",
            control=exponent(0, 1),
            control_name="the same at α √h ≤ 1",
        ),
        Criterion(
            name=f"{DISTANCE} at the largest α √h, the larger of both activations",
            predicted=0.0,
            measured=at_the_end(-1, "largest"),
            band=at_most(0.02),
            reason="signs that change make (10⁴ h)^(−½) = 7e-4 in the kernel; thirty times that, as the inverse of a "
            "kernel with a condition number of fifty makes the most of it",
            control=at_the_end(0, "least"),
            control_name="the least α √h",
        ),
        Criterion(
            name=f"{DISTANCE} at the least α √h, the lesser of both activations",
            predicted=1.0,
            measured=at_the_end(0, "least"),
            band=at_least(0.3),
            reason="predictions of unlike kernels differ by about their own size; a third of that",
            control=at_the_end(-1, "largest"),
            control_name="the largest α √h",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw errors and distances through training, from the first step on."""
    data = data.isel(step=slice(1, None))
    names, control = data["activation"].values, data["control"].values
    choices = []
    for title, solid, dashed in (("mean of (F − y)²", "loss", "linear_loss"), (DISTANCE, "distance", None)):
        for name in names:
            part, series = data.sel(activation=name), []
            for k, value in enumerate(control):
                colour = depth(k, len(control))
                series.append(median_over_seeds(part[solid].sel(control=value), f"α √h = {value:g}", colour))
                if dashed:
                    behind = part[dashed].sel(control=value).median("seed").values
                    series.append(Series(f"linearised, {value:g}", behind, colour, style="dashed"))
            choices.append(Choice(f"{title}, {name}", Axis(title, title, "log"), (Lines(tuple(series)),)))
    step = Axis("step", "steps", "log", data["step"].values)
    return (
        Figure(
            "training",
            "Networks and their linearisation in training",
            Caption(
                shows="The error on the examples of the network and of its linearisation (dashed) at equal steps and "
                "learning rates, which are smaller at small α √h; their distance on new examples. Runs end at the "
                f"tolerance and are drawn on from there. {SEEDS}",
                look_for="At the largest α √h both are one. The smaller α √h, the earlier the network leaves its "
                "linearisation, and the faster it learns than that.",
                source="Chizat, Oyallon, Bach 2019, section 2",
            ),
            charts=(Chart(step, tuple(choices), choice_name="Show", starts=(1, len(names) + 1), height=420),),
        ),
    )


EXPERIMENT = Experiment(
    name="linearised-training",
    title="Networks and their linearisation",
    source="Chizat, Oyallon, Bach 2019; Lee et al. 2019",
    settings=Settings,
    paper={
        "n_train": 200,
        "n_test": 1000,
        "depth": 4,
        "width": 1024,
        "control": tuple(10 ** (k / 2) for k in range(-2, 10)),
        "n_steps": 1_000_000,
    },
    simulate=simulate,
    claims=(CLAIM,),
    figures=figures,
)
