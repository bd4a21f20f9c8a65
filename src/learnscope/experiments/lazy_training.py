"""Lazy and feature learning: how far weights and tangent kernel move, against the scale of the outputs and the width.

A network f without biases, in the parametrisation of the tangent kernel (outputs √(2/h) Σ over h neurons, weights
N(0, 1) at first), is trained as F = α (f − f₀) on 1/(2n α²) Σ (F(xᵢ) − yᵢ)² with y = sign(x₁ x₂), x normal, by gradient
descent until the mean of (F − y)² is at most the tolerance. To reach |F| ~ 1 weights have to move by 1/α, and their own
size is of order √h:

    |δW|/|W| ~ 1/(α √h),   |δΘ|/|Θ| ~ (α √h)⁻² + (α √h)⁻¹ h^(−½),   α √h ≫ 1.

The kernel's first-order change has random signs over the neurons, hence its h^(−½); the second-order change has a mean.
So α √h tells the regimes apart. Θ collapses on it as long as it moves by its mean, and beyond that falls with the width
too. Rectifiers whose sign changes at an example add a change of order (α √h)^(−½) h^(−½), so for them there is no slope
−1 to be seen. These terms are derived here; Geiger et al. report (α √h)^(−a) with a < 2.

Sources: L. Chizat, E. Oyallon, F. Bach (2019), On lazy training in differentiable programming; A. Jacot, F. Gabriel,
C. Hongler (2018), Neural tangent kernel; M. Geiger, S. Spigler, A. Jacot, M. Wyart (2019), Disentangling feature and
lazy training in deep neural networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import xarray as xr
from pydantic import Field, field_validator
from torch import Tensor
from torch.linalg import matrix_norm
from xarray.ufuncs import exp, log

from learnscope import laboratory
from learnscope.dynamics.scaled_outputs import descend
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
from learnscope.laboratory.claims import Measure
from learnscope.networks.activations import activation
from learnscope.networks.ntk_parametrised import NTKParametrised, unit_weights
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, category, depth

LAZY = 100.0  # of α √h, from where on exponents are fitted
MOVING = 0.5  # of α, up to which the kernel's mean movement exceeds the rest
GROWTH = 4.0  # the kernel grows by up to about this over α √h, and learning rates are smaller by as much
SYMBOLS = {"weights": "|δW|/|W|", "kernel": "|δΘ|/|Θ|"}


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    n_train: int = Field(20, ge=2, description="examples")
    dim: int = Field(10, ge=2, description="numbers d in an example")
    widths: tuple[int, ...] = Field((50, 200, 800), min_length=2, description="neurons h of each hidden layer")
    depth: int = Field(2, ge=2, description="layers of weights")
    activations: tuple[Literal["relu", "tanh"], ...] = Field(("relu", "tanh"), description="σ, tanh among them")
    control: tuple[float, ...] = Field(
        tuple(10 ** (k / 2) for k in range(-2, 7)), min_length=4, description="α √h, increasing from ≤ 0.1 to ≥ 1000"
    )
    rate: float = Field(0.5, gt=0, lt=1, description="learning rate over the largest stable one")
    n_steps: int = Field(20_000, ge=1, description="most steps of a run")
    tolerance: float = Field(1e-3, gt=0, description="mean of (F − y)² at which a run ends")

    @field_validator("control")
    @classmethod
    def _both_regimes(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if list(values) != sorted(set(values)) or not 0 < values[0] <= 0.1 or values[-1] < 1000:
            raise ValueError("they must increase from a positive number up to 0.1 to at least 1000")
        return values


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Train one network of each width and activation at every scale, all on the same examples."""
    x = torch.randn(point.n_train, point.dim, generator=generator, dtype=torch.float64)
    y = torch.sign(x[:, 0] * x[:, 1])
    runs = []
    for width in point.widths:
        weights = unit_weights((point.dim, *(width,) * (point.depth - 1), 1), generator)
        each = [_trained(NTKParametrised(activation(name)), weights, x, y, point) for name in point.activations]
        runs.append(xr.concat(each, "activation"))
    data = xr.concat(runs, "width").assign_coords(width=list(point.widths), activation=list(point.activations))
    for values in data.data_vars.values():
        values.attrs["missing"] = "f₀ is kept at large α √h only"
    return data


def _trained(network: NTKParametrised, weights: list[Tensor], x: Tensor, y: Tensor, point: Point) -> xr.Dataset:
    """Train at every α √h with f₀ subtracted, and at large ones without."""
    centred = torch.tensor(point.control, dtype=x.dtype)
    large = centred[centred >= LAZY]
    control = torch.cat([centred, large])
    kernel = network.tangent_kernel(weights, x)
    f0 = torch.cat([torch.ones_like(centred), torch.zeros_like(large)])[:, None] * network.outputs(weights, x)
    rates = point.rate * max_learning_rate(kernel) / (1 + GROWTH / control)
    run = descend(
        network,
        [W.expand(len(control), *W.shape) for W in weights],
        x,
        y,
        alpha=control / weights[-1].shape[-1] ** 0.5,
        learning_rate=rates,
        n_steps=point.n_steps,
        tolerance=point.tolerance,
        start=f0,
    )
    moved = torch.stack([(W - W0).square().sum((-2, -1)) for W, W0 in zip(run.factors, weights, strict=True)]).sum(0)
    size = torch.stack([W0.square().sum() for W0 in weights]).sum()
    kernels = network.tangent_kernel(run.factors, x)
    measured = {
        "weights": (moved / size).sqrt(),
        "kernel": matrix_norm(kernels - kernel) / matrix_norm(kernel),
        "end_rate": rates * torch.linalg.eigvalsh(kernels)[:, -1] / len(x),
        "converged": run.converged.double(),
    }
    data = xr.Dataset({name: ("control", value.numpy()) for name, value in measured.items()})
    m = len(centred)
    subtracted = data.isel(control=slice(m)).assign_coords(control=centred.numpy())
    kept = data.isel(control=slice(m, None)).assign_coords(control=large.numpy())
    return xr.concat([subtracted, kept], "f0", join="outer").assign_coords(f0=["subtracted", "kept"])


def exponent(quantity: str, names: Sequence[str], f0: str = "subtracted") -> Measure:
    """Return the measure of the exponent in α at large α √h, the one farthest from −1 over widths and activations."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        values = log(data[quantity].sel(activation=list(names), f0=f0, control=slice(LAZY, None)))
        fit = values.assign_coords(control=np.log(values["control"].values)).polyfit("control", 1)
        slopes = fit["polyfit_coefficients"].sel(degree=1, drop=True).stack(run=["width", "activation"])
        return slopes.isel(run=abs(slopes + 1).argmax("run")).drop_vars(["run", "width", "activation"])

    return measure


def least(quantity: str, place: int) -> Measure:
    """Return the measure of the least value over widths and activations, at the first or the last α √h."""
    return lambda data: data[quantity].sel(f0="subtracted").isel(control=place).min(["width", "activation"])


def largest(quantity: str, place: int) -> Measure:
    """Return the measure of the largest value over widths and activations, at the first or the last α √h."""
    return lambda data: data[quantity].sel(f0="subtracted").isel(control=place).max(["width", "activation"])


def spread(quantity: str, part: Literal["all", "moving", "lazy"], names: Sequence[str], at: str = "α √h") -> Measure:
    """Return the measure of the largest value over widths over the least, at equal "α √h" or at equal "α".

    It is a geometric mean over a part of the α √h, and the largest over activations: "moving" has α ≤ 1/2 in all
    widths, "lazy" α √h ≥ 100.
    """

    def measure(data: xr.Dataset) -> xr.DataArray:
        values = log(data[quantity].sel(activation=list(names), f0="subtracted"))
        ends = {"all": (0, np.inf), "moving": (0, MOVING * float(data["width"].min()) ** 0.5), "lazy": (LAZY, np.inf)}
        values = values.sel(control=slice(*ends[part]))
        values = at_equal_alpha(values) if at == "α" else values.rename(control="alpha")
        return exp((values.max("width") - values.min("width")).mean("alpha").max("activation"))

    return measure


def at_equal_alpha(values: xr.DataArray) -> xr.DataArray:
    """Interpolate logarithms over (..., width, control) to values of α that all widths have."""
    control, shift = np.log(values["control"].values), 0.5 * log(values["width"])
    alpha = np.linspace(control[0] - float(shift.min()), control[-1] - float(shift.max()), len(control))
    return xr.apply_ufunc(
        lambda curve, by: np.interp(alpha, control - by, curve),
        values,
        shift,
        input_core_dims=[["control"], []],
        output_core_dims=[["alpha"]],
        vectorize=True,
    ).assign_coords(alpha=np.exp(alpha))


BOTH, SMOOTH = ("relu", "tanh"), ("tanh",)


def _slope(quantity: str, names: Sequence[str], width: float, reason: str) -> Criterion:
    return Criterion(
        name=f"exponent of {SYMBOLS[quantity]} in α at α √h ≥ {LAZY:g}, {' and '.join(names)}, farthest from −1",
        predicted=-1.0,
        measured=exponent(quantity, names),
        band=within(absolute=width),
        reason=reason,
        control=exponent(quantity, names, "kept"),
        control_name="F = α f, without subtracting f₀",
    )


def _departure(quantity: str) -> Criterion:
    return Criterion(
        name=f"{SYMBOLS[quantity]} at the least α √h, the least over widths and activations",
        predicted=np.inf,
        measured=least(quantity, 0),
        band=at_least(1.0),
        reason="a change by its own size is what tells the regimes apart",
        control=largest(quantity, -1),
        control_name="the largest α √h",
    )


def _collapse(quantity: str, part: Literal["all", "moving"], where: str, reason: str) -> Criterion:
    return Criterion(
        name=f"spread of {SYMBOLS[quantity]} over widths at equal α √h{where}, the larger of both activations",
        predicted=1.0,
        measured=spread(quantity, part, BOTH),
        band=at_most(2.0),
        reason=reason,
        control=spread(quantity, part, BOTH, at="α"),
        control_name="compared at equal α",
    )


CLAIM = Claim(
    name="lazy-feature-scaling",
    statement="With F = α (f − f₀), weights move by 1/(α √h) of their size for α ≫ α* ~ h^(−½) and the tangent kernel "
    "stays; for α ≪ α* both change by more than their own size.",
    source="Chizat, Oyallon, Bach 2019, section 2; Geiger, Spigler, Jacot, Wyart 2019; Jacot, Gabriel, Hongler 2018",
    correction="The kernel's movement is a function of α √h alone only as long as it moves by its mean, (α √h)⁻². The "
    "first-order change averages out over neurons, so wide networks are lazier at equal α √h ≫ √h; with rectifiers "
    "it falls more slowly than 1/α, as signs change at examples.",
    criteria=(
        _slope(
            "weights", BOTH, 0.1, "δW = Jᵀ Θ⁻¹ y/α in the limit, and the kernel is that of the start to a few per cent"
        ),
        _slope("kernel", SMOOTH, 0.2, "the second order is √h/(α √h) of the first, 0.28 to 0.03 in the widest network"),
        _departure("weights"),
        _departure("kernel"),
        Criterion(
            name=f"{SYMBOLS['kernel']} at the largest α √h, the largest over widths and activations",
            predicted=0.0,
            measured=largest("kernel", -1),
            band=at_most(0.02),
            reason="signs that change in the narrowest network make (1000 · 50)^(−½) = 0.005; four times that",
            control=least("kernel", 0),
            control_name="the least α √h",
        ),
        _collapse("weights", "all", "", "√16 = 4 for widths that differ by 16 if α decides, 1 if α √h does; √4"),
        _collapse("kernel", "moving", " with α ≤ ½", "as for the weights; the first order is α of the second"),
        Criterion(
            name=f"spread of {SYMBOLS['kernel']} over widths at equal α √h ≥ {LAZY:g}, tanh",
            predicted=4.0,
            measured=spread("kernel", "lazy", SMOOTH),
            band=at_least(2.0),
            reason="the correction: h^(−½) is √16 = 4 here, against 1 for a collapse; √4",
            control=spread("weights", "lazy", SMOOTH),
            control_name="|δW|/|W|, which collapses",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw what moves against α √h and against α."""
    subtracted = data.sel(f0="subtracted")
    curves = {(str(a), q): subtracted[q].sel(activation=a) for a in data["activation"].values for q in SYMBOLS}
    shifted = {key: exp(at_equal_alpha(log(values))).rename(alpha="control") for key, values in curves.items()}
    charts = []
    for title, each in (("α √h", curves), ("α", shifted)):
        place = next(iter(each.values()))["control"].values
        choices = tuple(_by_width(values, place, *key) for key, values in each.items())
        axis = Axis(title, title, "log", place)
        charts.append(Chart(axis, choices, f"Against {title}", choice_name="Quantity", starts=(0, len(choices) - 1)))
    return (
        Figure(
            "movement",
            "What moves in training",
            Caption(
                shows="Relative change of weights and tangent kernel at the end of training, by width; dashed: "
                f"slope −1, and −2 for the kernel (black). {SEEDS}",
                look_for="All widths lie on one curve against α √h and apart against α. In the lazy regime weights "
                "follow the slope −1. The kernel falls faster at first, and wide networks are lazier; with rectifiers "
                "it falls more slowly than with tanh.",
                source="Chizat, Oyallon, Bach 2019; Geiger et al. 2019, figure 3",
            ),
            charts=tuple(charts),
        ),
    )


def _by_width(values: xr.DataArray, place: np.ndarray, name: str, quantity: str) -> Choice:
    widths = values["width"].values.tolist()
    series = [median_over_seeds(values.sel(width=h), f"width {h}", depth(k, len(widths))) for k, h in enumerate(widths)]
    last = values.isel(control=-1, width=-1).median("seed").item()
    series.append(Series("slope −1", last * place[-1] / place, category(7), style="dashed"))
    if quantity == "kernel":
        k = len(place) // 2
        middle = values.isel(control=k, width=-1).median("seed").item()
        series.append(Series("slope −2", middle * (place[k] / place) ** 2, category(6), style="dashed"))
    axis = Axis(SYMBOLS[quantity], SYMBOLS[quantity], "log", range=(float(values.min()) / 2, 2 * float(values.max())))
    return Choice(f"{SYMBOLS[quantity]}, {name}", axis, (Lines(tuple(series)),))


EXPERIMENT = Experiment(
    name="lazy-training",
    title="Lazy and feature learning",
    source="Chizat, Oyallon, Bach 2019; Geiger et al. 2019; Jacot, Gabriel, Hongler 2018",
    settings=Settings,
    paper={
        "n_train": 200,
        "depth": 4,
        "widths": (64, 256, 1024, 4096),
        "control": tuple(10 ** (k / 2) for k in range(-2, 10)),
        "n_steps": 1_000_000,
    },
    simulate=simulate,
    claims=(CLAIM,),
    figures=figures,
    parts=("linearised-training", "kernel-constancy", "kernel-flow"),
)
