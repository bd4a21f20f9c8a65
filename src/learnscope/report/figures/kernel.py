"""The tangent kernel through training, and whether it turns towards the labels."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.findings.progress import class_names
from learnscope.report.chart import Axis, Caption, Cells, Chart, Choice, ColourScale, Figure, Lines, Series, Slider
from learnscope.report.chart import category as colour
from learnscope.report.figures.common import STEP_TITLE, has, look_note, looks, names_of, sources
from learnscope.report.thinning import omitted, spread

MOST_VIEWS = 12
FEW = 7
QUANTITIES = {
    "centred_alignment": "centred alignment",
    "alignment": "alignment",
    "effective_rank": "effective rank",
}
TITLES = {
    "centred_alignment": "alignment with the labels, both centred",
    "alignment": "alignment with the labels",
    "effective_rank": "effective rank",
}
DEFINITIONS = (
    (
        "Tangent kernel",
        "Θ(x, x') = ⟨∂f(x)/∂θ, ∂f(x')/∂θ⟩: how far a step on one example moves the output for another. Here f is one "
        "fixed combination of the outputs with signs ±1, because the kernel of all of them takes a pass for each, and "
        "the examples are a part of the probe, with as many of each class as can be.",
    ),
    (
        "Alignment",
        "Cosine between the kernel and the one that is 1 within a class and −1/(classes − 1) between classes (for real "
        "targets, their products). Centred, the mean of both in feature space is subtracted first.",
    ),
)


def look_axis(data: xr.Dataset) -> Axis:
    """Return the axis of the steps at which the kernel was looked at."""
    return Axis("step", STEP_TITLE, "step", data["step"].values)


def kernel(data: xr.Dataset) -> Figure | None:
    """Draw the tangent kernel as a heat map with a slider, and its alignment and effective rank over the steps."""
    if not has(data, "kernel", "kernel_trace"):
        return None
    seen = looks(data, "kernel_trace")
    charts = (_heat(seen),)
    if seen.sizes["step"] > 1:
        charts += (_quantities(seen),)
    ordered = "ordered by label" if "label" in data else "in the order of the probe"
    return Figure(
        "kernel",
        "The tangent kernel",
        Caption(
            shows=f"First, the cosine between the gradients of every two of {seen.sizes['kernel_example']} probe "
            f"examples, {ordered}, at the step of the slider. Then how far the kernel of the network, and each layer's "
            "part of it, is aligned with the labels, and over how many directions it spreads.",
            look_for="Bright blocks on the diagonal are classes whose examples are learned together. A kernel that "
            "grows such blocks has turned towards the labels; one that stays as it is belongs to lazy training.",
            source=sources(data, *(f"kernel_{name}" for name in QUANTITIES)),
            notes=_notes(data, seen),
        ),
        charts=charts,
        definitions=DEFINITIONS,
    )


def _notes(data: xr.Dataset, seen: xr.Dataset) -> tuple[str, ...]:
    views = min(MOST_VIEWS, seen.sizes["step"])
    return omitted(views, seen.sizes["step"], "steps at which it was measured") + look_note(data, seen)


def cosines(kernels: np.ndarray) -> np.ndarray:
    """Return K_ij / √(K_ii K_jj) of kernels [..., n, n]; NaN where an example has no gradient.

    Examples:
        >>> cosines(np.array([[4.0, 1.0], [1.0, 1.0]])).tolist()
        [[1.0, 0.5], [0.5, 1.0]]
    """
    norms = np.sqrt(np.diagonal(kernels, axis1=-2, axis2=-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        values = kernels / (norms[..., :, None] * norms[..., None, :])
    return np.where(np.isfinite(values), values, np.nan)


def _heat(data: xr.Dataset) -> Chart:
    index = spread(data.sizes["step"], MOST_VIEWS)
    values = np.round(cosines(data["kernel"].values[index].astype(np.float64)), 2)
    names = _example_names(data)
    low = min(float(np.nanmin(values)), 0.0) if np.isfinite(values).any() else 0.0
    colours = ColourScale("cosine of two examples' gradients", low, 1.0)
    choice = Choice("kernel", Axis("example", "", "names", names), tuple(Cells(v) for v in values), colours=colours)
    axis = Axis("other example", "", "names", names)
    return Chart(axis, (choice,), slider=Slider("step", data["step"].values[index]), height=520)


def _example_names(data: xr.Dataset) -> np.ndarray:
    """Return what each example is called: its class, if it has one, and its number in the probe."""
    places = data["kernel_example"].values
    if "label" not in data or data["label"].ndim != 1:
        return np.array([f"#{i}" for i in places], dtype=object)
    label = data["label"].values[places]
    if label.dtype.kind == "f":
        return np.array([f"{value:.3g} #{i}" for value, i in zip(label, places, strict=True)], dtype=object)
    known = class_names(data) if "class" in data.sizes else [f"class {k}" for k in range(int(label.max()) + 1)]
    return np.array([f"{known[k]} #{i}" for k, i in zip(label.astype(int), places, strict=True)], dtype=object)


def _quantities(data: xr.Dataset) -> Chart:
    names = names_of(data, "kernel_layer")
    drawn = spread(len(names), FEW - 1)
    choices = []
    for name, title in QUANTITIES.items():
        if not has(data, f"kernel_{name}"):
            continue
        series = [Series("network", data[f"kernel_{name}"].values, colour(0))]
        parts = data[f"layer_kernel_{name}"].values
        series += [Series(str(names[k]) or "itself", parts[:, k], colour(1 + i)) for i, k in enumerate(drawn)]
        choices.append(Choice(title, Axis(title, TITLES[name]), (Lines(tuple(series)),)))
    return Chart(look_axis(data), tuple(choices), height=420)
