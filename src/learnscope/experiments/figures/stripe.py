"""Weights and compression on the stripe, through training and against the number of examples."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.laboratory import SEEDS, medians
from learnscope.laboratory.exponents import geometric_mean, local_exponents
from learnscope.report.chart import (
    Axis,
    Caption,
    Chart,
    Choice,
    Figure,
    Groups,
    Lines,
    Points,
    Series,
    Slider,
    category,
)


def weights_figure(data: xr.Dataset, times: np.ndarray) -> Figure:
    """Draw the weights and the compression at these times of training."""
    ended = data.isel(n_train=np.flatnonzero(np.isfinite(data["end"].isel(seed=0))))
    lasting = np.isfinite(ended["compression_at"].transpose("time", ...).values).any((1, 2))
    ended, times = ended.isel(time=lasting), times[lasting]
    chosen = ended.isel(seed=0, n_train=-1)
    places = chosen["weight"].transpose("time", "neuron", "direction").values
    drawn = np.isfinite(places[0, :, 0])
    views = tuple(Points(moment[drawn], ("ω₁, along what tells", "ω₂, across it")) for moment in places)
    signs = (chosen["output"].values[drawn] < 0).astype(int)
    groups = Groups("β", ("β > 0", "β < 0"), signs, tuple(f"neuron {k}" for k in range(len(signs))))
    lines = [
        Series(f"p = {p}", geometric_mean(ended["compression_at"].sel(n_train=p), "seed").values, category(k))
        for k, p in enumerate(ended["n_train"].values)
    ]
    caption = Caption(
        f"Left: two of the weights of every neuron, over the root mean square of all, through training on "
        f"p = {int(chosen['n_train'])} examples of one seed; β is the neuron's output at the end. Right: the "
        "compression λ over time, in the geometric mean of the seeds that have not ended.",
        "A round cloud becomes a line: few neurons grow by orders of magnitude, and they do so along ω₁.",
        "Petrini 2020, animation of the stripe; Paccolat, Petrini, Geiger, Tyloo, Wyart 2021",
    )
    plane = Choice("weights", Axis("across", "ω₂"), views)
    path = Choice("compression", Axis("compression", "compression λ", "log"), (Lines(tuple(lines)),))
    charts = (
        Chart(Axis("along", "ω₁"), (plane,), slider=Slider("time", times), groups=groups, height=460),
        Chart(Axis("time", "time", "log", times), (path,), height=320),
    )
    return Figure("weights", "Weights turn towards the direction that tells", caption, charts)


def size_figure(data: xr.Dataset) -> Figure:
    """Draw the compression against the number of examples, and its local exponents."""
    sizes, first = data["n_train"].values, data["first"]
    names = {"feature": "feature, first margin", "lazy": "lazy", "random labels": "feature, random labels"}
    lines = medians(first, "regime", names).series
    end = Series("feature, end", geometric_mean(data["end"], "seed").values, category(3))
    root = Series("√p", lines[0].y[-1] * np.sqrt(sizes / sizes[-1]), category(0), style="dashed")
    growth = local_exponents(geometric_mean(first.sel(regime="feature"), "seed"), "n_train")
    local = (
        Series("feature, first margin", growth.values, category(0)),
        Series("1/2", np.full(len(growth), 0.5), category(0), style="dashed"),
    )
    caption = Caption(
        "Compression λ against the number of examples, and local exponents of its geometric mean. " + SEEDS,
        "λ grows as √p where there is something to learn in the regime of features, and nowhere else. Few examples "
        "give a steeper growth, since λ starts from 1.",
        "Paccolat, Petrini, Geiger, Tyloo, Wyart 2021",
    )
    values = Choice("compression", Axis("compression", "compression λ", "log"), (Lines((*lines, end, root)),))
    slopes = Choice("exponent", Axis("exponent", "local exponent of λ"), (Lines(local),))
    charts = (
        Chart(Axis("n_train", "examples p", "log", sizes), (values,), "Compression"),
        Chart(Axis("n_train", "examples p", "log", growth["n_train"].values), (slopes,), "Local exponents"),
    )
    return Figure("sizes", "Compression grows as the root of the examples", caption, charts)
