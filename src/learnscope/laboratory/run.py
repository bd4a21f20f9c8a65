"""A run: an experiment at some settings, with the results that exist, their verdicts and their report."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import xarray as xr

from learnscope.errors import InputError, StoreError
from learnscope.laboratory.catalogue import code_of, load
from learnscope.laboratory.combine import combine, places
from learnscope.laboratory.compute import Job, job
from learnscope.laboratory.encoding import Stored, decoded
from learnscope.laboratory.experiment import Experiment
from learnscope.laboratory.judge import ClaimVerdict, judge
from learnscope.laboratory.points import grid, settings_key
from learnscope.laboratory.provenance import add_session
from learnscope.laboratory.settings import Settings
from learnscope.laboratory.store import POINT, SETTINGS, Folder, claim_folder, run_folder
from learnscope.laboratory.summary import claims_json
from learnscope.laboratory.sweep import Progress, Watch, sweep

POINTS, FAILURES = "points", "failures"


@dataclass(frozen=True)
class Failure:
    """A point that raised: its settings, its seed, and the traceback."""

    point: Mapping[str, Any]
    seed: int
    message: str
    traceback: str


@dataclass(frozen=True)
class Run:
    """An experiment at some settings; what it holds is read when it is asked for, and then kept.

    Attributes:
        experiment: what is run.
        settings: its settings.
        seeds: the repetitions in view.
        folder: where the results are.
        progress: how the sweep that made it went, if one did.
    """

    experiment: Experiment
    settings: Settings
    seeds: tuple[int, ...]
    folder: Folder
    progress: Progress | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"Run({self.experiment.name!r}, {len(self.seeds)} seeds, {self.folder.url!r})"

    @cached_property
    def jobs(self) -> tuple[tuple[tuple[int, ...], Job], ...]:
        """Every point and seed with its place in the Dataset."""
        points = grid(self.settings)
        return tuple(
            (place, job(self.experiment, self.folder, point, seed))
            for place, point, seed in places(self.settings, points, self.seeds)
        )

    def missing(self) -> list[Job]:
        """Return the jobs without a result, asking the store anew; those that failed before are among them."""
        stored = self.folder.names(POINTS, POINT)
        return [each for _, each in self.jobs if each.name + POINT not in stored]

    @cached_property
    def stored(self) -> dict[tuple[int, ...], Stored]:
        """The results that exist, by their place."""
        wanted = {each.name + POINT: place for place, each in self.jobs}
        there = self.folder.names(POINTS, POINT) & wanted.keys()
        content = self.folder.read_all(POINTS, there)
        return {
            wanted[name]: decoded(text, f"{POINTS}/{name} in {self.folder.url!r}") for name, text in content.items()
        }

    @cached_property
    def failed(self) -> dict[tuple[int, ...], Failure]:
        """The points that raised when they were last tried, by their place."""
        there = self.folder.names(FAILURES, ".json")
        wanted = {
            place: f"{FAILURES}/{each.name}.json"
            for place, each in self.jobs
            if f"{each.name}.json" in there and place not in self.stored
        }
        records = {place: self.folder.read_json(name) for place, name in wanted.items()}
        return {place: Failure(**record) for place, record in records.items() if record is not None}

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The points that raised when they were last tried."""
        return tuple(self.failed.values())

    @cached_property
    def data(self) -> xr.Dataset:
        """All results as one Dataset: a dimension for each swept axis, one for the seeds, and those of the points."""
        return combine(self.settings, self.seeds, self.stored, self.failed)

    @cached_property
    def verdicts(self) -> tuple[ClaimVerdict, ...]:
        """The claims, judged on the results that exist."""
        return judge(self.experiment, self.data)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know before trusting the verdicts."""
        total, there = len(self.jobs), len(self.stored)
        notes = []
        if there < total:
            notes.append(f"{total - there} of {total} points are missing ({len(self.failures)} of them raised).")
        bad = [stored for stored in self.stored.values() if not stored.facts.get("finite", True)]
        if bad:
            names = sorted({name for stored in bad for name in stored.facts["not_finite"]})
            notes.append(
                f"{len(bad)} of {total} points are not finite (in {', '.join(names)}) and left out of the claims."
            )
        code = code_of(self.experiment)
        old = sum(stored.facts.get("code", code) != code for stored in self.stored.values())
        if old:
            notes.append(
                f"{old} of {there} results were computed by another version of the experiment's file: if its "
                f"simulation has changed since, delete {self.folder.url!r} to compute them again."
            )
        return tuple(notes)

    @property
    def sound(self) -> bool:
        """Whether every point has a result, no claim failed, and every negative control did."""
        controls = [judged.control for verdict in self.verdicts for judged in verdict.criteria if judged.control]
        return (
            len(self.stored) == len(self.jobs)
            and all(verdict.verdict != "not reproduced" for verdict in self.verdicts)
            and all(control.fails for control in controls)
        )

    def forget_old_failures(self) -> None:
        """Remove the records of failures of points that have succeeded since."""
        there = self.folder.names(FAILURES, ".json")
        for name in {each.name for place, each in self.jobs if place in self.stored}:
            if f"{name}.json" in there:
                self.folder.remove(f"{FAILURES}/{name}.json")

    def save_verdicts(self) -> None:
        """Write claims.json."""
        self.folder.write_json("claims.json", claims_json(self.verdicts, len(self.seeds), self.notes))

    def report(self, path: str | Path | None = None) -> str:
        """Write one self-contained HTML page: verdicts, figures, settings, provenance; return where it is.

        Args:
            path: the file to write; ``report.html`` in the run's folder by default.

        Raises:
            StoreError: if it cannot be written.
        """
        from learnscope.laboratory.page import experiment_page
        from learnscope.report.files import write_atomically
        from learnscope.report.page import render

        html = render(experiment_page(self))
        if path is not None:
            return str(write_atomically(html, Path(path)))
        self.folder.write("report.html", html.encode())
        return posixpath.join(self.folder.url, "report.html")


def prepare(
    reference: str | Experiment,
    *,
    scale: str = "quick",
    changes: Mapping[str, Any] | None = None,
    seeds: int | Sequence[int] | None = None,
    store: str = "runs",
) -> Run:
    """Return the run of an experiment, with whatever results it has already; nothing is computed.

    Raises:
        InputError: if the experiment, the scale or a setting is not known, or a value is out of its range.
        StoreError: if the folder holds other settings, or cannot be written.
    """
    experiment = load(reference)
    settings = experiment.at_scale(scale, changes)
    folder = run_folder(store, experiment.name, settings_key(settings, experiment.version))
    return Run(experiment, settings, _seeds(experiment, seeds), folder)


def run(
    reference: str | Experiment,
    *,
    scale: str = "quick",
    changes: Mapping[str, Any] | None = None,
    seeds: int | Sequence[int] | None = None,
    store: str = "runs",
    workers: int | None = None,
    scheduler: str | None = None,
    watch: Watch | None = None,
) -> Run:
    """Run an experiment: compute the points without a result, and judge its claims.

    Args:
        reference: name in the catalogue, path of a file, or an experiment.
        scale: "quick" or "paper".
        changes: settings that differ from the scale's.
        seeds: how many repetitions, or which ones; the experiment's own number by default.
        store: folder or fsspec URL under which runs are kept.
        workers: processes on this machine, one for each core by default; 0 computes in this process.
        scheduler: address of a Dask scheduler to use instead.
        watch: called with the progress whenever points are finished.

    Raises:
        InputError: if a name, a value or an address is wrong.
        StoreError: if results cannot be written or read.
    """
    prepared = prepare(reference, scale=scale, changes=changes, seeds=seeds, store=store)
    return run_all([prepared], workers=workers, scheduler=scheduler, watch=watch)[0]


def run_all(
    runs: Sequence[Run], *, workers: int | None = None, scheduler: str | None = None, watch: Watch | None = None
) -> list[Run]:
    """Compute what is missing of several runs in one sweep, judge them, and return them anew."""
    jobs = []
    for each in runs:
        if each.folder.in_this_process_only and (workers != 0 or scheduler is not None):
            raise InputError(
                f"the store {each.folder.url!r} lives in the memory of this process, where workers cannot write: use "
                "workers=0, or a store on a disk."
            )
        claim_folder(each.folder, each.experiment.name, each.settings.model_dump(mode="json"))
        each.folder.remove_leftovers()
        missing = each.missing()
        if missing:
            add_session(each.folder, each.experiment, len(missing))
        jobs += missing
    progress = sweep(jobs, workers=workers, scheduler=scheduler, watch=watch)
    finished = [Run(each.experiment, each.settings, each.seeds, each.folder, progress) for each in runs]
    for each in finished:
        each.forget_old_failures()
        each.save_verdicts()
    return finished


def open_run(url: str) -> Run:
    """Return the run in a folder, with the seeds that it holds.

    Raises:
        StoreError: if there is no run of an experiment.
    """
    folder = Folder(url)
    stored = folder.read_json(SETTINGS)
    if stored is None or "experiment" not in stored:
        raise StoreError(f"{url!r} holds no run of an experiment: 'learnscope list' shows those that there are.")
    experiment = load(stored["experiment"])
    settings = experiment.settings.checked(stored["settings"], experiment.name)
    names = folder.names(POINTS, POINT) | folder.names(FAILURES, ".json")
    seeds = sorted({int(name.rpartition("-")[2].partition(".")[0]) for name in names})
    return Run(experiment, settings, tuple(seeds), folder)


def _seeds(experiment: Experiment, seeds: int | Sequence[int] | None) -> tuple[int, ...]:
    chosen = (
        tuple(range(experiment.seeds if seeds is None else seeds))
        if seeds is None or isinstance(seeds, int)
        else tuple(seeds)
    )
    if not chosen or min(chosen) < 0 or len(set(chosen)) < len(chosen):
        raise InputError(f"seeds cannot be {seeds!r}: give a number of seeds from 1 on, or distinct numbers from 0 on.")
    return chosen
