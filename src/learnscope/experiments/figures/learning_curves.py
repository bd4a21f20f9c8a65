"""Learning curves of several learners beside the powers that are predicted for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import xarray as xr

from learnscope.laboratory import SEEDS, median_over_seeds
from learnscope.laboratory.exponents import local_exponents
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, category

Powers = Mapping[str, Callable[[int], float]]


def learning_figures(data: xr.Dataset, learners: Mapping[str, str], powers: Powers, name: str) -> tuple[Figure, Figure]:
    """Draw learning curves and local exponents beside their predictions, for each d.

    Args:
        data: ``error`` over dim, n_train, seed and learner, NaN at sizes without training.
        learners: their names in the legend; "limit" and "feature" are among them.
        powers: exponents by learner, and that of the ratio, as functions of d.
        name: of the data.
    """
    sizes = data["n_train"].values
    curves, slopes = [], []
    for dim in data["dim"].values.tolist():
        chosen = data["error"].sel(dim=dim)
        lines = [_line(chosen.sel(learner=each), learners[each], category(k)) for k, each in enumerate(learners)]
        places = [k for k, each in enumerate(learners) if each in powers]
        guides = [_guide(lines[k], sizes, powers[list(learners)[k]](dim), category(k)) for k in places]
        curves.append(Choice(f"d = {dim}", Axis("error", "test error", "log"), (Lines((*lines, *guides)),)))
        slopes.append(
            Choice(f"d = {dim}", Axis("exponent", "local exponent"), (_local(chosen, learners, powers, dim),))
        )
    shown = Caption(
        f"Test errors on the {name}. {SEEDS} Dashed: the predicted powers, through the last point.",
        "Networks that learn features improve faster than their lazy limit, which lazy networks follow; nearest "
        "neighbours improve the least.",
        "Paccolat, Petrini, Geiger, Tyloo, Wyart 2021",
    )
    local = Caption(
        "Slopes of the mean errors between neighbouring sizes, and of ρ, the error of the lazy limit over that of the "
        "network. Dashed: the predicted exponents.",
        "At these sizes errors fall faster than predicted for infinitely many examples; ρ grows about as predicted.",
        "Paccolat, Petrini, Geiger, Tyloo, Wyart 2021",
    )
    middles = np.sqrt(sizes[1:] * sizes[:-1])
    starts = (0, len(curves) - 1) if len(curves) > 1 else (0,)
    return (
        Figure(
            "curves",
            f"Learning curves on the {name}",
            shown,
            (Chart(Axis("n_train", "examples p", "log", sizes), tuple(curves), starts=starts, height=460),),
        ),
        Figure(
            "local",
            "Local exponents",
            local,
            (Chart(Axis("n_train", "examples p", "log", middles), tuple(slopes), starts=starts, height=420),),
        ),
    )


def _line(values: xr.DataArray, name: str, colour: str) -> Series:
    """Return the median over seeds, NaN at sizes without training."""
    known = np.asarray(np.isfinite(values.transpose("seed", "n_train").values).all(0))
    line = median_over_seeds(values.isel(n_train=np.flatnonzero(known)), name, colour)

    def everywhere(part: np.ndarray | None) -> np.ndarray:
        whole = np.full(len(known), np.nan)
        whole[known] = part
        return whole

    return replace(line, y=everywhere(line.y), low=everywhere(line.low), high=everywhere(line.high))


def _guide(line: Series, sizes: np.ndarray, power: float, colour: str) -> Series:
    """Return a power law through the last point of a line."""
    last = np.flatnonzero(np.isfinite(line.y))[-1]
    return Series(
        f"p^{power:.3g}".replace("-", "−"), line.y[last] * (sizes / sizes[last]) ** power, colour, style="dashed"
    )


def _local(errors: xr.DataArray, learners: Mapping[str, str], powers: Powers, dim: int) -> Lines:
    """Return local exponents of the mean errors and of ρ, and the predicted ones."""
    mean = errors.mean("seed")
    curves = {each: mean.sel(learner=each) for each in learners if each in powers}
    curves["ratio"] = curves["limit"] / curves["feature"]
    series = []
    for k, (each, values) in enumerate(curves.items()):
        slopes = local_exponents(values.drop_vars("learner", errors="ignore"), "n_train").values
        flat = np.full(len(slopes), powers[each](dim))
        series += [
            Series(learners.get(each, "ρ"), slopes, category(k)),
            Series(f"{flat[0]:.3g}".replace("-", "−"), flat, category(k), style="dashed"),
        ]
    return Lines(tuple(series))
