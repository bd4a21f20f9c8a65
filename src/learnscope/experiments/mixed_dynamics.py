"""A wide two-layer linear network learns as one equation for its product says, from lazy to balanced and in between.

A = W₂ W₁ with W₁ [w, d] and W₂ [d, w] of independent entries N(0, σ²) learns Y = A* + E by gradient descent on
½ ‖A − Y‖²; A* has rank k and singular values near d/√k, E has entries N(0, 1). With τ = σ² w and G = A − Y,

    dA/dt = −√(AAᵀ + τ²) G − G √(AᵀA + τ²),

which becomes the lazy equation −2 τ G for ‖A‖ ≪ τ, and that of balanced weights for ‖A‖ ≫ τ. Here τ = d^γ, w = d^γ_w.

Gradient descent moves W₁ first and W₂ with the new W₁; it is reduced to d × d matrices, which is exact. The equation is
followed twice: by explicit Euler steps of the same learning rate, as in the authors' code, and by the steps of gradient
descent from the Gram matrices that the equation implies. The second leaves nothing but the randomness of the start as
a difference, of relative order √(d/w); the first also Euler's delay. Time is η · steps · max(‖A*‖, τ), so a step takes
1 / resolution.

Source: Z. Tu, S. Aranguri, A. Jacot (2024), Mixed dynamics in linear networks, equation 1, figure 1, and their code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import log1p, sqrt

import numpy as np
import torch
import xarray as xr
from pydantic import Field, field_validator
from torch import Tensor
from xarray.ufuncs import log

from learnscope import laboratory
from learnscope.distributions.noisy_low_rank import noisy_low_rank
from learnscope.dynamics.self_consistent import lazy_velocity, self_consistent_network, self_consistent_velocity
from learnscope.dynamics.two_layer_linear import ReducedNetwork, gradient_step, random_network
from learnscope.laboratory import Claim, Criterion, Experiment, Grid, Point, at_most, within
from learnscope.laboratory.claims import Measure
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, category

EQUATIONS = ("mixed", "balanced", "lazy")


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    dim: int = Field(50, ge=4, description="rows and columns of A")
    rank: int = Field(3, ge=1, description="rank of A*")
    gamma_threshold: Grid[float] = Field(
        (-0.5, 0.4, 1.4), description="γ of τ = σ² w = d^γ; the first below and the last above 1, where τ = d"
    )
    gamma_width: tuple[float, ...] = Field(
        (1.0, 1.5, 2.0, 2.5, 3.0), description="γ_w of the widths w = d^γ_w; the first is a control"
    )
    resolution: float = Field(20, gt=1, description="1 / η over ‖A*‖, over τ where γ > 1")
    steps: int = Field(160, ge=1, description="steps of gradient descent")

    @field_validator("gamma_threshold", "gamma_width")
    @classmethod
    def _increasing(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if len(values) < 3 or list(values) != sorted(set(values)):
            raise ValueError("there must be at least three, in increasing order")
        return values


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Train networks of all widths on one target, and follow the three equations from the start of the widest."""
    dim, threshold = point.dim, point.dim**point.gamma_threshold
    drawn = noisy_low_rank(dim, point.rank, generator)
    widths = [int(dim**gamma) for gamma in point.gamma_width]
    networks = [random_network(dim, dim, width, threshold / width, generator) for width in widths]
    norm = float(torch.linalg.matrix_norm(drawn.signal, ord=2))
    rate = 1 / (point.resolution * (threshold if point.gamma_threshold > 1 else norm))
    together = ReducedNetwork(*(torch.stack(parts) for parts in zip(*networks, strict=True)))
    records = [
        measured(products, ideals, equations, drawn.signal, drawn.target)
        for products, ideals, equations in paths(together, drawn.target, threshold, rate, point.steps)
    ]
    errors, distances, equation_distances = (torch.stack(each).numpy() for each in zip(*records, strict=True))
    return xr.Dataset(
        {
            "error": (["time", "dynamics", "kind"], errors, {"long_name": "mean square of an entry's error"}),
            "distance": (["time", "gamma_width"], distances, {"long_name": "distance to the mixed equation over ‖Y‖"}),
            "equation_distance": (["time", "equation"], equation_distances),
            "allowance": ((), allowance(dim, point.rank, threshold, widths[-1], point.resolution)),
            "width": ("gamma_width", widths),
        },
        coords={
            "time": np.arange(point.steps + 1) / point.resolution,
            "dynamics": ["gradient descent", *EQUATIONS],
            "kind": ["training", "test"],
            "gamma_width": list(point.gamma_width),
            "equation": list(EQUATIONS),
        },
    )


def paths(
    networks: ReducedNetwork, target: Tensor, threshold: float, rate: float, steps: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield A before every step and after the last: gradient descent, self-consistent starts, equations by Euler.

    The first two are [width, d, d], the last is [equation, d, d] and starts where the last of the networks does.
    """
    ideals = self_consistent_network(networks.product, threshold)
    equations = networks.product[-1].expand(len(EQUATIONS), -1, -1)
    thresholds = torch.tensor([threshold, 0.0], dtype=target.dtype)
    for step in range(steps + 1):
        yield networks.product, ideals.product, equations
        if step == steps:
            return
        networks = gradient_step(networks, networks.product - target, rate)
        ideals = gradient_step(ideals, ideals.product - target, rate)
        gradients = equations - target
        unlazy = self_consistent_velocity(equations[:2], gradients[:2], thresholds)
        equations = equations + rate * torch.cat([unlazy, lazy_velocity(gradients[2:], threshold)])


def measured(
    products: Tensor, ideals: Tensor, equations: Tensor, signal: Tensor, target: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return errors [dynamics, kind], distances over ‖Y‖ to the ideals [width], and of the widest to the equations."""
    followed = torch.cat([products[-1:], equations])
    errors = [(followed - goal).square().mean((-2, -1)) for goal in (target, signal)]
    size = torch.linalg.matrix_norm(target)
    distances = torch.linalg.matrix_norm(products - ideals) / size
    return torch.stack(errors, -1), distances, torch.linalg.matrix_norm(products[-1] - equations) / size


def allowance(dim: int, rank: int, threshold: float, width: int, resolution: float) -> float:
    """Return how far from gradient descent Euler's steps of the right equation may go, as a share of ‖Y‖.

    Gram matrices start with relative errors √(d/w), which act on Y and on the start, of size τ/√w relative to Y. A step
    of Euler multiplies a small s by 1 + 2ηs* for exp(2ηs*) and so is late by η log(2s*/τ)/2 where s moves fastest,
    at s*²/2: by log(2s*/τ) / (4 resolution) of ‖Y‖ at most.
    """
    start = sqrt(dim / width) * (1 + threshold / sqrt(width))
    return start + log1p(2 * dim / sqrt(rank) / threshold) / (4 * resolution)


def _below(data: xr.Dataset) -> xr.Dataset:
    """Return the sweep without the thresholds above the singular values of the target."""
    return data.isel(gamma_threshold=np.flatnonzero(data["gamma_threshold"].values < 1))


def farthest(place: int) -> Measure:
    """Return the measure of the largest distance of a width to the mixed equation, over time and thresholds τ < d."""
    return lambda data: _below(data)["distance"].isel(gamma_width=place).max(["time", "gamma_threshold"])


def exponent(data: xr.Dataset) -> xr.DataArray:
    """Return the slope of log distance against log width without the first, mean over thresholds τ < d."""
    kept = _below(data).isel(gamma_width=slice(1, None))
    widths = kept["width"].isel(gamma_threshold=0, seed=0).values
    distances = log(kept["distance"].max("time")).assign_coords(gamma_width=np.log(widths))
    return distances.polyfit("gamma_width", 1)["polyfit_coefficients"].sel(degree=1, drop=True).mean("gamma_threshold")


def off_by(equation: str, place: int) -> Measure:
    """Return the measure of the largest distance to Euler's steps of an equation over its allowance, at a threshold."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        chosen = data.isel(gamma_threshold=place)
        return chosen["equation_distance"].sel(equation=equation).max("time") / chosen["allowance"]

    return measure


EULER = "the randomness of the start, √(d/w) (1 + τ/√w), plus Euler's delay, log(1 + 2s*/τ) / (4 resolution)"
CLAIM = Claim(
    name="mixed-ode",
    statement="Gradient descent on W₁ and W₂ moves A = W₂ W₁ by dA/dt = −√(AAᵀ + τ²) G − G √(AᵀA + τ²), "
    "τ = σ² w, up to a distance of order √(d/w): lazily for τ ≫ ‖A‖, as from balanced weights for τ ≪ ‖A‖.",
    source="Tu, Aranguri, Jacot 2024, equation 1 and figure 1",
    criteria=(
        Criterion(
            name="largest distance to the equation at the largest width, share of ‖Y‖, τ < d",
            predicted=0.0,
            measured=farthest(-1),
            band=at_most(0.03),
            reason="√(d/w) is 0.02 at both scales",
            control=farthest(0),
            control_name="the narrowest network, w = d",
        ),
        Criterion(
            name="exponent of that distance in the width, w > d, τ < d",
            predicted=-0.5,
            measured=exponent,
            band=within(absolute=0.1),
            reason="the Gram matrices start √(d/w) off; the next order, d/w, adds 0.05 from w = d^1.5 on",
        ),
        Criterion(
            name="distance to Euler's steps over what they may be off by, smallest τ",
            predicted=0.0,
            measured=off_by("mixed", 0),
            band=at_most(1.0),
            reason=EULER,
            control=off_by("lazy", 0),
            control_name="the lazy equation",
        ),
        Criterion(
            name="the same at the second smallest τ",
            predicted=0.0,
            measured=off_by("mixed", 1),
            band=at_most(1.0),
            reason=EULER,
            control=off_by("balanced", 1),
            control_name="the equation of balanced weights",
        ),
        Criterion(
            name="distance to the lazy equation over what it may be off by, largest τ",
            predicted=0.0,
            measured=off_by("lazy", -1),
            band=at_most(1.0),
            reason=EULER + "; the two equations differ by (‖A‖/τ)²/2",
            control=off_by("balanced", -1),
            control_name="the equation of balanced weights",
        ),
    ),
    correction="The equation is exact from then on if the Gram matrices of the start obey it: with J = diag(1, −1) and "
    "X = (W₁, W₂ᵀ) it says (XᵀX J)² = τ², and the flow conserves X J Xᵀ. What separates the two curves of the authors' "
    "figure 1 is mostly the delay of Euler's steps: 8 % of ‖Y‖ at d = 500, where the equation itself is 0.3 % off.",
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw errors over time for each threshold, and the distance to the equation against the width."""
    return _error_figure(data), _width_figure(data)


def _error_figure(data: xr.Dataset) -> Figure:
    time = Axis("time", "time, in units of 1 / max(‖A*‖, σ² w)", "linear", data["time"].values)
    places = range(data.sizes["gamma_threshold"])
    charts = tuple(
        Chart(time, tuple(_errors(data, k, kind) for k in places), f"{kind} error", "σ² w", starts=(1,))
        for kind in data["kind"].values.tolist()
    )
    caption = Caption(
        "Mean squared error of an entry of A, against A* + E (training) and against A* (test): gradient descent at the "
        "largest width, the band holding all seeds, and Euler's steps of three equations from its start.",
        "The mixed equation lies on gradient descent at every σ² w, the lazy one where σ² w is large. The balanced one "
        "starts from an A that is not aligned with the target.",
        "Tu, Aranguri, Jacot 2024, figure 1",
    )
    return Figure("errors", "Gradient descent and the three equations", caption, charts)


def _errors(data: xr.Dataset, place: int, kind: str) -> Choice:
    chosen = data["error"].isel(gamma_threshold=place).sel(kind=kind)
    series = [
        Series(name, chosen.sel(dynamics=name).mean("seed").values, category(k), style="dashed" if k else "line")
        for k, name in enumerate(chosen["dynamics"].values.tolist())
    ]
    followed = chosen.sel(dynamics="gradient descent")
    series[0] = replace(series[0], low=followed.min("seed").values, high=followed.max("seed").values)
    axis = Axis("error", f"{kind} error", "log", range=(1e-3, 10.0))
    return Choice(f"d^{float(data['gamma_threshold'][place]):g}", axis, (Lines(tuple(series)),))


def _width_figure(data: xr.Dataset) -> Figure:
    widths = data["width"].isel(gamma_threshold=0, seed=0).values
    largest = data["distance"].max("time")
    series = []
    for k, gamma in enumerate(data["gamma_threshold"].values.tolist()):
        each = largest.isel(gamma_threshold=k)
        low, high = each.min("seed").values, each.max("seed").values
        series.append(Series(f"σ² w = d^{gamma:g}", each.mean("seed").values, category(k), low, high))
    root = Series("√(d / w)", np.sqrt(widths[0] / widths), category(7), style="dashed")
    axis = Axis("distance", "largest distance over ‖Y‖", "log")
    caption = Caption(
        "Largest distance over time between gradient descent and the mixed equation, followed by the same steps.",
        "Parallels to the dashed line: the distance falls like one over the root of the width. For σ² w above d the "
        "start itself is large, ‖A‖ ≈ σ² √w d, until w passes (σ² w)².",
        "Tu, Aranguri, Jacot 2024, section 2; the exponent is derived here",
    )
    choice = Choice("distance", axis, (Lines((*series, root)),))
    return Figure("widths", "How wide is wide", caption, (Chart(Axis("width", "width w", "log", widths), (choice,)),))


EXPERIMENT = Experiment(
    name="mixed-dynamics",
    title="One equation for lazy, balanced and mixed training",
    source="Z. Tu, S. Aranguri, A. Jacot (2024), Mixed Dynamics In Linear Networks: Unifying the Lazy and Active "
    "Regimes, arXiv:2405.17580",
    settings=Settings,
    simulate=simulate,
    claims=(CLAIM,),
    figures=figures,
    paper={"dim": 500, "rank": 5, "gamma_width": (1.0, 1.5, 2.0, 2.25), "resolution": 5, "steps": 100},
    parts=("mixed-threshold", "mixed-phase-diagram"),
)
