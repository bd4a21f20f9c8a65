"""What the figures of a run share: reading a record's data and building the axes that recur."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.report.chart import Axis, Cells, Choice, ColourScale, Lines, Series, Slider, category
from learnscope.report.thinning import MOST_CELLS, MOST_COLUMNS, MOST_FRAMES, omitted, spread

STEP_TITLE = "optimiser steps (log scale; 0 is before training)"
HOLLOW = "Hollow markers: the estimate cannot be taken at its word (see the end of the page)."
MOST_BARS = 24  # px of a row in a heat map with few rows
LEAST_BARS = 13


def has(data: xr.Dataset, *names: str) -> bool:
    """Return whether all quantities were measured, each with at least one finite value."""
    if not data.sizes.get("step"):
        return False
    return all(name in data and data[name].size and bool(np.isfinite(data[name].values).any()) for name in names)


def names_of(data: xr.Dataset, dimension: str) -> np.ndarray:
    """Return the names along a dimension, as text."""
    return np.array([str(name) for name in data[dimension].values], dtype=object)


def looks(data: xr.Dataset, *names: str) -> xr.Dataset:
    """Return the steps at which some of these quantities are known; not all are measured at every step."""
    known = [np.isfinite(data[name].values).reshape(data.sizes["step"], -1).any(axis=1) for name in names]
    return data.isel(step=np.flatnonzero(np.any(known, axis=0)))


def look_note(data: xr.Dataset, seen: xr.Dataset) -> tuple[str, ...]:
    """Return the note that only some of the measured steps are shown, if it is so."""
    count, total = seen.sizes["step"], data.sizes["step"]
    return (f"Measured at {count:,} of {total:,} steps, because it costs more than the rest.",) if count < total else ()


def long_name(data: xr.Dataset, name: str) -> str:
    """Return a quantity in words."""
    return str(data[name].attrs.get("long_name") or name.replace("_", " "))


def sources(data: xr.Dataset, *names: str) -> str:
    """Return the sources of quantities, each once, joined by semicolons."""
    found = [str(data[name].attrs.get("source", "")) for name in names if name in data]
    return "; ".join(dict.fromkeys(source for source in found if source))


def columns(data: xr.Dataset, rows: int = 1) -> tuple[np.ndarray, Axis, tuple[str, ...]]:
    """Return which steps lines or a heat map of so many rows show, their axis, and a note if some are left out."""
    steps = data["step"].values
    index = spread(len(steps), min(MOST_COLUMNS, max(MOST_CELLS // rows, 40)))
    axis = Axis("step", STEP_TITLE, "step", steps[index])
    return index, axis, omitted(len(index), len(steps), "measured steps")


def frames(data: xr.Dataset, most: int) -> tuple[np.ndarray, Slider, tuple[str, ...]]:
    """Return which steps a slider runs over, at most 40 and at least 2; the slider; and a note if some are left out."""
    steps = data["step"].values
    index = spread(len(steps), min(MOST_FRAMES, max(most, 2)))
    return index, Slider("step", steps[index]), omitted(len(index), len(steps), "measured steps")


def with_error(data: xr.Dataset, name: str, title: str, colour: str) -> Series:
    """Return a quantity with a band of one standard error either way, hollow where it has not converged."""
    value = data[name].values
    error = data[f"{name}_standard_error"].values if f"{name}_standard_error" in data else None
    return Series(
        title,
        value,
        colour,
        low=None if error is None else value - error,
        high=None if error is None else value + error,
        converged=converged(data, name),
    )


def converged(data: xr.Dataset, name: str) -> np.ndarray | None:
    """Return where a quantity may be taken at its word, if that was recorded; missing values count as converged."""
    if f"{name}_converged" not in data:
        return None
    return (data[f"{name}_converged"].values == 1) | ~np.isfinite(data[name].values)


def hollow_note(*series: Series) -> tuple[str, ...]:
    """Return the note about hollow markers if some series has one."""
    return (HOLLOW,) if any(s.converged is not None and not s.converged.all() for s in series) else ()


def by_depth(data: xr.Dataset, index: np.ndarray, quantities: dict[str, str], axis: Axis) -> tuple[Choice, ...]:
    """Return lines of quantities [step, layer] over the layers, one view a step, with the first step behind.

    Args:
        data: a record's data.
        index: the steps of the slider.
        quantities: names of the quantities and what the legend calls them.
        axis: the vertical axis; its ``name`` becomes the choice's name.
    """
    first = [(name, data.isel(step=0)[name].values) for name in quantities]
    views = tuple(
        Lines(
            tuple(
                with_error(data.isel(step=int(i)), name, title, category(k))
                for k, (name, title) in enumerate(quantities.items())
            )
        )
        for i in index
    )
    start = f"{int(data['step'][0]):,}"
    behind = tuple(
        Series(f"{quantities[name]} at step {start}", values, category(k), style="faint")
        for k, (name, values) in enumerate(first)
    )
    return (Choice(axis.name, axis, views, behind),)


def layer_cells(
    data: xr.Dataset,
    name: str,
    title: str,
    index: np.ndarray,
    colours: ColourScale,
    *,
    settled: np.ndarray | None = None,
    mark_name: str = "",
) -> Choice:
    """Return a heat map of a quantity [step, layer] with the input at the bottom.

    Args:
        data: a record's data.
        name: the quantity.
        title: the choice's name.
        index: which steps are drawn.
        colours: what the colours mean.
        settled: [layer] step at which a layer is marked, NaN for none.
        mark_name: what a mark means.
    """
    rows = names_of(data, "layer")
    marks = () if settled is None else tuple((float(s), k) for k, s in enumerate(settled) if np.isfinite(s))
    values = data[name].values[index].T
    return Choice(title, Axis("layer", "", "names", rows), (Cells(values, marks, mark_name),), colours=colours)


def rows_height(rows: int) -> int:
    """Return the height in pixels of a heat map with so many rows."""
    each = MOST_BARS if rows <= 20 else LEAST_BARS if rows <= 60 else max(LEAST_BARS * 60 / rows, 7)
    return int(max(rows * each, 140)) + 130


def depth_height(data: xr.Dataset) -> int:
    """Return the height in pixels of a chart over the layers: slanting names need room."""
    return 380 if data.sizes["layer"] <= 12 else 440


def top(values: np.ndarray, errors: np.ndarray | None = None) -> float:
    """Return the upper end of an axis that shows all values, but not the longest error bars in full."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 1.0
    highest = float(finite.max())
    if errors is not None and np.isfinite(errors).any():
        reach = (values + errors)[np.isfinite(values + errors)]
        highest = min(max(highest, float(reach.max())), 1.5 * highest)
    return 1.05 * highest if highest > 0 else 1.0
