"""The information plane, and I(T;X) through training by bins and by densities."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.laboratory import SEEDS, median_over_seeds
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Groups, Lines, Points, Series, Slider, depth

TITLES = {"tanh": "tanh", "relu": "ReLU"}
PATTERN_BITS = 12.0  # log₂ of the number of patterns
UNIT = (-0.04, 1.04)  # shown of an axis from 0 to 1


def plane_figure(data: xr.Dataset) -> Figure:
    """Draw the layers in the information plane, with a slider over the width of a bin."""
    layers, epochs = data["layer"].values, data["epoch"].values
    mean = data["binned"].mean("seed").transpose("activation", "bins", "layer", "epoch", "information")
    share = mean / xr.DataArray([PATTERN_BITS, 1.0], {"information": ["inputs", "labels"]})
    labels = tuple(f"layer {layer}, epoch {epoch}" for layer in layers for epoch in epochs)
    groups = Groups(
        "log₁₀(epoch + 1)",
        tuple(f"layer {layer}" for layer in layers),
        np.repeat(np.arange(len(layers)), len(epochs)),
        labels,
        values=np.tile(np.log10(epochs + 1.0), len(layers)),
    )
    titles = ("I(T;X) / 12 bits", "I(T;Y) / 1 bit")
    choices = tuple(
        Choice(
            TITLES[name],
            Axis("I(T;Y)", titles[1], range=UNIT),
            tuple(Points(places.reshape(-1, 2), titles) for places in share.sel(activation=name).values),
        )
        for name in TITLES
    )
    return Figure(
        "plane",
        "The information plane",
        Caption(
            shows="Hidden layers through training, averaged over seeds, as shares of what there is to know: a symbol "
            f"for each layer, the first farthest to the right, coloured by epoch from 0 to {epochs[-1]}. The slider is "
            "the width of a bin as a share of the range.",
            look_for="With 30 bins, the last layers of tanh move up and then left; those of ReLU move up and right. "
            "Narrower bins take all layers to the right edge, where nothing is left to see.",
            source="Shwartz-Ziv, Tishby 2017; Saxe et al. 2018",
        ),
        charts=(_by_bins(data, Axis("I(T;X)", titles[0], range=UNIT), choices, groups),),
    )


def binned_figure(data: xr.Dataset) -> Figure:
    """Draw I(T;X) of every layer through training, with a slider over the width of a bin."""
    top = Axis("I(T;X)", "I(T;X) in bits", range=(0.0, PATTERN_BITS))
    choices = tuple(
        Choice(
            TITLES[name],
            top,
            tuple(
                _layers(data["binned"].sel(activation=name, information="inputs", bins=bins))
                for bins in data["bins"].values
            ),
        )
        for name in TITLES
    )
    return Figure(
        "inputs",
        "What falls depends on the bins",
        Caption(
            shows=f"I(T;X) of every hidden layer through training; the slider is the width of a bin. {SEEDS}",
            look_for="With wide bins I(T;X) of the last layers of tanh falls by several bits and that of ReLU rises. "
            "With narrow bins tanh stays at 12 bits; ReLU loses what units that are off no longer tell.",
            source="Saxe et al. 2018",
        ),
        charts=(_by_bins(data, Axis("epoch", "epoch", "step", data["epoch"].values), choices),),
    )


def noisy_figure(data: xr.Dataset) -> Figure:
    """Draw the bounds of I(T;X) with noise."""
    top = Axis("I(T;X)", "I(T;X) in bits", range=(0.0, PATTERN_BITS))
    mean = data["noisy"].sel(information="inputs").mean("seed")
    choices = []
    for name in TITLES:
        bounds = [mean.sel(activation=name, bound=bound).values for bound in ("lower", "upper")]
        series = tuple(
            Series(f"layer {layer}", high, depth(k, len(bounds[0])), low=low, high=high)
            for k, (layer, low, high) in enumerate(zip(data["layer"].values, *bounds, strict=True))
        )
        choices.append(Choice(TITLES[name], top, (Lines(series),)))
    epoch = Axis("epoch", "epoch", "step", data["epoch"].values)
    return Figure(
        "noise",
        "The same with noise in place of bins",
        Caption(
            shows="Upper bounds of I(T;X) through training, shaded down to the lower bounds, when noise is added to "
            "every unit; averaged over seeds. The number of patterns that the estimate rests on limits it, to 10 bits "
            "for 1024.",
            look_for="The last layers of tanh fall, those of ReLU rise, as with 30 bins.",
            source="Kolchinsky, Tracey 2017; Saxe et al. 2018",
        ),
        charts=(Chart(epoch, tuple(choices), choice_name="Units", starts=(0, 1)),),
    )


def _by_bins(data: xr.Dataset, x: Axis, choices: tuple[Choice, ...], groups: Groups | None = None) -> Chart:
    """Return a chart of both activations side by side with a slider over the width of a bin."""
    slider = Slider("bin width", 1 / data["bins"].values)
    return Chart(x, choices, choice_name="Units", slider=slider, groups=groups, height=460, starts=(0, 1))


def _layers(values: xr.DataArray) -> Lines:
    n = values.sizes["layer"]
    return Lines(tuple(median_over_seeds(values.isel(layer=k), f"layer {k + 1}", depth(k, n)) for k in range(n)))
