"""From large weights a linear network of any depth does what the linear model does, without a bias towards low rank.

A matrix of low rank is completed by the flow on ½ Σ (A − Y)² over the entries that are seen, with A = W_N ... W₁ and
‖Y‖₂ = 1. Small weights find low rank and with it most of the unseen entries. Weights of large norm hardly move: the
network is linear in them, its kernel is nearly that of a linear model, and unseen entries stay what they were, here
zero. From Gram matrices W₁ᵀ W₁ = W₂ W₂ᵀ = σ² 1, two layers of infinite width move them by O(σ⁻⁴) only, since A is odd
in the target and the Gram matrices move by O(σ⁻²).

Weights are N(0, σ² / width), and the last two layers mirrored, (V; V) / √2 and (U, −U) / √2, so that A starts at zero.
Time is that of the flow of the factors.

Source: A. Jacot, F. Ged, B. Simsek, C. Hongler, F. Gabriel (2021), Saddle-to-saddle dynamics in deep linear networks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor
from torch.linalg import matrix_norm
from xarray.ufuncs import log

from learnscope import laboratory
from learnscope.distributions.designs import gaussian_design
from learnscope.distributions.matrix_completion import low_rank_matrix, observed_entries
from learnscope.dynamics.end_to_end import factor_flow, two_layer_flow
from learnscope.laboratory import Claim, Criterion, Experiment, Point, at_least, median_over_seeds, within
from learnscope.networks.deep_linear import product
from learnscope.observables.spectra import effective_rank
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, category

SCALE_OF_THREE = 2.0  # σ of three layers; their kernel is about 2 σ⁴
SHARES = torch.logspace(-3, 0, 40, dtype=torch.float64)  # of the time of a run


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    dim: int = Field(30, ge=6, description="rows and columns of the matrix")
    rank: int = Field(2, ge=1, description="of the matrix")
    observed: float = Field(0.3, gt=0, lt=1, description="share of entries that are seen")
    scales: tuple[float, ...] = Field(
        (0.01, 0.1, 0.3, 1.0, 2.0, 4.0), description="σ of two layers, from small to large"
    )
    width: int = Field(1000, ge=1, description="of two layers")
    width_of_three: int = Field(100, ge=1, description="of three layers")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Complete a matrix with two layers of finite and infinite width at each scale, and with three of large weights."""
    shape = (point.dim, point.dim)
    target = low_rank_matrix(shape, point.rank, generator)
    target = target / matrix_norm(target, 2)
    seen = observed_entries(shape, round(point.observed * point.dim**2), generator).double()

    def gradient(A: Tensor) -> Tensor:
        return seen * (A - target)

    scales = torch.tensor(point.scales, dtype=torch.float64)
    first, second = mirrored_factors(point.dim, point.width, 2, generator)
    finite = torch.cat([first.mT, second])
    grams = torch.stack([finite @ finite.mT, torch.eye(2 * point.dim, dtype=torch.float64)])
    grams = grams[:, None] * scales[:, None, None] ** 2
    times = SHARES[:, None, None] * (1000 / (1 + 50 * scales**2)).expand(2, -1)
    path = two_layer_flow(gradient, grams, point.dim, times, relative_tolerance=1e-8).states
    A, first_gram = path[..., point.dim :, : point.dim], path[..., : point.dim, : point.dim]
    moved = matrix_norm(first_gram[-1] - grams[..., : point.dim, : point.dim]) / matrix_norm(first_gram[-1])
    three = [SCALE_OF_THREE * W for W in mirrored_factors(point.dim, point.width_of_three, 3, generator)]
    of_three = product(factor_flow(gradient, three, [10 / SCALE_OF_THREE**4], relative_tolerance=1e-6)[0])[0]

    def error(A: Tensor, weight: Tensor) -> Tensor:
        return (weight * (A - target).square()).sum((-2, -1)) / (weight * target.square()).sum()

    dims, spectrum = ["width", "scale"], torch.linalg.svdvals(A[:, 0, [0, -1]])[..., :6]
    return xr.Dataset(
        {
            "test": (dims, error(A[-1], 1 - seen), {"long_name": "squared error on unseen entries, over that of zero"}),
            "train": (dims, error(A[-1], seen), {"long_name": "squared error on seen entries, over that of zero"}),
            "filled": (dims, matrix_norm((1 - seen) * A[-1]) / matrix_norm((1 - seen) * target)),
            "rank": (dims, effective_rank(torch.linalg.svdvals(A[-1])), {"long_name": "effective rank of A"}),
            "moved": (dims, moved, {"long_name": "movement of W₁ᵀ W₁, over its size at the end"}),
            "singular_value": (["share", "end", "index"], spectrum),
            "test_of_three": float(error(of_three, 1 - seen)),
            "rank_of_three": float(effective_rank(torch.linalg.svdvals(of_three))),
        },
        coords={
            "width": ["finite", "infinite"],
            "scale": list(point.scales),
            "end": ["small", "large"],
            "share": SHARES,
        },
    )


def mirrored_factors(dim: int, width: int, depth: int, generator: torch.Generator) -> list[Tensor]:
    """Return factors of variance 1 / width whose last two are (V; V) / √2 and (U, −U) / √2: their product is zero."""
    hidden = [gaussian_design(width, width if j else dim, generator) / width**0.5 for j in range(depth - 1)]
    last = gaussian_design(dim, width, generator) / width**0.5
    return [*hidden[:-1], torch.cat([hidden[-1]] * 2) / 2**0.5, torch.cat([last, -last], dim=1) / 2**0.5]


def completed(quantity: str, scale: int) -> Callable[[xr.Dataset], xr.DataArray]:
    """Return the measure of a quantity after two layers of finite width, at the first or the last scale."""
    return lambda data: data[quantity].sel(width="finite").isel(scale=scale)


def lesser_rank(data: xr.Dataset) -> xr.DataArray:
    """Return the lesser effective rank of two layers of the largest weights and three of large ones."""
    two = completed("rank", -1)(data)
    return two.where(two < data["rank_of_three"], data["rank_of_three"])


def slope(width: str) -> Callable[[xr.Dataset], xr.DataArray]:
    """Return the measure of the slope of log(size of unseen entries) over log(σ), between the two largest scales."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        ends = log(data["filled"].sel(width=width)).isel(scale=[-2, -1])
        return ends.diff("scale").isel(scale=0) / np.log(data["scale"].values[-1] / data["scale"].values[-2])

    return measure


LAZINESS_REASON = (
    "the kernel of width w has random entries of size w^(−½), which move unseen entries by 0.3 · 2 d / w in the "
    "square: 0.02 for two layers, 0.18 for three; twice the larger"
)
CLAIM = Claim(
    name="dln-lazy-no-bias",
    statement="From weights of large norm a linear network of any depth does what the linear model does, without a "
    "bias towards low rank: unseen entries stay zero, up to O(σ⁻⁴) at infinite width.",
    source="Jacot, Ged, Simsek, Hongler, Gabriel 2021",
    criteria=(
        Criterion(
            name="two layers: squared error on unseen entries, over that of zero",
            predicted=1.0,
            measured=completed("test", -1),
            band=within(0.35),
            reason=LAZINESS_REASON,
            control=completed("test", 0),
            control_name="small weights",
        ),
        Criterion(
            name="three layers: squared error on unseen entries, over that of zero",
            predicted=1.0,
            measured=lambda data: data["test_of_three"],
            band=within(0.35),
            reason=LAZINESS_REASON,
        ),
        Criterion(
            name="effective rank of the completion, the lesser of two and three layers",
            predicted=15.0,
            measured=lesser_rank,
            band=at_least(8.0),
            reason="the seen entries alone, 270 of 900, have an effective rank near dim / 2; about half of that",
            control=completed("rank", 0),
            control_name="small weights",
        ),
        Criterion(
            name="slope of the unseen entries over σ at infinite width",
            predicted=-4.0,
            measured=slope("infinite"),
            band=within(absolute=0.1),
            reason="the next order is smaller by σ⁻⁴, 0.06 at σ = 2",
            control=slope("finite"),
            control_name="finite width, where the kernel's fluctuations stay",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw what is completed from weights of each size, and the singular values on the way."""
    return _scales_figure(data), _spectra_figure(data)


def _scales_figure(data: xr.Dataset) -> Figure:
    choices = []
    for name in ("test", "rank", "moved", "train"):
        lines = [
            median_over_seeds(data[name].sel(width=str(w)), f"{w} width", category(k))
            for k, w in enumerate(data["width"].values)
        ]
        title = str(data[name].attrs["long_name"])
        axis = Axis(name, title, "linear" if name in ("test", "rank") else "log")
        choices.append(Choice(title.partition(",")[0], axis, (Lines(tuple(lines)),)))
    return Figure(
        "scales",
        "Small weights find low rank, large ones leave zeros",
        Caption(
            shows="Two layers complete a matrix of which a part is seen: errors, effective rank, and movement at the "
            "end, by the scale σ of the weights. Median over seeds, bands from the least to the largest.",
            look_for="From small weights most of the matrix is found, with a low rank. From large ones the Gram "
            "matrices hardly move, and unseen entries are as wrong as zeros; finite width adds little but noise.",
            source="Jacot, Ged, Simsek, Hongler, Gabriel 2021",
        ),
        charts=(
            Chart(Axis("scale", "scale σ", "log", data["scale"].values), tuple(choices), starts=(0, 1), height=420),
        ),
    )


def _spectra_figure(data: xr.Dataset) -> Figure:
    choices = []
    for end in data["end"].values:
        values = data["singular_value"].sel(end=end)
        lines = [
            median_over_seeds(values.sel(index=k), f"singular value {k + 1}", category(k))
            for k in range(values.sizes["index"])
        ]
        choices.append(Choice(f"{end} weights", Axis("singular value", "singular value of A"), (Lines(tuple(lines)),)))
    return Figure(
        "spectra",
        "One mode after the other, or all at once",
        Caption(
            shows="The largest singular values of the product of two layers of finite width over time, from the "
            "smallest and from the largest weights. Median over seeds, bands from the least to the largest.",
            look_for="From small weights a few rise one by one, and the rest later and lower. From large weights all "
            "rise together to those of the seen entries alone.",
            source="Jacot, Ged, Simsek, Hongler, Gabriel 2021",
        ),
        charts=(Chart(Axis("share", "share of the run", "log", data["share"].values), tuple(choices), starts=(0, 1)),),
    )


EXPERIMENT = Experiment(
    name="lazy-completion",
    title="Large weights complete a matrix like a linear model",
    source="Jacot, Ged, Simsek, Hongler, Gabriel 2021",
    settings=Settings,
    paper={"dim": 100, "rank": 5, "width": 10_000, "width_of_three": 1000},
    simulate=simulate,
    claims=(CLAIM,),
    figures=figures,
)
