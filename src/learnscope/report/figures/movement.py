"""How far the weights of each layer move from where they started (Chizat, Oyallon, Bach 2019)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, category, depth
from learnscope.report.figures.common import columns, has, long_name, names_of, sources
from learnscope.report.thinning import omitted, spread

MOST_WEIGHTS = 60
FEW = 7
QUANTITIES = {
    "weight_distance": Axis("relative distance", "distance from initialisation, relative to its norm"),
    "weight_cosine": Axis("cosine", "cosine to the initial weight"),
    "update_norm": Axis("change", "norm of the change since the previous measurement"),
}


def movement(data: xr.Dataset) -> Figure | None:
    """Draw the relative distance of each weight from its initial value over the steps."""
    if not has(data, "weight_distance") or data.sizes["step"] < 2:
        return None
    names = names_of(data, "parameter")
    matrices = np.flatnonzero(np.isin(names, names_of(data, "weight"))) if "weight" in data.coords else np.array([])
    kept = matrices if len(matrices) else np.arange(len(names))
    drawn = kept[spread(len(kept), MOST_WEIGHTS)]
    index, axis, notes = columns(data, len(drawn))
    notes += omitted(len(drawn), len(kept), "weights")
    if len(kept) < len(names):
        notes += ("Biases and other vectors are left out of the drawing; they are in the record.",)
    shown = data.isel(step=index, parameter=drawn)
    choices = tuple(_choice(shown, name, y) for name, y in QUANTITIES.items() if has(shown, name))
    return Figure(
        "movement",
        "How far the weights move",
        Caption(
            shows="For each weight W, its distance from the start, ‖W - W₀‖ / ‖W₀‖ in the Frobenius norm; or the "
            "cosine between the two; or the whole change since the measurement before.",
            look_for="Distances that stay far below one point to lazy training, in which the network hardly leaves the "
            "linear approximation around its start; features can only be learned where weights move.",
            source=sources(data, *QUANTITIES),
            notes=notes,
        ),
        charts=(Chart(axis, choices),),
        definitions=((long_name(data, "weight_distance").capitalize(), "‖W - W₀‖ / ‖W₀‖ (Frobenius)."),),
    )


def _choice(data: xr.Dataset, name: str, axis: Axis) -> Choice:
    n = data.sizes["parameter"]
    series = tuple(
        Series(str(weight), data[name].values[:, k], category(k) if n <= FEW else depth(k, n))
        for k, weight in enumerate(names_of(data, "parameter"))
    )
    return Choice(axis.name, axis, (Lines(series),))
