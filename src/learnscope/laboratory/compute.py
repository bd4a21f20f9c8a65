"""Computing points: one thread, a generator of its own, and the result in the store as soon as it is there."""

from __future__ import annotations

import platform
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from threadpoolctl import threadpool_limits

from learnscope.errors import LearnscopeError
from learnscope.laboratory.catalogue import code_of, load
from learnscope.laboratory.encoding import encoded, unusable
from learnscope.laboratory.experiment import Experiment
from learnscope.laboratory.points import Point, key, point_generator
from learnscope.laboratory.store import POINT, Folder, point_name

Status = Literal["finished", "failed"]


class VersionError(LearnscopeError):
    """A worker has another version of Learnscope than the process that sends it work."""


@dataclass(frozen=True, slots=True)
class Job:
    """One point and one seed of an experiment, and where its result goes."""

    experiment: str | Experiment
    folder: Folder
    point: Point
    seed: int
    name: str


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a job: its status, how long it took, and the last line of the traceback if it raised."""

    name: str
    url: str
    status: Status
    seconds: float
    message: str = ""


def job(experiment: Experiment, folder: Folder, point: Point, seed: int) -> Job:
    """Return the job of one point and seed; the experiment travels by name where it has one."""
    name = point_name(key(point, experiment.settings, experiment.version), seed)
    return Job(experiment.origin or experiment, folder, point, seed, name)


def compute(jobs: Sequence[Job], sender: str) -> list[Done]:
    """Compute jobs one after another, each stored as soon as it is finished; those that are stored already are kept.

    A point that raises is recorded with its traceback, and the others go on.

    Args:
        jobs: what to compute.
        sender: the version of Learnscope that asks for it.

    Raises:
        VersionError: if this process runs another version.
        StoreError: if a result cannot be written.
    """
    installed = version("learnscope")
    if installed != sender:
        raise VersionError(
            f"a worker on {platform.node()} has Learnscope {installed}, this process has {sender}: install the same "
            "version on both, and repeat the command."
        )
    with one_thread():
        return [_compute(each) for each in jobs]


def simulate(experiment: Experiment, point: Point, seed: int) -> xr.Dataset:
    """Return the result of one point and seed, computed here and now under one thread."""
    with one_thread():
        return experiment.simulate(point, point_generator(experiment.name, point, experiment.settings, seed))


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread for torch and for BLAS, so that sums come out the same wherever they are computed."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def _compute(job: Job) -> Done:
    start = time.perf_counter()
    if job.folder.exists(f"points/{job.name}{POINT}"):
        return Done(job.name, job.folder.url, "finished", time.perf_counter() - start)
    failure = f"failures/{job.name}.json"
    try:
        experiment = load(job.experiment)
        generator = point_generator(experiment.name, job.point, experiment.settings, job.seed)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # a point that is not finite is recorded so
            data = experiment.simulate(job.point, generator)
        content = encoded(data, _facts(experiment, job, data, time.perf_counter() - start))
    except Exception as error:  # noqa: BLE001 - one point that raises must not end the sweep; it is recorded
        said = f"{type(error).__name__}: {error}"
        job.folder.write_json(
            failure,
            {"point": _plain(job.point), "seed": job.seed, "message": said, "traceback": traceback.format_exc()},
        )
        return Done(job.name, job.folder.url, "failed", time.perf_counter() - start, said)
    job.folder.write(f"points/{job.name}{POINT}", content)
    return Done(job.name, job.folder.url, "finished", time.perf_counter() - start)


def _facts(experiment: Experiment, job: Job, data: xr.Dataset, seconds: float) -> dict[str, Any]:
    not_finite = unusable(data)
    return {
        "point": _plain(job.point),
        "seed": job.seed,
        "seconds": round(seconds, 6),
        "finite": not not_finite,
        "not_finite": not_finite,
        "code": code_of(experiment),
        "learnscope": version("learnscope"),
        "torch": torch.__version__,
        "host": platform.node(),
    }


def _plain(point: Point) -> dict[str, Any]:
    return {name: value if isinstance(value, (bool, int, float, str)) else str(value) for name, value in point.items()}
