"""Dimensions of layers by depth and through training, and the last layer in the plane of two components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import xarray as xr

from learnscope.laboratory import SEEDS, median_over_seeds
from learnscope.report.chart import (
    Axis,
    Caption,
    Chart,
    Choice,
    Figure,
    Groups,
    Lines,
    Points,
    Slider,
    category,
    depth,
)
from learnscope.report.figures.components import aligned

REGIMES = ("feature", "lazy")
Style = Literal["line", "dashed"]


def depth_figure(data: xr.Dataset, levels: Sequence[float]) -> Figure:
    """Draw the dimension by depth at all stages, which are levels of the loss."""
    stages = [f"mean loss {level:g}" for level in levels]
    names = ("before training", *stages, "all margins above 1")
    choices = tuple(
        Choice(
            f"{regime} training",
            Axis("dimension", "intrinsic dimension", range=(0.0, 1.1 * float(data["dimension"].max()))),
            (
                Lines(
                    tuple(
                        median_over_seeds(
                            data["dimension"].sel(regime=regime).isel(stage=k), names[k], depth(k, len(names))
                        )
                        for k in range(len(names))
                    )
                ),
            ),
        )
        for regime in REGIMES
    )
    return Figure(
        "depth",
        "Dimension by depth",
        Caption(
            shows=f"Intrinsic dimension of each layer on test images, at stages of training. {SEEDS}",
            look_for="Before training the dimension rises a little at first. Feature training lowers it early, the "
            "more the later the layer, and gives a little back; lazy training leaves it.",
            source="Ansuini, Laio, Macke, Zoccolan 2019",
        ),
        charts=(
            Chart(
                Axis("layer", "", "names", data["layer"].values),
                choices,
                choice_name="Regime",
                starts=(0, 1),
                height=430,
            ),
        ),
    )


def training_figure(data: xr.Dataset, levels: Sequence[float]) -> Figure:
    """Draw how much of the variance one and two components hold, through the stages."""
    stages = np.array(["start", *(f"{level:g}" for level in levels), "end"])
    styles: tuple[tuple[str, Style], ...] = tuple(zip(REGIMES, ("line", "dashed"), strict=True))
    lines = [
        median_over_seeds(data[name].sel(regime=regime), f"{label}, {regime}", category(k), style)
        for k, (name, label) in enumerate((("first_share", "one component"), ("two_share", "two components")))
        for regime, style in styles
    ]
    return Figure(
        "line",
        "The last hidden layer becomes a line",
        Caption(
            shows="Variance of the last hidden preactivations on test images along their first principal components, "
            f"at stages of training by the mean loss. {SEEDS}",
            look_for="In the feature regime one direction takes nearly all of it early; in the lazy regime (dashed) "
            "nothing changes.",
            source="Petrini 2020; Paccolat, Petrini, Geiger, Tyloo, Wyart 2021",
        ),
        charts=(
            Chart(
                Axis("stage", "mean loss", "names", stages),
                (Choice("share", Axis("share", "share of the variance", range=(0.0, 1.02)), (Lines(tuple(lines)),)),),
            ),
        ),
    )


def plane_figure(data: xr.Dataset, levels: Sequence[float]) -> Figure:
    """Draw the last hidden layer of the first seed in the plane of two components, through the stages."""
    first = data.isel(seed=0)
    digits = first["digit"].values.astype(int)
    groups = Groups("label", ("even", "odd"), digits % 2, tuple(f"digit {digit}" for digit in digits))
    choices = []
    for regime in REGIMES:
        chosen = first.sel(regime=regime)
        views = tuple(
            Points(places, ("component 1", "component 2"))
            for places in _turned(chosen["place"].transpose("stage", ...))
        )
        choices.append(Choice(f"{regime} training", Axis("component 2", "component 2"), views))
    return Figure(
        "plane",
        "The last hidden layer in the plane of two components",
        Caption(
            shows=f"Preactivations of the last hidden layer for {len(digits)} test images of the first seed, along "
            "their two principal components, in units of the largest. Stage 0 of the slider is the start, the last the "
            f"end, and those between are mean losses of {', '.join(f'{level:g}' for level in levels)}.",
            look_for="In the feature regime both labels part along one line. In the lazy regime the cloud stays.",
            source="Petrini 2020; Paccolat, Petrini, Geiger, Tyloo, Wyart 2021",
        ),
        charts=(
            Chart(
                Axis("component 1", "component 1"),
                tuple(choices),
                choice_name="Regime",
                slider=Slider("stage", np.arange(len(levels) + 2)),
                groups=groups,
                height=460,
                starts=(0, 1),
            ),
        ),
    )


def _turned(places: xr.DataArray) -> np.ndarray:
    """Return planes [stage, image, 2], each turned or mirrored to come closest to the one after it."""
    turned = list(places.values)
    for k in range(len(turned) - 2, -1, -1):
        turned[k] = aligned(turned[k], turned[k + 1])
    return np.array(turned)
