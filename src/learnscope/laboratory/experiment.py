"""An experiment: its science, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import xarray as xr

from learnscope.errors import InputError
from learnscope.laboratory.claims import Claim
from learnscope.laboratory.points import Point
from learnscope.laboratory.settings import Settings
from learnscope.report.chart import Figure

Scale = Literal["quick", "paper"]
SCALES: tuple[Scale, ...] = ("quick", "paper")


@dataclass(frozen=True, slots=True)
class Experiment:
    """A known result as a runnable experiment.

    Attributes:
        name: as on the command line.
        title: a heading for its report.
        source: what to cite.
        settings: its settings; the defaults are the quick scale.
        simulate: a pure function of a point and a generator; it runs in this process, in a worker, or on a cluster
            unchanged. Variables of its Dataset are numbers; NaN marks the point as unusable, except in variables with
            the attribute ``missing``, which says what NaN means there.
        claims: what is put to the test.
        figures: what to draw of the sweep's Dataset.
        paper: settings of the original work, where they differ from the defaults.
        seeds: number of independent repetitions, by default.
        parts: names of experiments that belong to this result and run along with it, where one file would be too long.
        version: raised when a change of the science makes stored results worthless.
        origin: where the experiment was loaded from: a name in the catalogue or a file; empty if made in a session.
    """

    name: str
    title: str
    source: str
    settings: type[Settings]
    simulate: Callable[[Point, torch.Generator], xr.Dataset]
    claims: tuple[Claim, ...]
    figures: Callable[[xr.Dataset], Sequence[Figure]]
    paper: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 10
    parts: tuple[str, ...] = ()
    version: int = 1
    origin: str = ""

    def at_scale(self, scale: str, changes: Mapping[str, Any] | None = None) -> Settings:
        """Return the settings of a scale, "quick" or "paper", with changes.

        Raises:
            InputError: if the scale or a setting is not known, or a value is out of its range.
        """
        if scale not in SCALES:
            raise InputError(f"scale {scale!r} is not known: choose one of {', '.join(SCALES)}.")
        base = dict(self.paper) if scale == "paper" else {}
        return self.settings.checked(base | dict(changes or {}), self.name)
