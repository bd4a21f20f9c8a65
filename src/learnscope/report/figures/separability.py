"""How well each layer separates the classes (Alain and Bengio 2016; Papyan, Han, Donoho 2020)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure
from learnscope.report.figures.common import by_depth, depth_height, frames, has, look_note, looks, names_of, sources
from learnscope.report.thinning import MOST_CELLS

READOUTS = {"linear_probe_accuracy": "linear probe", "knn_accuracy": "5 nearest neighbours"}
RATIO = "class_variance_ratio"
DEFINITIONS = (
    (
        "Linear probe, nearest neighbours",
        "Accuracy of a linear classifier, and of the vote of the five nearest neighbours, on a layer's activations; "
        "each probe example is judged by the others (leave-one-out).",
    ),
)


def separability(data: xr.Dataset) -> Figure | None:
    """Draw the accuracy of readouts from each layer, and the variance within over between classes."""
    readouts = {name: title for name, title in READOUTS.items() if has(data, name)}
    if not readouts and not has(data, RATIO):
        return None
    measured, data = data, looks(data, *readouts, *([RATIO] if has(data, RATIO) else []))
    index, slider, notes = frames(data, MOST_CELLS // data.sizes["layer"])
    choices: tuple[Choice, ...] = ()
    if readouts:
        axis = Axis("accuracy", "accuracy (share of the probe)", range=(0.0, 1.02))
        choices += by_depth(data, index, readouts, axis)
    if has(data, RATIO):
        choices += _ratio(data, index)
    layers = Axis("layer", "layer, from input to output", "names", names_of(data, "layer"))
    return Figure(
        "separability",
        "How well each layer separates the classes",
        Caption(
            shows="What can be read out of each layer at the step of the slider, with one standard error either way; "
            f"faint lines are step {int(data['step'][0]):,}. The second quantity to choose is the variance within "
            "classes over the variance between them.",
            look_for="In a trained network classes become easier to read out with depth. A layer where the accuracy "
            "drops loses information about the class; one that gains nothing might not be needed.",
            source=sources(data, *readouts, RATIO),
            notes=look_note(measured, data) + notes,
        ),
        charts=(Chart(layers, choices, slider=slider, height=depth_height(data)),),
        definitions=DEFINITIONS if readouts else (),
    )


def _ratio(data: xr.Dataset, index: np.ndarray) -> tuple[Choice, ...]:
    values = data[RATIO].values
    shown = values[np.isfinite(values) & (values > 0)]
    span = (float(shown.min()) / 1.3, float(shown.max()) * 1.3) if shown.size else None
    axis = Axis("variance within / between classes", "variance within / between classes", "log", range=span)
    return by_depth(data, index, {RATIO: "within / between"}, axis)
