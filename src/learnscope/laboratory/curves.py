"""Curves of several seeds as one line with a band."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

import xarray as xr

from learnscope.report.chart import Lines, Series, category

SEEDS = "Median over seeds, bands from the least to the largest."


def median_over_seeds(
    values: xr.DataArray, name: str, colour: str, style: Literal["line", "dashed", "faint"] = "line"
) -> Series:
    """Return the median over seeds as a line, with a band from the least to the largest; its caption says ``SEEDS``.

    Args:
        values: over ``seed`` and the dimension of the chart's x axis.
        name: in the legend.
        colour: from :func:`~learnscope.report.chart.category` or :func:`~learnscope.report.chart.depth`.
        style: of the line.
    """
    low, middle, high = (values.quantile(q, "seed").values for q in (0.0, 0.5, 1.0))
    return Series(name, middle, colour, low=low, high=high, style=style)


def medians(values: xr.DataArray, dim: str, names: Mapping[str, str], dashed: Collection[str] = ()) -> Lines:
    """Return a line with its band for some places of a dimension, as :func:`median_over_seeds`, in the given order.

    Args:
        values: over ``seed``, ``dim``, and the dimension of the chart's x axis.
        dim: what differs from line to line.
        names: for each place that is drawn, its name in the legend.
        dashed: the places whose lines are dashed.
    """
    return Lines(
        tuple(
            median_over_seeds(values.sel({dim: place}), name, category(k), "dashed" if place in dashed else "line")
            for k, (place, name) in enumerate(names.items())
        )
    )
