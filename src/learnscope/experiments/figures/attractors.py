"""Where neurons bend, and how many attractors there are."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.laboratory import SEEDS, median_over_seeds
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Groups, Lines, Points, Slider, depth

WINDOW = 3.0  # units of the inputs that are drawn on each side of the origin


def kinks_chart(kinks: xr.DataArray, window: float, slider: Slider, groups: Groups) -> Chart:
    """Return both regimes side by side in the plane of z, without the neurons outside of a window.

    Args:
        kinks: z over regime, the places of the slider, neuron and coordinate; the first two coordinates are drawn.
        window: shown on each side of the origin.
        slider: moments of training.
        groups: colours of the neurons.
    """
    choices = []
    for name in kinks["regime"].values:
        z = kinks.sel(regime=name).values
        z = np.where(np.abs(z).max(-1, keepdims=True) <= window, z, np.nan)
        views = tuple(Points(places, ("z₁", "z₂")) for places in z)
        choices.append(Choice(str(name), Axis("z₂", "z₂", range=(-window, window)), views))
    return Chart(
        Axis("z₁", "z₁", range=(-window, window)),
        tuple(choices),
        choice_name="Regime",
        slider=slider,
        groups=groups,
        height=480,
        starts=(0, 1),
    )


def neurons_figure(data: xr.Dataset) -> Figure:
    """Draw where the neurons of the first seed bend, through training in both regimes."""
    first = data.isel(seed=0, n_train=-1)
    count = data.sizes["neuron"]
    strength = first["strength"].sel(regime="features").values
    groups = Groups(
        "strength |β| |ω| at the end with features, log10",
        (),
        np.zeros(count, int),
        tuple(f"neuron {k}: |β| |ω| = {value:.3g}" for k, value in enumerate(strength)),
        values=np.log10(np.maximum(strength, 1e-12)),
    )
    fitted = first["fitted_at"].sel(regime="features").values
    half, unfinished = int(np.argmax(fitted >= 0.5)), int((data["fitted"] < 1).sum())
    return Figure(
        "neurons",
        "Neurons gather",
        Caption(
            shows=f"Where the {count} neurons of the first seed bend, through training on {int(first['n_train'])} "
            "points; each regime at its own pace, from the first to the last moment. Neurons outside of the window of "
            f"{WINDOW:g} are not drawn. With features half of the points are fitted from moment {half} on. Runs that "
            f"ended by their number of steps before every point was fitted: {unfinished} of {data['fitted'].size}.",
            look_for="A: an even cloud at the start. B: in the lazy regime it stays. D: with features most share a few "
            "places in the end. The slide's ring on the way there, C, does not show: look at the moments before half "
            "of the points are fitted.",
            source="Petrini 2020, patterns A to D",
        ),
        charts=(kinks_chart(first["kink"], WINDOW, Slider("moment", data["frame"].values), groups),),
    )


def counts_figure(data: xr.Dataset) -> Figure:
    """Draw the number of sets of active points against both sizes."""
    axis = Axis("attractors", "sets of active points A", "log")
    ends = data["active_sets"].sel(regime="features", moment="end")
    starts = data["active_sets"].sel(regime="features", moment="start")
    charts = []
    for along, other, title in (("width", "n_train", "neurons h"), ("n_train", "width", "training points p")):
        values = data[other].values.tolist()
        letter = "p" if other == "n_train" else "h"
        end = [
            median_over_seeds(ends.sel({other: v}), f"{letter} = {v}", depth(k, len(values)))
            for k, v in enumerate(values)
        ]
        start = [
            median_over_seeds(starts.sel({other: v}), f"{letter} = {v}, start", depth(k, len(values)), "dashed")
            for k, v in enumerate(values)
        ]
        charts.append(
            Chart(
                Axis(along, title, "log", data[along].values), (Choice("attractors", axis, (Lines((*end, *start)),)),)
            )
        )
    exponents = {along: _exponent(ends, along) for along in ("width", "n_train")}
    return Figure(
        "counts",
        "How many attractors there are",
        Caption(
            shows="Different sets of training points that activate some neuron, at the end of training with features "
            f"and (dashed) at the start. {SEEDS} Slopes of log mean A: "
            f"{exponents['n_train']:.2f} in p, {exponents['width']:.2f} in h.",
            look_for="Fewer at the end than at the start, growing with p and h, if more slowly than p √h.",
            source="Petrini 2020, attractors",
        ),
        charts=tuple(charts),
    )


def _exponent(counts: xr.DataArray, along: str) -> float:
    """Return the slope of log A against log of a size, from means over seeds, mean over the other size."""
    values = np.log(counts.mean("seed").transpose(along, ...).values)
    return float(np.polyfit(np.log(counts[along].values), values, 1)[0].mean())
