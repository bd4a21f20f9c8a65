"""Whether signals pass through the network: size of the activations, dead and saturated units."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.report.chart import Caption, Chart, Choice, ColourScale, Figure
from learnscope.report.figures.common import columns, has, layer_cells, rows_height, sources

SHARES = {
    "dead_share": "dead units",
    "saturated_share": "saturated units",
    "nonfinite_share": "NaN or infinite activations",
}
DEFINITIONS = (
    (
        "Dead, saturated",
        "A unit is dead if its output (averaged over positions) is the same for every probe example, and saturated if "
        "90% of its activations lie within 5% of an edge of a bounded range.",
    ),
)


def health(data: xr.Dataset) -> Figure | None:
    """Draw layers x steps heat maps of the size of activations and of the share of dead and saturated units."""
    shares = {name: title for name, title in SHARES.items() if has(data, name)}
    if not shares and not has(data, "activation_rms"):
        return None
    if "nonfinite_share" in shares and not (data["nonfinite_share"] > 0).any():
        shares.pop("nonfinite_share")
    index, axis, notes = columns(data, data.sizes["layer"])
    choices = [_size(data, index)] if has(data, "activation_rms") else []
    for name, title in shares.items():
        choices.append(layer_cells(data, name, title, index, ColourScale(f"share of {title}", 0.0, 1.0)))
    return Figure(
        "health",
        "Whether signals pass: size of activations and dead units",
        Caption(
            shows="Root mean square activation of each layer on the probe, or the share of its units that are dead, or "
            "saturated where the activation function is bounded; input at the bottom. Empty cells could not be "
            "measured.",
            look_for="Sizes that change by powers of ten along a column (vanishing or exploding with depth) or along a "
            "row (drifting in training), and layers where many units are dead.",
            source=sources(data, "activation_rms", *SHARES),
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
