"""Whether signals pass through the network: size of the activations, dead and saturated units."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.report.chart import Caption, Chart, Choice, ColourScale, Figure
from learnscope.report.figures.common import columns, has, layer_cells, long_name, rows_height, sources

SHARES = {
    "dead_share": "dead units",
    "saturated_share": "saturated activations",
    "nonfinite_share": "NaN or infinite activations",
}
DEFINITIONS = (
    (
        "Dead, saturated",
        "A unit is dead if its output is the same for every probe example and position; an activation is saturated if "
        "it lies within 5 % of an edge of a bounded range.",
    ),
)


def health(data: xr.Dataset) -> Figure | None:
    """Draw layers x steps heat maps of the size of activations and of the share of dead and saturated units."""
    index, axis, notes = columns(data) if data.sizes.get("step") else (np.array([]), None, ())
    if axis is None:
        return None
    choices: list[Choice] = []
    if has(data, "activation_rms"):
        choices.append(_size(data, index))
    for name, title in SHARES.items():
        if has(data, name) and (name != "nonfinite_share" or bool((data[name] > 0).any())):
            colours = ColourScale(f"share of {title}", 0.0, 1.0)
            choices.append(layer_cells(data, name, title, index, colours))
    if not choices:
        return None
    return Figure(
        "health",
        "Whether signals pass: size of activations and dead units",
        Caption(
            shows="Root mean square activation of each layer on the probe, or the share of its units that are dead, or "
            "saturated where the activation function is bounded; input at the bottom. Empty cells could not be "
            "measured.",
            look_for="Sizes that change by powers of ten along a column (vanishing or exploding with depth) or along a row "
            "(drifting in training), and layers where many units are dead.",
            source=sources(data, *SHARES) or "; ".join(long_name(data, n) for n in ("dead_share",) if n in data),
            notes=notes,
        ),
        charts=(Chart(axis, tuple(choices), height=rows_height(data.sizes["layer"])),),
        definitions=DEFINITIONS,
    )


def _size(data: xr.Dataset, index: np.ndarray) -> Choice:
    values = data["activation_rms"].values
    positive = values[np.isfinite(values) & (values > 0)]
    low, high = (float(positive.min()), float(positive.max())) if positive.size else (0.1, 1.0)
    if high < 3 * low:  # a narrow range would show noise in full contrast
        low, high = low / 1.7, high * 1.7
    colours = ColourScale("root mean square activation", low, high, logarithmic=True)
    return layer_cells(data, "activation_rms", "size of activations", index, colours)
