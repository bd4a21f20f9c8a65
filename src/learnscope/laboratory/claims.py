"""Claims: statements with a source, criteria with a band fixed beforehand, and negative controls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import xarray as xr

from learnscope.laboratory.bands import Band

Measure = Callable[[xr.Dataset], xr.DataArray]


@dataclass(frozen=True, slots=True)
class Criterion:
    """One number that decides on a claim.

    Attributes:
        name: what is measured, in words.
        measured: a function of the sweep's Dataset that returns one number for each seed (dim ``seed`` alone); with
            ``pooled``, one number from all seeds together.
        predicted: the number that the theory gives, or a function of the Dataset that computes it.
        band: where the measured number must lie.
        reason: why the band is as wide as it is (theory, finite size, sampling error); fixed before the run.
        control: the same measure of the negative control, which must fall outside the band; None where another
            criterion of the claim has the control.
        control_name: what the control is.
        pooled: whether ``measured`` needs all seeds at once, such as a slope fitted to means over seeds.
    """

    name: str
    measured: Measure
    predicted: float | Callable[[xr.Dataset], float]
    band: Band
    reason: str
    control: Measure | None = None
    control_name: str = ""
    pooled: bool = False

    def __post_init__(self) -> None:
        if (self.control is None) != (not self.control_name):
            raise TypeError(f"criterion {self.name!r}: a control needs a name, and a name a control")
        if not self.reason:
            raise TypeError(f"criterion {self.name!r}: say why the band is as wide as it is")


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement from the literature that an experiment puts to the test.

    Attributes:
        name: its name in the catalogue.
        statement: what is claimed, in a sentence or two.
        source: authors, year, and the place in the work.
        criteria: all of them must hold; at least one has a negative control.
        correction: where the source is wrong or incomplete, the corrected statement with its evidence.
    """

    name: str
    statement: str
    source: str
    criteria: tuple[Criterion, ...]
    correction: str = ""

    def __post_init__(self) -> None:
        if not any(criterion.control for criterion in self.criteria):
            raise TypeError(f"claim {self.name!r} needs a negative control: give one of its criteria control=")
