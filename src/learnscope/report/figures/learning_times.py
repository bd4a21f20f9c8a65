"""When each class was learned, and which examples were the hardest."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.findings.progress import class_names
from learnscope.report.chart import Axis, Caption, Cells, Chart, Choice, ColourScale, Figure, Table
from learnscope.report.figures.common import columns, has, rows_height, sources
from learnscope.report.figures.hardest import galleries

MOST_CLASSES = 100
MOST_ROWS = 5000
DEFINITIONS = (
    (
        "Learning time",
        "Of an example: the first measured step from which it is answered correctly to the end. Of a class: the first "
        "from which 90% of its examples stay correct. The true times lie between the previous measured step and "
        "this one.",
    ),
    (
        "Forgetting",
        "An example is forgotten when it turns from correct to wrong between two measurements (Toneva et al. 2019), "
        "counted at measured steps, so a lower bound.",
    ),
)


def learning_times(data: xr.Dataset) -> Figure | None:
    """Draw the accuracy of each class over the steps with its learning time, and the hardest examples."""
    if not has(data, "correct", "label") or "class_learning_time" not in data:
        return None
    index, axis, notes = columns(data, min(data.sizes["class"], MOST_CLASSES))
    order = _order(data)
    if len(order) > MOST_CLASSES:
        notes += (f"Drawn are the {MOST_CLASSES} classes of {len(order)} that were learned last.",)
        order = order[:MOST_CLASSES]
    names = np.array(class_names(data), dtype=object)[order]
    times = data["class_learning_time"].values[order]
    marks = tuple((float(t), row) for row, t in enumerate(times) if np.isfinite(t))
    cells = Cells(class_accuracy(data)[index][:, order].T, marks, "learned")
    colours = ColourScale("share of the class answered correctly", 0.0, 1.0)
    choice = Choice("accuracy", Axis("class", "", "names", names), (cells,), colours=colours)
    return Figure(
        "learning_times",
        "When each class was learned, and the hardest examples",
        Caption(
            shows="Share of each class's probe examples answered correctly; classes in the order in which they were "
            "learned, the first on top. Circles mark the step from which 90% of a class stay correct. Below, single "
            "examples that gave trouble.",
            look_for="Classes without a circle were never learned for good. Look at the hardest examples: are they "
            "ambiguous, mislabelled, or of a kind of their own?",
            source=sources(data, "class_learning_time", "forgetting_events"),
            notes=notes,
        ),
        charts=(Chart(axis, (choice,), height=rows_height(len(order))),),
        galleries=galleries(data),
        table=_table(data),
        definitions=DEFINITIONS,
    )


def class_accuracy(data: xr.Dataset) -> np.ndarray:
    """Return the share of each class's examples that are answered correctly, [step, class]; NaN for an empty class."""
    correct = (data["correct"].values == 1).astype(np.float64)
    missing = (data["correct"].values < 0).all(axis=1)
    label = data["label"].values.astype(int)
    belongs = np.eye(data.sizes["class"])[label]
    with np.errstate(invalid="ignore"):
        accuracy = (correct @ belongs) / belongs.sum(axis=0)
    accuracy[missing] = np.nan
    return accuracy


def _order(data: xr.Dataset) -> np.ndarray:
    """Return the classes that occur, the last learned first; ties by their accuracy over all steps."""
    times = data["class_learning_time"].values
    mean = np.nanmean(class_accuracy(data), axis=0, where=np.isfinite(class_accuracy(data)))
    known = np.flatnonzero(~np.isnan(times))
    return known[np.lexsort((mean[known], -times[known]))]


def _table(data: xr.Dataset) -> Table:
    shown = slice(0, MOST_ROWS)
    columns_by_name = {"example": np.arange(data.sizes["example"])[shown], "label": data["label"].values[shown]}
    for name, title in (("learning_time", "learned at step"), ("forgetting_events", "times forgotten")):
        if name in data:
            columns_by_name[title] = data[name].values[shown]
    return Table(columns_by_name)
