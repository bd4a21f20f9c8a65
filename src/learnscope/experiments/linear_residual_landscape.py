"""A linear residual network has no critical point near zero but its global minima; the usual network has one at zero.

The loss f(A) = ½ ‖(I + A_L) … (I + A₁) − B‖² has the gradients Pᵀ E Qᵀ, where E is the error and P and Q are products
of the other maps. If all ‖Aₖ‖ ≤ τ < 1, no map shrinks anything by more than 1 − τ, so

    ‖∇f‖² ≥ 2 L (1 − τ)^(2 (L − 1)) f,

with equality at Aₖ = −τ I, hence at zero: a gradient that vanishes means f = 0. Without the identities the loss is flat
at zero, with f > 0. Minima lie in that ball if det B > 0, at ‖Aₖ‖ = O(1/L), and gradient descent from zero finds
them; partial products then have singular values between Π(1 − ‖Aₖ‖) and Π(1 + ‖Aₖ‖). If det B < 0, it would have to
leave the ball. Targets are B = I + s G with G of independent N(0, 1), mirrored in their least singular direction to get
the sign of the determinant. Time is counted in steps of gradient descent with learning rate 0.3/L.

Source: M. Hardt, T. Ma (2017), Identity matters in deep learning, section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor
from xarray.ufuncs import log, log10

from learnscope import laboratory
from learnscope.laboratory import SEEDS, Claim, Criterion, Experiment, Grid, Point, at_least, at_most, within
from learnscope.networks.deep_linear import factor_gradients, prefix_products, product
from learnscope.networks.linear_residual import (
    largest_norm,
    residual_gradient,
    residual_loss,
    residual_maps,
    squared_gradient_bound,
)
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, depth

Measure = Callable[[xr.Dataset], xr.DataArray]

RATE = 0.3  # learning rate times depth
SEGMENT = np.linspace(-1.5, 1.5, 61)  # multiples of the solution, along a line through zero
EXACT = 1e-9  # beyond the rounding of float64 over a product of a hundred maps
NETWORKS = ["residual", "plain"]


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    dim: int = Field(5, ge=2, description="width d")
    depth: Grid[int] = Field((4, 8, 16, 32), min_length=2, description="numbers of maps L")
    radii: tuple[float, ...] = Field((0.01, 0.1, 0.5, 0.9), description="spectral norms τ of the random factors")
    n_points: int = Field(500, ge=1, description="random points for each radius")
    spread: float = Field(0.15, gt=0, description="s, how far the target is from the identity")
    steps: int = Field(300, ge=10, description="steps of gradient descent")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Measure the gradient at random and at special points, then descend from zero to targets of either sign."""

    def randn(*sizes: int) -> Tensor:
        return torch.randn(*sizes, point.dim, point.dim, generator=generator, dtype=torch.float64)

    eye, target = torch.eye(point.dim, dtype=torch.float64), point.spread * randn()
    targets = _signed(eye + target)
    radii = torch.tensor(point.radii, dtype=torch.float64)[:, None, None, None]
    directions = randn(len(point.radii), point.n_points, point.depth)
    factors = radii[:, None] * directions / torch.linalg.matrix_norm(directions, ord=2, keepdim=True)
    extreme = radii * eye.expand(point.depth, point.dim, point.dim)
    saddle = torch.zeros(2, point.depth, point.dim, point.dim, dtype=torch.float64)
    saddle[0, :2], saddle[1, :2] = -eye, -0.9 * eye
    slopes = residual_gradient(saddle, targets[0]).square().sum((-3, -2, -1)) / residual_loss(saddle, targets[0])
    networks = [_log_ratios(maps, factors, targets[0]).amin(-1) for maps in (residual_maps(factors), factors)]
    sides = [_log_ratios(residual_maps(side), side, targets[0]) for side in (0 * extreme, -extreme, extreme)]
    measured = {
        "log_ratio": (["network", "radius"], torch.stack(networks).numpy()),
        "extreme_log_ratio": (["side", "radius"], torch.stack(sides).numpy()),
        "slope_at_saddle": ("scale", (slopes / (2 * point.depth)).numpy()),
    }
    coords = {"network": NETWORKS, "radius": list(point.radii), "side": ["zero", "−τ I", "+τ I"], "scale": [1.0, 0.9]}
    return xr.Dataset(measured, coords).merge(_descent(point, targets, randn(point.depth)))


def _signed(matrix: Tensor) -> Tensor:
    """Return the matrix with positive and with negative determinant, mirrored in its least singular direction."""
    U, s, Vh = torch.linalg.svd(matrix)
    signs = torch.tensor([1.0, -1.0], dtype=matrix.dtype) * torch.linalg.det(matrix).sign()
    last = torch.cat([torch.ones(2, len(s) - 1, dtype=matrix.dtype), signs[:, None]], dim=1)
    return U @ torch.diag_embed(s * last) @ Vh


def _log_ratios(maps: Tensor, factors: Tensor, target: Tensor) -> Tensor:
    """Return log10 of ‖∇f‖² over its bound, [...], of a network with maps [..., L, d, d] at the size of the factors."""
    radius, chain = largest_norm(factors), maps.unbind(-3)
    error = product(chain) - target
    squared = torch.stack(factor_gradients(chain, error), dim=-3).square().sum((-3, -2, -1)).clamp(min=1e-300)
    return (squared / squared_gradient_bound(error.square().sum((-2, -1)) / 2, radius, len(chain))).log10()


def _descent(point: Point, targets: Tensor, gaussian: Tensor) -> xr.Dataset:
    """Descend from zero to both targets at once, and look at the maps of the solution for the first."""
    shown = sorted({0, *np.geomspace(1, point.steps, 40).round().astype(int).tolist()})
    factors = torch.zeros(2, point.depth, point.dim, point.dim, dtype=torch.float64)
    losses, norms = [], []
    for step in range(point.steps + 1):
        if step in shown:
            losses.append(residual_loss(factors, targets))
            norms.append(largest_norm(factors))
        factors = factors - RATE / point.depth * residual_gradient(factors, targets)
    solution, line = factors[0], torch.from_numpy(SEGMENT)[:, None, None, None]
    maps = residual_maps(solution)
    segments = [residual_maps(line * solution), line * maps]
    errors = torch.stack([product(each.unbind(-3)) for each in segments]) - targets[0]
    conditions = np.array([_log_condition(each) for each in (maps, gaussian)]) / _log_condition(targets[:1])
    measured = {
        "loss": (["determinant", "step"], torch.stack(losses, -1).numpy()),
        "largest_norm": (["determinant", "step"], torch.stack(norms, -1).numpy()),
        "segment": (["network", "place"], (errors.square().sum((-2, -1)) / 2).numpy()),
        "log_condition": ("network", conditions),
        "bound_used": ("network", [_bound_used(each, solution) for each in (maps, solution)]),
    }
    coords = {"determinant": ["positive", "negative"], "step": shown, "place": SEGMENT, "network": NETWORKS}
    return xr.Dataset(measured, coords)


def _log_condition(maps: Tensor) -> float:
    return float(torch.linalg.cond(maps).log().max())


def _bound_used(maps: Tensor, factors: Tensor) -> float:
    """Return the largest log σ_max/Σ log(1 + ‖Aₖ‖) and log σ_min/Σ log(1 − ‖Aₖ‖) of products of the first maps."""
    values = torch.linalg.svdvals(torch.stack(prefix_products(maps.unbind(0)))).clamp(min=1e-300)
    norms = torch.linalg.matrix_norm(factors, ord=2)
    upper, lower = norms.log1p().cumsum(0), (-norms).log1p().cumsum(0)
    return float(torch.maximum(values[:, 0].log() / upper, values[:, -1].log() / lower).max())


def _slope(network: str) -> Measure:
    """Return the measure of the slope of log log κ against log L."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        values = log(data["log_condition"].sel(network=network))
        fit = values.assign_coords(depth=np.log(data["depth"].values)).polyfit("depth", 1)
        return fit["polyfit_coefficients"].sel(degree=1, drop=True)

    return measure


def _least_ratio(network: str) -> Measure:
    return lambda data: data["log_ratio"].sel(network=network).min(["radius", "depth"])


def _tightness(sides: list[str]) -> Measure:
    return lambda data: abs(data["extreme_log_ratio"].sel(side=sides)).max(["side", "radius", "depth"])


LANDSCAPE = Claim(
    name="linear-residual-landscape",
    statement="Where all ‖Aₖ‖ ≤ τ < 1, ‖∇f‖² ≥ 2 L (1 − τ)^(2 (L − 1)) f: the only critical points are global minima. "
    "Gradient descent from zero finds one if det B > 0.",
    source="Hardt, Ma 2017, section 2; Hardt, Recht 2022, chapter 7",
    correction="The chapter says that the objective has no saddle points, and asks for ‖Aₖ‖ < 1/L. It has: "
    "A₁ = A₂ = −I and zeros elsewhere is a critical point with f = ½ ‖B‖². There is none in the open unit ball, and "
    "‖Aₖ‖ < 1 is enough for that; 1/L is the size of the minimisers, for a B whose determinant is positive.",
    criteria=(
        Criterion(
            name="log10 of ‖∇f‖² over its bound, least over radii, depths and random points",
            predicted=0.0,
            measured=_least_ratio("residual"),
            band=at_least(-EXACT),
            reason="an inequality without exceptions; rounding only",
            control=_least_ratio("plain"),
            control_name="the same factors without the identities",
        ),
        Criterion(
            name="log10 of ‖∇f‖² over its bound at Aₖ = −τ I and at zero, largest deviation from 0",
            predicted=0.0,
            measured=_tightness(["zero", "−τ I"]),
            band=at_most(EXACT),
            reason="an equality; rounding only",
            control=_tightness(["+τ I"]),
            control_name="Aₖ = +τ I",
        ),
        Criterion(
            name="log10 of the loss of gradient descent from zero, largest over depths",
            predicted=-np.inf,
            measured=lambda data: log10(data["loss"].sel(determinant="positive").isel(step=-1)).max("depth"),
            band=at_most(-10.0),
            reason="f falls by about 1 − 0.6 σ_min(B)² a step, to below 1e-10 in 300 steps for σ_min(B) > 0.36",
            control=lambda data: log10(data["loss"].sel(determinant="negative").isel(step=-1)).max("depth"),
            control_name="a target of negative determinant",
        ),
        Criterion(
            name="‖∇f‖²/(2 L f) at A₁ = A₂ = −I, a saddle outside of the open ball",
            predicted=0.0,
            measured=lambda data: data["slope_at_saddle"].sel(scale=1.0).max("depth"),
            band=at_most(1e-20),
            reason="every gradient has one of the two maps, which are zero, as a factor",
            control=lambda data: data["slope_at_saddle"].sel(scale=0.9).max("depth"),
            control_name="A₁ = A₂ = −0.9 I",
        ),
    ),
)
CONDITIONING = Claim(
    name="residual-conditioning",
    statement="Maps I + Aₖ with small Aₖ keep a product well conditioned: singular values of partial products lie "
    "between Π(1 − ‖Aₖ‖) and Π(1 + ‖Aₖ‖), and trained factors are of size 1/L.",
    source="Hardt, Recht 2022, chapter 7; Hardt, Ma 2017, section 2",
    criteria=(
        Criterion(
            name="share of the bound that log singular values of partial products use, largest",
            predicted=1.0,
            measured=lambda data: data["bound_used"].sel(network="residual").max("depth"),
            band=at_most(1 + EXACT),
            reason="the norm of a product is at most the product of the norms; rounding only",
            control=lambda data: data["bound_used"].sel(network="plain").max("depth"),
            control_name="the products of the Aₖ alone",
        ),
        Criterion(
            name="exponent in the depth of the largest log condition number of a trained map, over that of B",
            predicted=-1.0,
            measured=_slope("residual"),
            band=within(absolute=0.1),
            reason="B^(1/L) has log condition number log κ(B)/L if all maps are equal; they differ by O(1/L)",
            control=_slope("plain"),
            control_name="Gaussian matrices",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw the loss through zero, the gradient against its bound, and gradient descent."""
    signs, place = ("positive", "negative"), Axis("place", "multiple of the solution", values=data["place"].values)
    step = Axis("step", "steps (log scale; 0 is the start)", "step", data["step"].values)
    radius = Axis("radius", "norm τ of the factors", "log", data["radius"].values)
    slopes = _choices(data["log_ratio"], "network", NETWORKS, Axis("ratio", "log10 of ‖∇f‖² over its bound"))
    segments = _choices(data["segment"], "network", NETWORKS, Axis("loss", "loss f", range=(0.0, 4.0)))
    courses = _choices(data["loss"].clip(min=1e-16), "determinant", signs, Axis("loss", "loss f", "log"))
    norms = _choices(data["largest_norm"], "determinant", signs, Axis("norm", "largest ‖Aₖ‖"))
    return (
        Figure(
            "landscape",
            "The loss around zero",
            Caption(
                shows="The loss along the line from zero through the solution, of the residual network at multiples of "
                "its Aₖ and of the plain network at multiples of its maps I + Aₖ; and the squared gradient over "
                f"2 L (1 − τ)^(2 (L − 1)) f, least over random points. {SEEDS}",
                look_for="The plain loss is flat at zero, the more so the deeper; the residual one slopes there. The "
                "ratio of the residual network stays above 1, that of the plain one does not.",
                source="Hardt, Ma 2017, section 2",
            ),
            charts=(
                Chart(place, segments, "Loss through zero", choice_name="Network", starts=(0, 1)),
                Chart(radius, slopes, "Gradient", choice_name="Network"),
            ),
        ),
        Figure(
            "descent",
            "Gradient descent from zero",
            Caption(
                shows=f"Loss and largest norm of the Aₖ, for targets of either sign of the determinant. {SEEDS}",
                look_for="With det B > 0 the loss vanishes at a pace that does not hang on the depth, at norms of "
                "order 1/L. With det B < 0 it stalls at half the square of the least singular value.",
                source="Hardt, Ma 2017, section 2",
            ),
            charts=(
                Chart(step, courses, "Loss", choice_name="Determinant", starts=(0, 1)),
                Chart(step, norms, "Size of the factors", choice_name="Determinant", starts=(0, 1)),
            ),
        ),
    )


def _choices(values: xr.DataArray, dimension: str, names: Sequence[str], axis: Axis) -> tuple[Choice, ...]:
    depths, choices = values["depth"].values.tolist(), []
    for name in names:
        series = []
        for k, L in enumerate(depths):
            each = values.sel({dimension: name, "depth": L})
            low, middle, high = (each.quantile(q, "seed").values for q in (0.0, 0.5, 1.0))
            series.append(Series(f"depth {L}", middle, depth(k, len(depths)), low=low, high=high))
        choices.append(Choice(name, axis, (Lines(tuple(series)),)))
    return tuple(choices)


EXPERIMENT = Experiment(
    name="linear-residual-landscape",
    title="No critical points near zero in linear residual networks",
    source="Hardt, Ma 2017",
    settings=Settings,
    paper={"dim": 50, "depth": (10, 20, 50, 100), "spread": 0.05, "n_points": 20, "steps": 1000},
    simulate=simulate,
    claims=(LANDSCAPE, CONDITIONING),
    figures=figures,
)
