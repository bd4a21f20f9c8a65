"""The laboratory: experiments as data, sweeps that run anywhere, and claims with verdicts.

An experiment's file imports what it needs from here; :func:`run`, :func:`prepare` and :func:`open_run` are for users.
"""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

from learnscope.laboratory.bands import Band, at_least, at_most, between, within
from learnscope.laboratory.catalogue import load, names
from learnscope.laboratory.claims import Claim, Criterion
from learnscope.laboratory.combine import combine, complete_seeds, places
from learnscope.laboratory.compute import simulate
from learnscope.laboratory.curves import SEEDS, median_over_seeds, medians
from learnscope.laboratory.encoding import decoded, encoded, unusable
from learnscope.laboratory.experiment import Experiment
from learnscope.laboratory.judge import ClaimVerdict, Judged, judge
from learnscope.laboratory.points import Point, grid
from learnscope.laboratory.run import Run, open_run, prepare, run, run_all
from learnscope.laboratory.settings import Grid, Settings
from learnscope.laboratory.sweep import Progress

__all__ = [
    "SEEDS",
    "Band",
    "Claim",
    "ClaimVerdict",
    "Criterion",
    "Experiment",
    "Grid",
    "Judged",
    "Point",
    "Progress",
    "Run",
    "Settings",
    "at_least",
    "at_most",
    "between",
    "complete_seeds",
    "grid",
    "judge",
    "load",
    "median_over_seeds",
    "medians",
    "names",
    "open_run",
    "prepare",
    "run",
    "run_all",
    "simulate",
    "simulate_all",
    "within",
]


def simulate_all(experiment: Experiment, settings: Settings, seeds: int | Sequence[int]) -> xr.Dataset:
    """Return the Dataset of all points, computed here and now without a store.

    Args:
        experiment: what to simulate.
        settings: its settings.
        seeds: how many repetitions, or which ones.
    """
    chosen = range(seeds) if isinstance(seeds, int) else seeds
    results = {}
    for place, point, seed in places(settings, grid(settings), list(chosen)):
        data = simulate(experiment, point, seed)
        results[place] = decoded(encoded(data, {"finite": not unusable(data)}), f"the result of {point}")
    return combine(settings, list(chosen), results)
