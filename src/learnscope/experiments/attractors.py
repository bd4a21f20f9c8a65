"""The neurons that learn features gather in a few attractors, whose members do what a single neuron does.

A network f(x) = (√2/h) Σ_n β_n max(ω_n · x / √d + b_n, 0) learns the side of a circle in the plane by gradient flow on
the hinge loss of F = α (f - f₀), until every margin is reached. Its neurons are drawn as the points
z = -√d b ω / |ω|² where they bend. At the start they spread evenly; with large α, the lazy regime, they stay where they
are; with small α they end in a few places. Neurons that are active on the same training points and agree in the sign
of β form an attractor: all of them can be replaced by one, with the sums of |β| ω and |β| b, without any change on the
training points. The number A of sets of training points that activate some neuron falls accordingly; how it grows with
p and h is measured and not judged. Steps are longer than by default, several times fewer, for about a sixth more sets
of active points (see :mod:`learnscope.dynamics.step_control`).

Source: L. Petrini (2020), Learning features in neural nets: perks and drawbacks, candidacy slides, "attractors".
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import xarray as xr
from pydantic import Field, field_validator
from torch import Tensor

from learnscope import laboratory
from learnscope.distributions.interfaces import Sample, sphere
from learnscope.dynamics.shallow import Run, Stop
from learnscope.dynamics.step_control import Limits
from learnscope.experiments.figures.attractors import counts_figure, neurons_figure
from learnscope.experiments.shared.hinge_flow import PROXIMAL, fitted_share, follow
from learnscope.laboratory import Claim, Criterion, Experiment, Grid, Point, at_least, at_most
from learnscope.laboratory.claims import Measure
from learnscope.networks.one_hidden_layer import OneHiddenLayer, one_hidden_layer
from learnscope.observables.neurons import (
    Neurons,
    active_sets,
    angular_entropy,
    attractors,
    clusters,
    kinks,
    merged,
    preactivations,
)
from learnscope.report.chart import Figure

FRAMES = 24  # moments that are kept of a training
TOGETHER = 0.05  # distance within which neurons belong to one cluster
Regime = Literal["features", "lazy"]
REGIMES: tuple[Regime, ...] = ("features", "lazy")
MERGERS = ("attractor", "sign")


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    n_train: Grid[int] = Field((8, 16, 32, 64), description="training points p")
    widths: tuple[int, ...] = Field((50, 200, 800, 3200), min_length=2, description="numbers of neurons h, ascending")
    drawn: int = Field(800, ge=2, description="the width whose neurons are drawn, one of the widths")
    alpha: float = Field(1e-4, gt=0, description="scale of the output, small for features")
    lazy_alpha: float = Field(1e4, gt=0, description="the same in the lazy regime")
    max_output_change: float = Field(0.5, gt=0, description="most that a step of the flow changes F by")
    max_steps: int = Field(50_000, ge=1, description="most steps of the flow")
    proximal: bool = Field(False, description=PROXIMAL)

    @field_validator("drawn")
    @classmethod
    def _among_widths(cls, value: int, info: object) -> int:
        if value not in getattr(info, "data", {}).get("widths", (value,)):
            raise ValueError("it must be one of the widths")
        return value


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Train networks of all widths in both regimes on one sample, and look at their neurons."""
    sample = sphere(point.n_train, 2, generator)
    starts = [
        one_hidden_layer(width, 2, generator, activation="normalised_relu", mirrored=False) for width in point.widths
    ]
    runs = {
        name: _trained(starts, sample, alpha, point)
        for name, alpha in zip(REGIMES, (point.alpha, point.lazy_alpha), strict=True)
    }
    shown = point.widths.index(point.drawn)
    patterns = [_patterns(runs[name][shown], sample) for name in REGIMES]
    counts = np.array([[_counts(run, sample.x) for run in runs[name]] for name in REGIMES], dtype=np.float64)
    errors = np.array([_merging_errors(run.network, sample.x) for run in runs["features"]])
    data = xr.Dataset(
        {
            "active_sets": (["regime", "width", "moment"], counts),
            "merging_error": (["width", "merged_by"], errors),
            "fitted": (["regime", "width"], [[_fitted(run, sample) for run in runs[name]] for name in REGIMES]),
        },
        coords={
            "regime": list(REGIMES),
            "width": list(point.widths),
            "moment": ["start", "end"],
            "merged_by": list(MERGERS),
        },
    )
    return data.merge(xr.concat(patterns, "regime"))


def _trained(starts: list[OneHiddenLayer], sample: Sample, alpha: float, point: Point) -> list[Run]:
    count = len(starts)
    return follow(
        starts,
        [sample.x] * count,
        [sample.y] * count,
        alpha=alpha,
        stop=Stop(max_steps=point.max_steps),
        snapshots_per_decade=8,
        proximal=point.proximal,
        limits=Limits(point.max_output_change, 1.0),
    )


def neurons_of(network: OneHiddenLayer) -> Neurons:
    """Return the parameters of a network's neurons."""
    return Neurons(network.weights, network.biases, network.outputs)


def _fitted(run: Run, sample: Sample) -> float:
    return fitted_share(run, sample.y)


def _counts(run: Run, x: Tensor) -> tuple[int, int]:
    return active_sets(neurons_of(run.initial), x), active_sets(neurons_of(run.network), x)


def _merging_errors(network: OneHiddenLayer, x: Tensor) -> list[float]:
    """Return the largest change of an output, relative to the largest output, by merging attractors, or signs."""
    neurons, before = neurons_of(network), network(x)
    smaller = (merged(neurons, members) for members in (attractors(neurons, x), (neurons.outputs > 0).long()))
    after = [OneHiddenLayer(*parts, network.activation)(x) for parts in smaller]
    return [float((values - before).abs().max() / before.abs().max()) for values in after]


def _patterns(run: Run, sample: Sample) -> xr.Dataset:
    """Return where the neurons bend through training, and how they spread at the start, half-way, and at the end."""
    fitted = (run.alpha * (run.snapshots(sample.x) - run.initial(sample.x)) * sample.y > 1).double().mean(1)
    half = int((fitted >= 0.5).nonzero()[0]) if bool((fitted >= 0.5).any()) else len(fitted) - 1
    spread = [_spread(run.snapshots[k], sample.x) for k in (0, half, len(fitted) - 1)]
    frames = torch.linspace(0, len(run.times) - 1, FRAMES).round().long()
    shown = run.snapshots.weights[frames], run.snapshots.biases[frames]
    return xr.Dataset(
        {
            "entropy": ("stage", [float(angular) for angular, _ in spread]),
            "clusters": ("stage", [float(number) for _, number in spread]),
            "kink": (["frame", "neuron", "coordinate"], kinks(*shown).float().numpy()),
            "strength": ("neuron", _strength(run.network).float().numpy()),
            "time": ("frame", run.times[frames].numpy()),
            "fitted_at": ("frame", fitted[frames].numpy()),
        },
        coords={"stage": ["start", "half fitted", "end"], "frame": np.arange(FRAMES)},
    )


def _strength(network: OneHiddenLayer) -> Tensor:
    return network.outputs.abs() * network.weights.norm(dim=-1)


def _spread(network: OneHiddenLayer, x: Tensor) -> tuple[Tensor, int]:
    """Return the entropy of the directions of active neurons, weighted by |β| |ω|, and their number of clusters."""
    active = (preactivations(network.weights, network.biases, x) > 0).any(0)
    z = kinks(network.weights, network.biases)[active]
    return angular_entropy(z, _strength(network)[active]), clusters(z, TOGETHER)


def shrinkage(regime: Regime) -> Measure:
    """Return the measure of A at the end over A at the start, for the largest p and h."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        sets = data["active_sets"].sel(regime=regime).isel(n_train=-1, width=-1)
        return sets.sel(moment="end", drop=True) / sets.sel(moment="start", drop=True)

    return measure


def growth(data: xr.Dataset) -> xr.DataArray:
    """Return the least ratio of A at the end between neighbouring sizes, of mean A over seeds and the other size."""
    mean = data["active_sets"].sel(regime="features", moment="end").mean("seed")
    ratios = []
    for along, over in (("width", "n_train"), ("n_train", "width")):
        values = mean.mean(over).transpose(along).values
        ratios.append(float((values[1:] / values[:-1]).min()))
    return xr.DataArray(min(ratios))


def merging(by: str) -> Measure:
    """Return the measure of the largest relative change of an output by merging, over sizes."""
    return lambda data: data["merging_error"].sel(merged_by=by).max(["n_train", "width"])


def entropy_left(regime: Regime, since: str) -> Measure:
    """Return the measure of the entropy of directions at the end over that at an earlier stage."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        entropy = data["entropy"].sel(regime=regime).isel(n_train=-1)
        return entropy.sel(stage="end", drop=True) / entropy.sel(stage=since, drop=True)

    return measure


def clusters_left(regime: Regime) -> Measure:
    """Return the measure of the number of clusters at the end over the number of neurons."""
    return lambda data: data["clusters"].sel(regime=regime, stage="end").isel(n_train=-1) / data.sizes["neuron"]


PATTERNS = Claim(
    name="sphere-z-patterns",
    statement="In the plane of z, neurons start as an even cloud; in the lazy regime they stay spread; learning "
    "features gathers them in a ring, and at the end in a few points.",
    source="Petrini 2020, patterns A to D",
    criteria=(
        Criterion(
            name="entropy of the directions of active neurons at the end over that at the start",
            predicted=0.7,
            measured=entropy_left("features", "start"),
            band=at_most(0.7),
            reason="log A / log 36 for A ≈ 12 directions of equal weight is 0.7; an even cloud has 1",
            control=entropy_left("lazy", "start"),
            control_name="lazy regime",
        ),
        Criterion(
            name="the same at the end over that with half of the points fitted (from ring to points)",
            predicted=0.7,
            measured=entropy_left("features", "half fitted"),
            band=at_most(0.7),
            reason="as before, with 1 for a ring",
            control=entropy_left("lazy", "half fitted"),
            control_name="lazy regime",
        ),
        Criterion(
            name="clusters of active neurons at the end over neurons",
            predicted=0.1,
            measured=clusters_left("features"),
            band=at_most(0.1),
            reason="some tens of attractors for 800 neurons; weights grow by 1/√α = 100, so a cluster is 1 % wide",
            control=clusters_left("lazy"),
            control_name="lazy regime",
        ),
    ),
)
MERGE = Claim(
    name="attractor-merge",
    statement="All neurons of an attractor can be replaced by one without changing the outputs on the training points.",
    source="Petrini 2020, attractors",
    correction="One neuron for each set of active points and each sign of β; without the condition on the sign one "
    "neuron is not enough.",
    criteria=(
        Criterion(
            name="largest change of an output on the training points, relative, the largest over p and h",
            predicted=0.0,
            measured=merging("attractor"),
            band=at_most(1e-9),
            reason="an identity; rounding is 1e-16 times sums over neurons of both signs, which cancel by up to 1e4",
            control=merging("sign"),
            control_name="merged by the sign of β alone",
        ),
    ),
)
COUNT = Claim(
    name="attractor-count",
    statement="The number A of different sets of training points that activate neurons falls through training in the "
    "regime of features, and grows with p and h.",
    source="Petrini 2020, attractors (preliminary on the slide)",
    correction="The slide's A ~ p √h is not judged: exponents here are about 1/2 in p and 0.25 to 0.4 in h.",
    criteria=(
        Criterion(
            name="A at the end over A at the start, largest p and h",
            predicted=0.2,
            measured=shrinkage("features"),
            band=at_most(0.2),
            reason="A saturates where the start has a pattern for almost every neuron; a fifth is far from the 1 of "
            "neurons that stay",
            control=shrinkage("lazy"),
            control_name="lazy regime",
        ),
        Criterion(
            name="least growth of the mean of A from one p, or h, to the next",
            predicted=1.0,
            measured=growth,
            band=at_least(1.0),
            reason="monotone in both, for means over the other size",
            pooled=True,
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw neurons through training, and numbers of attractors."""
    return neurons_figure(data), counts_figure(data)


EXPERIMENT = Experiment(
    name="attractors",
    title="Neurons gather in a few attractors",
    source="L. Petrini (2020), Learning features in neural nets: perks and drawbacks, candidacy slides, EPFL",
    settings=Settings,
    paper={
        "n_train": (8, 16, 32, 64, 128, 256, 512, 1000),
        "widths": (50, 200, 800, 3200, 10_000, 100_000),
        "drawn": 10_000,
        "proximal": True,
    },
    simulate=simulate,
    claims=(PATTERNS, MERGE, COUNT),
    figures=figures,
    parts=("neuron-motion", "attractors-on-images"),
)
