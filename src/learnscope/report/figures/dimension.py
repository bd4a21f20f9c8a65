"""Intrinsic dimension of the representation by depth, through training (Ansuini et al. 2019)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines
from learnscope.report.figures.common import (
    by_depth,
    depth_height,
    frames,
    has,
    hollow_note,
    look_note,
    looks,
    names_of,
    sources,
    top,
)
from learnscope.report.thinning import MOST_CELLS

ESTIMATORS = {
    "intrinsic_dimension_likelihood": "TwoNN, maximum likelihood",
    "intrinsic_dimension": "TwoNN, fit",
    "intrinsic_dimension_levina_bickel": "Levina-Bickel",
    "participation_ratio": "participation ratio",
}
DEFINITIONS = (
    (
        "Intrinsic dimension",
        "The number of directions in which the cloud of activations extends locally, estimated from the distances to "
        "the two nearest neighbours (TwoNN) or to the ten nearest ones (Levina-Bickel). Dimensions above about 20 "
        "are underestimated on probes of ordinary size.",
    ),
    (
        "Participation ratio",
        "(tr C)² / tr C² of the covariance C of the activations: a linear, global measure of dimension, usually "
        "larger.",
    ),
)


def dimension(data: xr.Dataset) -> Figure | None:
    """Draw the dimension over the layers, one view a step, by each estimator on record."""
    estimators = {name: title for name, title in ESTIMATORS.items() if has(data, name)}
    if not estimators:
        return None
    nearby = [name for name in estimators if name != "participation_ratio"]  # of neighbours, in close looks alone
    measured, data = data, looks(data, *(nearby or estimators))
    index, slider, notes = frames(data, MOST_CELLS // data.sizes["layer"])
    layers = Axis("layer", "layer, from input to output", "names", names_of(data, "layer"))
    choices = tuple(choice for name, title in estimators.items() for choice in _choices(data, index, name, title))
    series = [s for choice in choices for view in choice.views if isinstance(view, Lines) for s in view.series]
    return Figure(
        "dimension",
        "Intrinsic dimension by depth",
        Caption(
            shows="Dimension of each layer's activations on the probe at the step of the slider, with one standard "
            f"error either way; the faint line is step {int(data['step'][0]):,}.",
            look_for="Trained networks often show a hump: the dimension rises in the first layers, which undo what is "
            "irrelevant in the input, and falls towards the output, where only the classes are left.",
            source=sources(data, *estimators),
            notes=look_note(measured, data) + notes + hollow_note(*series),
        ),
        charts=(Chart(layers, choices, choice_name="Estimator", slider=slider, height=depth_height(data)),),
        definitions=DEFINITIONS,
    )


def _choices(data: xr.Dataset, index: np.ndarray, name: str, title: str) -> tuple[Choice, ...]:
    error = data[f"{name}_standard_error"].values if f"{name}_standard_error" in data else None
    axis = Axis(title, "dimension", range=(0.0, top(data[name].values, error)))
    return by_depth(data, index, {name: title}, axis)
