"""Singular values of a wide two-layer linear network are lazy below σ² w and balanced above, and align while lazy.

A = W₂ W₁ with W₁ [w, d] and W₂ [d, w] of independent entries N(0, σ²) learns Y = A* + E by gradient descent on
½ ‖A − Y‖²; A* has rank k and singular values near d/√k, E has entries N(0, 1). Let s be a singular value of A with
vectors u, v, and τ = σ² w = d^γ. For w ≫ d it moves at ds/dt = −2 √(s² + τ²) uᵀ(A − Y)v; once its vectors are those of
a singular value s* of Y, at

    ds/dt = 2 √(s² + τ²) (s* − s):  2 τ (s* − s) below τ, as in a linear model,  2 s (s* − s) above, as if balanced.

While all modes are lazy, A is a multiple of Y plus the random start, whose norm is 2 τ √(d/w); so the leading vectors
of A align before their s reaches τ. A network of width w = d starts with singular values above τ and random vectors.
Speeds are differences over one step of gradient descent, taken at its middle. Time is η · steps · max(‖A*‖, τ).

Source: Z. Tu, S. Aranguri, A. Jacot (2024), Mixed dynamics in linear networks, abstract and figure 1; the speed of an
aligned mode follows from their equation 1.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

from learnscope import laboratory
from learnscope.distributions.noisy_low_rank import noisy_low_rank
from learnscope.dynamics.self_consistent import mode_velocity, self_consistent_network
from learnscope.dynamics.two_layer_linear import ReducedNetwork, gradient_step, random_network
from learnscope.laboratory import Claim, Criterion, Experiment, Grid, Point, at_least, within
from learnscope.laboratory.claims import Measure
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, category

ABOVE = 3.0  # times the threshold: from where on a singular value counts as balanced, which √(1 + 1/9) is 5 % from
NEVER = {"missing": "no singular value crosses the threshold, or none lies on that side of it"}


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    dim: int = Field(50, ge=4, description="rows and columns of A")
    rank: int = Field(3, ge=1, description="rank of A*")
    gamma_threshold: Grid[float] = Field(
        (-0.5, 0.4, 1.4), description="γ of τ = σ² w = d^γ; below 1 the singular values of A* lie above τ"
    )
    gamma_wide: float = Field(3.0, ge=1.5, description="γ_w of the wide network's w = d^γ_w")
    resolution: float = Field(20, gt=1, description="1 / η over ‖A*‖, over τ where γ > 1")
    steps: int = Field(160, ge=1, description="steps of gradient descent")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Train a narrow, a wide, and a balanced network, which starts where the wide one does, on one target."""
    dim, threshold = point.dim, point.dim**point.gamma_threshold
    drawn = noisy_low_rank(dim, point.rank, generator)
    narrow, wide = (
        random_network(dim, dim, width, threshold / width, generator) for width in (dim, int(dim**point.gamma_wide))
    )
    balanced = self_consistent_network(wide.product, 0.0)
    networks = ReducedNetwork(*(torch.stack(parts) for parts in zip(narrow, wide, balanced, strict=True)))
    norm = float(torch.linalg.matrix_norm(drawn.signal, ord=2))
    rate = 1 / (point.resolution * (threshold if point.gamma_threshold > 1 else norm))
    values, alignment, goals = modes(networks, drawn.target, rate, point.steps, point.rank)
    leading = values[..., : point.rank].unbind(1)
    laws = (mode_velocity(middle(leading[1]), goals, tau) for tau in (threshold, 0.0))
    lazy = 2 * threshold * (goals - middle(leading[1]))
    return xr.Dataset(
        {
            "singular_value": (["time", "network", "mode"], values.numpy()),
            "alignment": (["time", "network", "top"], alignment.numpy()),
            "goal": ("top", goals.numpy()),
            "threshold": ((), threshold),
            "fit": ("law", [explained(speed(leading[1], rate), law) for law in (*laws, lazy)]),
            "gain": (["side"], gains(leading[1], goals, rate, threshold), NEVER),
            "recovered": ("network", [recovered(s, goals, rate, threshold) / threshold for s in leading], NEVER),
            "at_crossing": (
                "network",
                [at_crossing(s, a, threshold) for s, a in zip(leading, alignment.unbind(1), strict=True)],
                NEVER,
            ),
        },
        coords={
            "time": np.arange(point.steps + 1) / point.resolution,
            "network": ["narrow", "wide", "balanced"],
            "law": ["mixed", "balanced", "lazy"],
            "side": ["below", "above"],
        },
    )


def modes(
    networks: ReducedNetwork, target: Tensor, rate: float, steps: int, rank: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Train networks: singular values [time, network, rank + 1], alignment [time, network, rank], and s* [rank].

    The alignment of the r-th mode is the smaller of |u_r·u_r*| and |v_r·v_r*|, both in the order of singular values.
    """
    U, goals, Vh = torch.linalg.svd(target)
    values, alignment = [], []
    for step in range(steps + 1):
        left, s, right = torch.linalg.svd(networks.product)
        overlaps = (left * U).sum(-2).abs(), (right * Vh).sum(-1).abs()
        values.append(s[:, : rank + 1])
        alignment.append(torch.minimum(*overlaps)[:, :rank])
        if step < steps:
            networks = gradient_step(networks, networks.product - target, rate)
    return torch.stack(values), torch.stack(alignment), goals[:rank]


def middle(values: Tensor) -> Tensor:
    """Return singular values [time, mode] in the middle of steps."""
    return (values[1:] + values[:-1]) / 2


def speed(values: Tensor, rate: float) -> Tensor:
    """Return ds/dt of singular values [time, mode] in the middle of steps, in the time of the flow."""
    return values.diff(dim=0) / rate


def explained(measured: Tensor, law: Tensor) -> float:
    """Return R² = 1 − Σ(measured − law)² / Σ(measured − mean)², over times and modes together.

    Examples:
        >>> explained(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 2.0, 2.0]))
        0.0
    """
    return float(1 - (measured - law).square().sum() / (measured - measured.mean()).square().sum())


def recovered(values: Tensor, goals: Tensor, rate: float, threshold: float) -> float:
    """Return the threshold that the speeds below τ tell: median of √((ds/dt)² / (2 (s* − s))² − s²), 0 if negative."""
    s = middle(values)
    squares = (speed(values, rate) / (2 * (goals - s))).square() - s.square()
    return float(squares[s < threshold].median().clamp(min=0).sqrt())


def gains(values: Tensor, goals: Tensor, rate: float, threshold: float) -> list[float]:
    """Return the median of ds/dt over that of balanced weights, below τ and above 3 τ, up to 0.9 s*."""
    s = middle(values)
    ratio = speed(values, rate) / mode_velocity(s, goals, 0.0)
    sides = s < threshold, (s > ABOVE * threshold) & (s < 0.9 * goals)
    return [float(ratio[side].median()) for side in sides]


def at_crossing(values: Tensor, alignment: Tensor, threshold: float) -> float:
    """Return the least alignment over the modes, each at the last step before its singular value reaches the threshold.

    NaN if some of them never do.
    """
    above = values >= threshold
    if not bool(above.any(0).all()):
        return float("nan")
    last = (above.int().argmax(0) - 1).clamp(min=0)
    return float(alignment.gather(0, last[None]).min())


def over(name: str, **place: str) -> Measure:
    """Return the measure of a number, mean over the thresholds that the singular values of A* pass, τ < d."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        passed = np.flatnonzero(data["gamma_threshold"].values < 1)
        return data[name].sel(place).isel(gamma_threshold=passed).mean("gamma_threshold")

    return measure


CLAIM = Claim(
    name="mixed-threshold",
    statement="Singular values s < σ² w evolve lazily, at 2 σ² w (s* − s), those above as from balanced weights, at "
    "2 s (s* − s), in between at 2 √(s² + σ⁴w²) (s* − s); the leading modes align while they are lazy.",
    source="Tu, Aranguri, Jacot 2024, abstract; the speed in between follows from their equation 1",
    criteria=(
        Criterion(
            name="R² of the speeds of the leading k modes",
            predicted=1.0,
            measured=over("fit", law="mixed"),
            band=at_least(0.95),
            reason="modes that are not aligned yet, differences over whole steps, and √(d/w) cost a few percent",
            control=over("fit", law="lazy"),
            control_name="the lazy law at all singular values",
        ),
        Criterion(
            name="threshold that the speeds below tell, over σ² w",
            predicted=1.0,
            measured=over("recovered", network="wide"),
            band=within(0.1),
            reason="√(d/w) is 0.02 at both scales; the median hides the first steps, where modes are not aligned",
            control=over("recovered", network="balanced"),
            control_name="balanced weights from the same start, without threshold",
        ),
        Criterion(
            name="speed over that of balanced weights, for 3 σ² w < s < 0.9 s*",
            predicted=1.0,
            measured=over("gain", side="above"),
            band=within(0.1),
            reason="√(1 + 1/9) = 1.054 at the lower end, and differences over whole steps",
            control=over("gain", side="below"),
            control_name="the same for s < σ² w",
        ),
        Criterion(
            name="alignment of the leading k modes as they reach σ² w, the least of them",
            predicted=1.0,
            measured=over("at_crossing", network="wide"),
            band=at_least(0.95),
            reason="the start turns them by √(d/w), and by 1/√w over the relative gap to the next, which can be 0.05",
            control=over("at_crossing", network="narrow"),
            control_name="a network of width d, whose singular values start above",
        ),
    ),
    correction="For w ≫ d every mode has ds/dt = −2 √(s² + σ⁴w²) uᵀ(A − Y)v; s* − s stands for the product only once "
    "the mode is aligned, which needs a start far below s*, 2 σ² w √(d/w) ≪ s*: for larger σ² w the aligned law "
    "has a low R², although the equation holds. And R² alone does not see the threshold: the law of balanced weights "
    "reaches 0.9 to 0.999 as well, since fast modes lie above; the speeds below tell it.",
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw singular values against time with the threshold, and the alignment beside them."""
    time = Axis("time", "time, in units of 1 / max(‖A*‖, σ² w)", "linear", data["time"].values)
    places = range(data.sizes["gamma_threshold"])
    values = tuple(_values(data.isel(gamma_threshold=k, seed=0)) for k in places)
    alignment = tuple(_alignment(data.isel(gamma_threshold=k)) for k in places)
    caption = Caption(
        "Left: the leading singular values of A in the wide network and the first of the noise, of one seed; dashed "
        "are σ² w and the leading singular values s* of the target. Right: alignment of the leading modes with those "
        "of the target, the smaller one of left and right singular vectors, with the range of the seeds.",
        "In the wide network modes align far below σ² w and accelerate above it. In the narrow network, of "
        "width d, they start above it and align while they grow.",
        "Tu, Aranguri, Jacot 2024, figure 1, right",
    )
    charts = (
        Chart(time, values, "singular values", "σ² w", starts=(1,)),
        Chart(time, alignment, "alignment", "σ² w", starts=(1,)),
    )
    return (Figure("modes", "Lazy below the threshold, balanced above", caption, charts),)


def _values(data: xr.Dataset) -> Choice:
    wide, gamma = data["singular_value"].sel(network="wide"), float(data["gamma_threshold"])
    leading, flat = data.sizes["top"], np.ones(data.sizes["time"])
    lines = [Series("σ² w", float(data["threshold"]) * flat, category(0), style="dashed")]
    for k in range(data.sizes["mode"]):
        style = "line" if k < leading else "faint"
        lines.append(Series(f"s{k + 1}", wide.isel(mode=k).values, category(1 if k < leading else 7), style=style))
    lines += [Series(f"s{k + 1}*", s * flat, category(2), style="dashed") for k, s in enumerate(data["goal"].values)]
    axis = Axis("singular value", "singular value of A", "log")
    return Choice(f"d^{gamma:g}", axis, (Lines(tuple(lines)),))


def _alignment(data: xr.Dataset) -> Choice:
    series = []
    for k, network in enumerate(("wide", "narrow")):
        each = data["alignment"].sel(network=network).mean("top")
        low, high = each.min("seed").values, each.max("seed").values
        series.append(Series(f"{network} network", each.mean("seed").values, category(k), low, high))
    axis = Axis("alignment", "mean over the leading modes of |u·u*|, |v·v*|", "linear", range=(0.0, 1.05))
    return Choice(f"d^{float(data['gamma_threshold']):g}", axis, (Lines(tuple(series)),))


EXPERIMENT = Experiment(
    name="mixed-threshold",
    title="Lazy below a threshold, balanced above it",
    source="Z. Tu, S. Aranguri, A. Jacot (2024), Mixed Dynamics In Linear Networks: Unifying the Lazy and Active "
    "Regimes, arXiv:2405.17580",
    settings=Settings,
    simulate=simulate,
    claims=(CLAIM,),
    figures=figures,
    paper={"dim": 500, "rank": 5, "gamma_wide": 2.25, "resolution": 5, "steps": 100},
)
