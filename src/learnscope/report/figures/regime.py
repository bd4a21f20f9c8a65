"""Lazy or feature learning, for the network and for each layer, over the steps."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.observables.regime import LARGE, SMALL
from learnscope.report.chart import Axis, Caption, Chart, Choice, ColourScale, Figure, Lines, Series, category
from learnscope.report.figures.common import columns, has, layer_cells, look_note, looks, rows_height, sources
from learnscope.report.figures.kernel import look_axis

MEASURES = {
    "kernel_change": "kernel change",
    "linearisation_gap": "gap to the linearisation",
    "network_weight_distance": "weight movement",
}
LAYERS = {"layer_regime": "regime", "layer_kernel_change": "kernel change", "layer_weight_distance": "weight movement"}
DEFINITIONS = (
    (
        "Regime",
        f"Lazy (0): the kernel has changed by at most {SMALL}, ‖K − K₀‖ / ‖K₀‖, the weights by at most {SMALL}, "
        f"‖θ − θ₀‖ / ‖θ₀‖, and the linearisation around the start misses at most {SMALL} of what the network has "
        f"learned, ‖f − f_lin‖ / ‖f − f₀‖. Feature learning (1): the linearisation misses {LARGE} or more and the "
        f"kernel has changed by more than {SMALL}. Otherwise in between (0.5). For a layer there is no gap: feature "
        f"learning is a change of {LARGE} or more of its part of the kernel, which other layers move as well.",
    ),
)


def regime(data: xr.Dataset) -> Figure | None:
    """Draw what tells the regimes apart over the steps, and the regime of each layer; None before two looks."""
    if not has(data, "kernel_change", "kernel_trace") or "layer_regime" not in data:
        return None
    seen = looks(data, "kernel_trace")
    if seen.sizes["step"] < 2:
        return None
    measures = [(name, title) for name, title in MEASURES.items() if has(seen, name)]
    series = tuple(Series(title, seen[name].values, category(k)) for k, (name, title) in enumerate(measures))
    values = np.concatenate([line.y for line in series])
    top = max(1.05 * float(np.nanmax(values, where=np.isfinite(values), initial=0.0)), 1.1 * LARGE)
    bounds = tuple(
        Series(title, np.full(seen.sizes["step"], bound), category(6), style="faint")
        for title, bound in (("small", SMALL), ("of order one", LARGE))
    )
    lines = Choice("measures", Axis("value", "relative change", range=(0.0, top)), (Lines(series),), bounds)
    layers = seen[[name for name in LAYERS if has(seen, name)]].rename(kernel_layer="layer")
    index, axis, notes = columns(layers, layers.sizes["layer"])
    choices = tuple(
        layer_cells(layers, name, title, index, _colours(seen, name))
        for name, title in LAYERS.items()
        if has(seen, name)
    )
    return Figure(
        "regime",
        "Lazy or feature learning",
        Caption(
            shows="First, what tells the regimes apart: the change of the tangent kernel, of the weights, and the part "
            "of what was learned that the network's linearisation at the start misses; faint lines are the bounds of "
            "the rule. Then the regime of each layer by its part of the kernel: 0 lazy, 1 feature learning.",
            look_for="Lines that stay under the lower bound: the network acts like a kernel machine with its initial "
            "kernel. Lines above the upper one: it has built features of its own, in the layers that are bright.",
            source=sources(data, "network_regime", "kernel_distance"),
            notes=look_note(data, seen) + notes,
        ),
        charts=(
            Chart(look_axis(seen), (lines,), height=380),
            Chart(axis, choices, height=max(rows_height(layers.sizes["layer"]), 300)),
        ),
        definitions=DEFINITIONS,
    )


def _colours(data: xr.Dataset, name: str) -> ColourScale:
    if name == "layer_regime":
        return ColourScale("0 lazy, 1 feature learning", 0.0, 1.0)
    values = data[name].values
    return ColourScale("relative change", 0.0, max(float(np.nanmax(values[np.isfinite(values)], initial=0.0)), 1e-9))
