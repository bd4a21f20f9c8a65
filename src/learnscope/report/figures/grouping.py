"""How the examples of the probe are coloured: by class, by target, or all alike."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.findings.progress import class_names
from learnscope.report.chart import Groups

MOST_CLASSES = 20  # distinct by colour and symbol
COLOURED = 8  # classes that keep a colour where there are more


def groups_of(data: xr.Dataset, examples: np.ndarray) -> tuple[Groups | None, str]:
    """Return the groups of some probe examples, and a sentence for the caption.

    Integer labels are classes, each with a colour and a symbol; of more than 20 the 8 that were learned last are
    coloured and the others grey. A real target colours the points along viridis. Without labels there are no groups.
    """
    if "label" not in data:
        return None, ""
    label = data["label"].values
    if label.ndim != 1:
        return None, ""
    if label.dtype.kind == "f":
        return _by_target(label[examples]), " Colours follow the target."
    names = class_names(data) if "class" in data.sizes else [f"class {k}" for k in range(int(label.max()) + 1)]
    label = label.astype(int)
    said = tuple(f"example {i:,}, {names[label[i]]}" for i in examples)
    present = np.unique(label)
    if len(present) <= MOST_CLASSES:
        chosen, note = present, " Colours and symbols stand for classes."
    else:
        chosen = _learned_last(data, present)
        note = f" Coloured are the {len(chosen)} classes that were learned last; the other classes are grey."
    place = {int(k): i for i, k in enumerate(chosen)}
    of_point = np.array([place.get(int(k), len(chosen)) for k in label[examples]])
    return Groups("class", tuple(names[k] for k in chosen), of_point, said), note


def _by_target(target: np.ndarray) -> Groups:
    said = tuple(f"target {value:.4g}" for value in target)
    return Groups("target", (), np.zeros(len(target), int), said, values=target)


def _learned_last(data: xr.Dataset, present: np.ndarray) -> np.ndarray:
    if "class_learning_time" not in data:
        return present[:COLOURED]
    times = data["class_learning_time"].values[present]
    return np.sort(present[np.argsort(times, kind="stable")[-COLOURED:]])
