"""Singular values of the weights against their rank, through training."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, category, depth
from learnscope.report.figures.common import frames, has, names_of
from learnscope.report.thinning import log_spread, omitted, spread

MOST_RANKS = 64
MOST_WEIGHTS = 60
MOST_NUMBERS = 60_000
FEW = 7  # weights that get a colour of their own and their initial spectrum
DEPTH_BELOW = 1e-3  # of the largest singular value: what the axis shows
DEFINITIONS = (
    (
        "Weight spectra",
        "Singular values of each weight as a matrix [outputs, everything else]; for a convolution these belong to the "
        "reshaped kernel, not to the convolution as a linear map.",
    ),
)


def spectra(data: xr.Dataset) -> Figure | None:
    """Draw the singular values of every weight against their rank, one view a step."""
    if not has(data, "singular_value"):
        return None
    weights = spread(data.sizes["weight"], MOST_WEIGHTS)
    ranks = log_spread(data.sizes["rank"], MOST_RANKS)
    index, slider, notes = frames(data, MOST_NUMBERS // (len(weights) * len(ranks)))
    values = data["singular_value"].isel(weight=weights, rank=ranks).values
    names = names_of(data, "weight")[weights]
    notes += omitted(len(weights), data.sizes["weight"], "weights")
    if len(ranks) < data.sizes["rank"]:
        notes += (f"Of the {data.sizes['rank']:,} ranks {len(ranks)} are drawn, denser near the first.",)
    largest, smallest = float(np.nanmax(values)), float(np.nanmin(values, where=values > 0, initial=np.inf)) / 1.3
    axis = Axis("singular value", "singular value", "log", range=(max(DEPTH_BELOW * largest, smallest), 1.3 * largest))
    start = f"{int(data['step'][0]):,}"
    behind = _lines(values[0], names, at=start) if len(names) <= FEW else ()
    choice = Choice("singular values", axis, tuple(Lines(_lines(values[i], names)) for i in index), behind)
    first = f" Faint lines are step {start}." if behind else ""
    return Figure(
        "spectra",
        "Weight spectra",
        Caption(
            shows=f"Singular values of each weight, largest first, at the step of the slider.{first} Values below a "
            "thousandth of the largest lie under the axis.",
            look_for="Random weights have a smooth bulk; learning shows as a few values that rise out of it, on the "
            "left. A spectrum that does not change belongs to a layer that hardly learned.",
            source="singular value decomposition of the weights; see also stable and effective rank in the record",
            notes=notes,
        ),
        charts=(Chart(Axis("rank", "rank", "log", ranks + 1), (choice,), slider=slider, height=420),),
        definitions=DEFINITIONS,
    )


def _lines(values: np.ndarray, names: np.ndarray, *, at: str | None = None) -> tuple[Series, ...]:
    n = len(names)
    colours = [category(k) if n <= FEW else depth(k, n) for k in range(n)]
    return tuple(
        Series(f"{name} at step {at}" if at else str(name), row, colour, style="faint" if at else "line")
        for name, row, colour in zip(names, values, colours, strict=True)
    )
