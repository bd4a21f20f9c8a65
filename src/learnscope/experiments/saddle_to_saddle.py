"""From small weights, deep linear networks learn one rank after another.

A = W_L ... W₁ learns T, of singular values s₁ > s₂ > s₃, by gradient descent on ½ ‖A - T‖², from W_l with independent
entries N(0, scale² / d_(l-1)). Time is η · steps, that of gradient flow. For scale → 0 the path visits T_r, the best
approximation of rank r, for r = 0, 1, 2: saddles at which the loss rests at ½ Σ_(i>r) s_i². Mode r is learned at a time
t_r with the same s_r t_r for all r: log(1 / scale) for L = 2, in proportion to scale^(2-L) for L > 2.

Sources: A. Jacot, F. Ged, B. Şimşek, C. Hongler, F. Gabriel (2022), Saddle-to-saddle dynamics in deep linear networks;
A. Saxe, J. McClelland, S. Ganguli (2014) for the times of two layers. The powers of the scale are those of
dw/dt = s w^(L-1), the growth of one mode in balanced weights w.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from pydantic import Field, model_validator
from torch import Tensor
from xarray.ufuncs import log

from learnscope import laboratory
from learnscope.dynamics.gradient_descent import SquaredError, descend, log_spaced_steps
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
from learnscope.laboratory.claims import Measure
from learnscope.networks.deep_linear import factor_gradients, gaussian_factors, product
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, category

DEPTHS = (2, 3, 4)
VALUES = torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)  # singular values to be learned
PLATEAUS = VALUES.square().flip(0).cumsum(0).flip(0) / 2  # least losses of rank 0, 1, 2
NEAR = 0.02  # of the first plateau: how near counts as on one
HALF = 0.5  # of a singular value, at which its mode counts as learned


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    dim: int = Field(10, ge=3, description="inputs and outputs")
    width: int = Field(20, ge=3, description="hidden units")
    scales: tuple[tuple[float, ...], ...] = Field(
        ((1e-6, 1e-4, 1e-2), (0.02, 0.03, 0.05), (0.07, 0.1, 0.14)), description="of the weights, for 2, 3, 4 layers"
    )
    large_scales: tuple[float, ...] = Field((3.0, 1.0, 1.0), description="of the control, for 2, 3, 4 layers")
    learning_rates: tuple[float, ...] = Field(
        (0.01, 0.03, 0.03), description="for 2, 3, 4 layers; the control: a fifth"
    )
    n_steps: int = Field(20_000, ge=1, description="most steps of a run")

    @model_validator(mode="after")
    def _one_for_each_depth(self) -> Settings:
        if not len(self.scales) == len(self.large_scales) == len(self.learning_rates) == len(DEPTHS):
            raise ValueError("scales, large_scales and learning_rates need one entry for each of 2, 3 and 4 layers")
        if len({len(scales) for scales in self.scales}) > 1 or len(self.scales[0]) < 2:
            raise ValueError("scales needs as many for each depth, two at least")
        return self


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Follow the staircase at every depth and scale."""
    runs = [_staircase(k, point, generator) for k in range(len(DEPTHS))]
    return xr.concat(runs, "depth").assign_coords(depth=list(DEPTHS))


def _staircase(k: int, point: Point, generator: torch.Generator) -> xr.Dataset:
    """Run all scales of the k-th depth at once, from the same directions, and the control."""
    depth, scales = DEPTHS[k], (*point.scales[k], point.large_scales[k])
    target = torch.zeros(point.dim, point.dim, dtype=VALUES.dtype)
    target.diagonal()[: len(VALUES)] = VALUES
    loss = SquaredError(target, torch.full_like(target, 0.5))
    rates = torch.full((len(scales),), point.learning_rates[k], dtype=VALUES.dtype)
    rates[-1] /= 5
    directions = gaussian_factors((point.dim, *(point.width,) * (depth - 1), point.dim), 1.0, generator)
    run = descend(
        [torch.tensor(scales, dtype=VALUES.dtype)[:, None, None] * direction for direction in directions],
        loss,
        rates,
        n_steps=point.n_steps,
        tolerance=1e-3,
        observers={
            "loss": lambda factors: loss.value(product(factors)),
            "singular_value": lambda factors: torch.linalg.svdvals(product(factors))[:, : len(VALUES) + 1],
            "gradient": lambda factors: _gradient_norm(factors, loss),
            "distance": lambda factors: _distances(product(factors), target),
        },
        observed_steps=log_spaced_steps(point.n_steps, 80),
    )
    times = rates[:, None] * run.steps
    values = run.observed["singular_value"].movedim(0, 1)
    learned = torch.stack([_first_time(times, values[..., i] > HALF * VALUES[i]) for i in range(len(VALUES))], dim=-1)
    never = {"missing": "never learned"}
    return xr.Dataset(
        {
            "scale": ("start", list(scales)),
            "time": (("start", "step"), times.numpy(), {"long_name": "time", "units": "η · steps"}),
            "loss": (("start", "step"), run.observed["loss"].T.numpy(), {"long_name": "loss"}),
            "gradient": (("start", "step"), run.observed["gradient"].T.numpy(), {"long_name": "norm of the gradient"}),
            "singular_value": (("start", "step", "place"), values.numpy(), {"long_name": "singular value"}),
            "at_plateaus": ("start", _time_at_plateaus(times, run.observed["loss"].T).numpy()),
            "closest": (("start", "rank"), run.observed["distance"].amin(0).numpy()),
            "learned": (("start", "mode"), learned.numpy(), never),
        },
        coords={"step": run.steps.numpy(), "rank": range(1, len(VALUES)), "mode": VALUES.numpy()},
    )


def _gradient_norm(factors: list[Tensor], loss: SquaredError) -> Tensor:
    gradients = factor_gradients(factors, loss.gradient(product(factors)))
    return torch.stack([gradient.square().sum((-2, -1)) for gradient in gradients]).sum(0).sqrt()


def _distances(matrix: Tensor, target: Tensor) -> Tensor:
    """Return ‖A - T_r‖ / ‖T - T_r‖ [..., modes - 1] for r = 1, 2, ...: 0 at the saddle of rank r, 1 at the target."""
    saddles = torch.stack([target * (torch.arange(len(target)) < r)[:, None] for r in range(1, len(VALUES))])
    apart = torch.linalg.matrix_norm(matrix[..., None, :, :] - saddles)
    return apart / torch.linalg.matrix_norm(target - saddles)


def _time_at_plateaus(times: Tensor, loss: Tensor) -> Tensor:
    """Return the share of time [...], until all is learned, with the loss near one of the plateaus."""
    spent = times.diff(dim=-1) * (loss[..., :-1] > NEAR * PLATEAUS[0])
    near = (loss[..., :-1, None] - PLATEAUS).abs().amin(-1) < NEAR * PLATEAUS[0]
    return (spent * near).sum(-1) / spent.sum(-1)


def _first_time(times: Tensor, happened: Tensor) -> Tensor:
    """Return the first of times [..., T] at which something happened, NaN if never."""
    first = times.gather(-1, happened.int().argmax(-1, keepdim=True)).squeeze(-1)
    return torch.where(happened.any(-1), first, torch.nan)


def farthest_saddle(start: int) -> Measure:
    """Return the measure of the least distance to a saddle on the path, for the worst saddle and depth."""
    return lambda data: data["closest"].isel(start=start).max(["rank", "depth"])


def time_at_plateaus(start: int) -> Measure:
    """Return the measure of the share of time spent on plateaus, mean over depths."""
    return lambda data: data["at_plateaus"].isel(start=start).mean("depth")


def ratio_of_times(data: xr.Dataset) -> xr.DataArray:
    """Return log(s_3 t_3 / s_1 t_1) at the smallest scale, mean over depths."""
    times = (data["learned"] * data["mode"]).isel(start=0)
    return log(times.isel(mode=-1) / times.isel(mode=0)).mean("depth")


def exponent(depth: int) -> Measure:
    """Return the measure of the slope of log t_1, for two layers of s_1 t_1, against the logarithm of the scale."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        small = data.sel(depth=depth).isel(start=slice(0, -1))
        times, scale = small["learned"].isel(mode=0) * float(VALUES[0]), log(small["scale"].isel(seed=0))
        values = (times if depth == 2 else log(times)).assign_coords(start=scale.values)
        return values.polyfit("start", 1)["polyfit_coefficients"].sel(degree=1, drop=True)

    return measure


SMALLEST, LARGE = 0, -1  # places among the starts
STAIRCASE = Claim(
    name="saddle-to-saddle",
    statement="From small weights, gradient descent visits the saddles of rank 0, 1, 2, ... in turn: the loss is a "
    "staircase, mode r is learned at a time in proportion to 1/s_r, which grows like scale^(2-L), for L = 2 like "
    "log(1/scale).",
    source="Jacot, Ged, Şimşek, Hongler, Gabriel 2022; the times from the growth of one balanced mode",
    criteria=(
        Criterion(
            name="least distance to the saddles of rank 1 and 2, relative to their distance from the target, at worst",
            predicted=0.0,
            measured=farthest_saddle(SMALLEST),
            band=at_most(0.05),
            reason="0 for scale → 0; while one mode settles the next has grown at most by a few powers of two from "
            "scale^L, which is under 1e-3",
            control=farthest_saddle(LARGE),
            control_name="large initial weights",
        ),
        Criterion(
            name="share of the time spent on plateaus, mean over depths",
            predicted=1.0,
            measured=time_at_plateaus(SMALLEST),
            band=at_least(0.5),
            reason="1 for scale → 0; at these scales rises and falls take a few 1/s_r of the 14/s_r to 100/s_r between "
            "them, a third of the time at most",
            control=time_at_plateaus(LARGE),
            control_name="large initial weights",
        ),
        Criterion(
            name="log(s₃ t₃ / s₁ t₁), mean over depths",
            predicted=0.0,
            measured=ratio_of_times,
            band=within(absolute=0.15),
            reason="all modes start alike; the finite scale gives -0.05 for two layers, and the starts of ten networks "
            "scatter by 0.05",
        ),
        Criterion(
            name="slope of s₁ t₁ against log scale, two layers",
            predicted=-1.0,
            measured=exponent(2),
            band=within(0.1),
            reason="steps of η s = 0.04 delay exponential growth by 2 %, the end of the growth adds as much",
        ),
        Criterion(
            name="slope of log t₁ against log scale, three layers",
            predicted=-1.0,
            measured=exponent(3),
            band=within(0.1),
            reason="growth ends at w = O(1) and not at infinity, which takes scale/w = 2 to 5 % off the times",
        ),
        Criterion(
            name="slope of log t₁ against log scale, four layers",
            predicted=-2.0,
            measured=exponent(4),
            band=within(0.1),
            reason="as for three layers, with the square of scale/w",
            control=exponent(3),
            control_name="three layers",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw the staircases, and the singular values on the way."""
    steps = Axis("step", "steps", "step", data["step"].values)
    return _staircase_figure(data, steps), _modes_figure(data, steps)


def _staircase_figure(data: xr.Dataset, steps: Axis) -> Figure:
    flat = tuple(
        Series(f"least loss of rank {r}", np.full(data.sizes["step"], level), category(7), style="faint")
        for r, level in enumerate(PLATEAUS.tolist())
    )
    loss = Axis("loss", "loss ½ ‖A - T‖²", range=(0.0, 1.3 * float(PLATEAUS[0])))
    choices = tuple(
        Choice(f"{depth} layers", loss, (Lines((*_by_scale(data, depth, "loss"), *flat)),)) for depth in DEPTHS
    )
    return Figure(
        "staircase",
        "The loss is a staircase",
        Caption(
            shows="Loss through training from weights of several scales, and the least loss of rank 0, 1 and 2. "
            + SEEDS,
            look_for="Rests at the faint lines that last the longer the smaller the scale; none from large weights, "
            "which start far above.",
            source="Jacot et al. 2022, figure 1",
        ),
        charts=(Chart(steps, choices, choice_name="Depth"),),
    )


def _modes_figure(data: xr.Dataset, steps: Axis) -> Figure:
    choices = []
    for depth in DEPTHS:
        run = data.sel(depth=depth).isel(start=SMALLEST)
        lines = [
            median_over_seeds(run["singular_value"].isel(place=k), f"s_{k + 1}", category(k))
            for k in range(data.sizes["place"])
        ]
        lines.append(median_over_seeds(run["gradient"], "norm of the gradient", category(7)))
        axis = Axis("value", "singular value, norm of the gradient", "log", range=(1e-4, 20.0))
        choices.append(Choice(f"{depth} layers", axis, (Lines(tuple(lines)),)))
    return Figure(
        "modes",
        "One singular value after another",
        Caption(
            shows=f"Singular values of the product and norm of the whole gradient, from the smallest scale. {SEEDS}",
            look_for="Values rise one by one to 4, 2 and 1, the fourth never; the gradient dips between, at saddles.",
            source="Jacot et al. 2022; Saxe, McClelland, Ganguli 2014",
        ),
        charts=(Chart(steps, tuple(choices), choice_name="Depth"),),
    )


def _by_scale(data: xr.Dataset, depth: int, name: str) -> tuple[Series, ...]:
    run = data.sel(depth=depth)
    scales = run["scale"].isel(seed=0).values.tolist()
    return tuple(
        median_over_seeds(run[name].isel(start=k), f"scale {scale:g}", category(k)) for k, scale in enumerate(scales)
    )


EXPERIMENT = Experiment(
    name="saddle-to-saddle",
    title="Small weights learn one rank after another",
    source="Jacot, Ged, Şimşek, Hongler, Gabriel 2022",
    settings=Settings,
    paper={
        "dim": 50,
        "width": 200,
        "scales": ((1e-12, 1e-8, 1e-4), (0.002, 0.005, 0.01), (0.02, 0.03, 0.05)),
        "n_steps": 500_000,
    },
    simulate=simulate,
    claims=(STAIRCASE,),
    figures=figures,
    parts=("penalised-landscape",),
)
