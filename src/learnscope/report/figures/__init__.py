"""The figures of a run, one subject a file: each a pure function from a record's data to a figure, or None."""

from __future__ import annotations

from collections.abc import Callable

import xarray as xr

from learnscope.report.chart import Figure
from learnscope.report.figures.components import components
from learnscope.report.figures.dimension import dimension
from learnscope.report.figures.health import health
from learnscope.report.figures.kernel import kernel
from learnscope.report.figures.kernel_components import kernel_components
from learnscope.report.figures.learning_times import learning_times
from learnscope.report.figures.movement import movement
from learnscope.report.figures.progress import progress
from learnscope.report.figures.regime import regime
from learnscope.report.figures.separability import separability
from learnscope.report.figures.settling import settling
from learnscope.report.figures.simplicity import simplicity
from learnscope.report.figures.spectra import spectra

FIGURES: tuple[Callable[[xr.Dataset], Figure | None], ...] = (
    simplicity,
    settling,
    components,
    learning_times,
    dimension,
    separability,
    spectra,
    movement,
    regime,
    kernel,
    kernel_components,
    progress,
    health,
)

__all__ = ["FIGURES", "figures_of"]


def figures_of(data: xr.Dataset) -> tuple[Figure, ...]:
    """Return every figure whose ingredients the record holds, in the order of the page."""
    drawn = (draw(data) for draw in FIGURES)
    return tuple(figure for figure in drawn if figure is not None)
