"""Verdicts: a measured number with its interval against a predicted one with its band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from learnscope.errors import InputError
from learnscope.estimate import Estimate
from learnscope.laboratory.bootstrap import FEWEST_SEEDS, over_seeds, pooled
from learnscope.laboratory.claims import Claim, Criterion, Measure
from learnscope.laboratory.combine import complete_seeds
from learnscope.laboratory.experiment import Experiment
from learnscope.randomness import derived_seed

Verdict = Literal["reproduced", "not reproduced", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Control:
    """What became of a negative control: it does its work if it fails the criterion."""

    name: str
    measured: Estimate
    fails: bool

    @property
    def outcome(self) -> str:
        """What there is to say: "fails", as it must, "does not fail", or that it has "no number"."""
        if self.fails:
            return "fails"
        return "no number" if np.isnan(float(self.measured)) else "does not fail"


@dataclass(frozen=True, slots=True)
class Judged:
    """A criterion after the run.

    Attributes:
        criterion: what was asked.
        predicted: the predicted number.
        measured: the measured one, with its interval.
        band: lower and upper end.
        verdict: "reproduced" if the interval lies in the band, "not reproduced" if outside, else "inconclusive".
        control: the negative control, if the criterion has one.
        notes: what a reader should know, such as seeds that were left out.
    """

    criterion: Criterion
    predicted: float
    measured: Estimate
    band: tuple[float, float]
    verdict: Verdict
    control: Control | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClaimVerdict:
    """A claim after the run: the worst verdict of its criteria; inconclusive if a negative control passes."""

    claim: Claim
    verdict: Verdict
    criteria: tuple[Judged, ...]


def judge(experiment: Experiment, data: xr.Dataset) -> tuple[ClaimVerdict, ...]:
    """Judge every claim of an experiment on the Dataset of a sweep.

    Seeds of which a point is missing, failed, or not finite are left out, with a count in the notes. The intervals are
    resampled with seeds derived from the names, so the same data give the same verdicts.

    Raises:
        InputError: if a criterion does not return one number for each seed.
    """
    complete, excluded = complete_seeds(data)
    return tuple(_judge_claim(experiment.name, claim, complete, excluded) for claim in experiment.claims)


def _judge_claim(name: str, claim: Claim, data: xr.Dataset, excluded: int) -> ClaimVerdict:
    criteria = tuple(
        _judge_criterion(f"{name}/{claim.name}", criterion, data, excluded) for criterion in claim.criteria
    )
    verdicts = {judged.verdict for judged in criteria}
    verdict: Verdict = "reproduced"
    if "inconclusive" in verdicts or any(judged.control and not judged.control.fails for judged in criteria):
        verdict = "inconclusive"
    if "not reproduced" in verdicts:
        verdict = "not reproduced"
    return ClaimVerdict(claim, verdict, criteria)


def _judge_criterion(name: str, criterion: Criterion, data: xr.Dataset, excluded: int) -> Judged:
    notes = (f"{excluded} seeds left out: a point of theirs is missing, failed or not finite",) if excluded else ()
    if not data.sizes.get("seed"):
        nothing = over_seeds(np.empty(0), 0)
        control = Control(criterion.control_name, nothing, fails=False) if criterion.control else None
        return Judged(criterion, np.nan, nothing, (np.nan, np.nan), "inconclusive", control, notes)
    predicted = float(criterion.predicted(data)) if callable(criterion.predicted) else float(criterion.predicted)
    band = criterion.band.ends(predicted)
    measured = _measure(name, criterion, criterion.measured, data)
    if int(measured.n) < FEWEST_SEEDS:
        notes += (f"fewer than {FEWEST_SEEDS} seeds",)
    control = None
    if criterion.control is not None:
        against = _measure(name, criterion, criterion.control, data)
        control = Control(criterion.control_name, against, fails=placed(against, band) == "not reproduced")
    return Judged(criterion, predicted, measured, band, placed(measured, band), control, notes + measured.notes)


def placed(measured: Estimate, band: tuple[float, float]) -> Verdict:
    """Return where an estimate's interval lies: in the band, outside of it, or across one of its ends.

    Examples:
        >>> placed(over_seeds(np.array([1.0, 1.1, 0.9]), seed=0), (0.5, 1.5))
        'reproduced'
        >>> placed(over_seeds(np.array([1.0, 1.1, 0.9]), seed=0), (1.0, 1.5))
        'inconclusive'
    """
    low, high = (float(end) for end in measured.interval())
    if not bool(measured.converged) or np.isnan(low) or np.isnan(high):
        return "inconclusive"
    if band[0] <= low and high <= band[1]:
        return "reproduced"
    return "not reproduced" if high < band[0] or low > band[1] else "inconclusive"


def _measure(name: str, criterion: Criterion, measure: Measure, data: xr.Dataset) -> Estimate:
    seed = derived_seed("bootstrap", name, criterion.name)
    if criterion.pooled:
        return pooled(measure, data, seed)
    values = measure(data)
    if tuple(values.dims) != ("seed",):
        raise InputError(
            f"criterion {criterion.name!r} of {name!r} returned dimensions {tuple(values.dims)}: it must return one "
            "number for each seed (dimension 'seed' alone), or say pooled=True."
        )
    return over_seeds(values.values, seed)
