"""Figures as JSON that is small and can stand inside a script element."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from learnscope.report.chart import Axis, Cells, Chart, Choice, Figure, Groups, Lines, Series, Table, View

DIGITS = 5
FULL_SCALE = 32767


def compact(values: np.ndarray | Sequence[Any]) -> list[Any]:
    """Return values as nested lists: numbers with five significant digits, None for NaN and infinities.

    Examples:
        >>> compact(np.array([[1.0, 0.1234567], [np.nan, np.inf]]))
        [[1, 0.12346], [None, None]]
    """
    array = np.asarray(values)
    if array.ndim > 1:
        return [compact(row) for row in array]
    if array.dtype.kind in "iub":
        return array.astype(int).tolist()
    if array.dtype.kind == "f":
        return [_short(value) for value in array.tolist()]
    return [str(value) for value in array.tolist()]


def _short(value: float) -> float | int | None:
    if not np.isfinite(value):
        return None
    rounded = float(f"{value:.{DIGITS}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def quantised(values: np.ndarray) -> dict[str, Any]:
    """Return values as 16-bit integers in base64 and the scale to multiply them by; -32768 stands for NaN.

    The error is at most half of max |value| / 32767. Takes 2.7 bytes a number.

    Examples:
        >>> code = quantised(np.array([0.0, -2.0, np.nan]))
        >>> np.frombuffer(base64.b64decode(code["base64"]), "<i2").tolist(), code["scale"] * 32767
        ([0, -32767, -32768], 2.0)
    """
    finite = np.isfinite(values)
    largest = float(np.abs(values[finite]).max()) if finite.any() else 0.0
    scale = largest / FULL_SCALE or 1.0
    integers = np.full(values.shape, -FULL_SCALE - 1, "<i2")
    integers[finite] = np.rint(values[finite] / scale)
    return {"base64": base64.b64encode(integers.tobytes()).decode(), "scale": scale}


def script_json(value: object) -> str:
    r"""Return JSON that no script element can be broken out of.

    Examples:
        >>> print(script_json("</script><!--"))
        "\u003c/script\u003e\u003c!--"
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def figure_json(figure: Figure) -> dict[str, Any]:
    """Return what the page's script needs of a figure: its charts and the data for download."""
    return _without_none(
        {
            "name": figure.name,
            "title": figure.title,
            "charts": [_chart(chart) for chart in figure.charts],
            "table": _table(figure.table),
        }
    )


def _chart(chart: Chart) -> dict[str, Any]:
    return _without_none(
        {
            "title": chart.title,
            "x": _axis(chart.x),
            "choiceName": chart.choice_name,
            "choices": [_choice(choice) for choice in chart.choices],
            "slider": chart.slider and {"name": chart.slider.name, "values": compact(chart.slider.values)},
            "groups": _groups(chart.groups),
            "height": chart.height,
        }
    )


def _choice(choice: Choice) -> dict[str, Any]:
    scale = choice.colours
    return _without_none(
        {
            "name": choice.name,
            "y": _axis(choice.y),
            "views": [_view(view) for view in choice.views],
            "background": [_series(series) for series in choice.background] or None,
            "colours": scale
            and {"title": scale.title, "range": compact([scale.low, scale.high]), "logarithmic": scale.logarithmic},
        }
    )


def _axis(axis: Axis) -> dict[str, Any]:
    values = None if axis.values is None else compact(axis.values)
    shown = None if axis.range is None else compact(np.array(axis.range, float))
    return _without_none(
        {"name": axis.name, "title": axis.title, "scale": axis.scale, "values": values, "range": shown}
    )


def _view(view: View) -> dict[str, Any]:
    if isinstance(view, Lines):
        return {"series": [_series(series) for series in view.series]}
    if isinstance(view, Cells):
        marks = [compact(np.array(mark, float)) for mark in view.marks]
        return {"cells": compact(view.values), "marks": marks, "markName": view.mark_name}
    return {"places": quantised(view.places.T), "titles": list(view.titles)}


def _series(series: Series) -> dict[str, Any]:
    doubtful = series.converged is not None and not series.converged.all()
    return _without_none(
        {
            "name": series.name,
            "y": compact(series.y),
            "low": None if series.low is None else compact(series.low),
            "high": None if series.high is None else compact(series.high),
            "converged": compact(series.converged) if series.converged is not None and doubtful else None,
            "colour": series.colour,
            "style": None if series.style == "line" else series.style,
        }
    )


def _groups(groups: Groups | None) -> dict[str, Any] | None:
    if groups is None:
        return None
    values = None if groups.values is None else compact(groups.values)
    return _without_none(
        {
            "name": groups.name,
            "names": list(groups.names),
            "ofPoint": compact(groups.of_point),
            "labels": list(groups.labels),
            "values": values,
        }
    )


def _table(table: Table | None) -> dict[str, Any] | None:
    return table and {name: compact(values) for name, values in table.columns.items()}


def _without_none(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if value is not None}
