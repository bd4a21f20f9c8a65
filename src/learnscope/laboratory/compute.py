"""Computing points: one thread, a generator of its own, and the result in the store as soon as it is there."""

from __future__ import annotations

import math
import pickle
import platform
import threading
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

from learnscope.errors import InputError, LearnscopeError
from learnscope.laboratory.catalogue import code_of, load
from learnscope.laboratory.encoding import encoded, unusable
from learnscope.laboratory.experiment import Experiment
from learnscope.laboratory.points import Point, key, point_generator
from learnscope.laboratory.store import POINT, Folder, point_name

LOADED = version("learnscope")  # on a worker that runs for long, what is installed may be newer
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
    status: Status
    seconds: float
    message: str = ""


def job(experiment: Experiment, folder: Folder, point: Point, seed: int) -> Job:
    """Return the job of one point and seed; the experiment travels by name where it has one."""
    name = point_name(key(point, experiment.settings, experiment.version), seed)
    return Job(experiment.origin or experiment, folder, point, seed, name)


def compute(jobs: Sequence[Job], seconds: float = math.inf) -> list[Done]:
    """Compute jobs one after another, each stored as soon as it is finished; those that are stored already are kept.

    A point that raises is recorded with its traceback, and the others go on. This process uses one thread for each
    point from then on.

    Args:
        jobs: what to compute, all of one experiment and for one folder.
        seconds: no job is begun after so long, except the first.

    Returns:
        What became of the jobs that were begun, in their order.

    Raises:
        InputError: if the experiment's file is not there.
        StoreError: if a result cannot be written, or the folder is not seen from here.
    """
    jobs[0].folder.must_exist()
    experiment = _loaded(jobs[0])
    torch.set_num_threads(1)
    threadpool_limits(1)
    start, done = time.perf_counter(), []
    for each in jobs:
        if done and time.perf_counter() - start > seconds:
            break
        done.append(_compute(experiment, each))
    return done


def compute_packed(jobs: bytes, sender: str, seconds: float) -> list[Done]:
    """Do on a worker what :func:`compute` does; pickled, since a worker that dask cannot hand its jobs to is lost.

    Args:
        jobs: pickled.
        sender: the version of Learnscope that asks for it.
        seconds: no job is begun after so long, except the first.

    Raises:
        VersionError: if this process runs another version.
    """
    if sender != LOADED:
        raise VersionError(
            f"a worker on {platform.node()} has Learnscope {LOADED}, this process has Learnscope {sender}: install "
            "the same version on both, and repeat the command."
        )
    return compute(pickle.loads(jobs), seconds)  # noqa: S301 - from the client that this worker serves


def simulate(experiment: Experiment, point: Point, seed: int) -> xr.Dataset:
    """Return the result of one point and seed, computed here and now under one thread."""
    with one_thread():
        return _simulated(experiment, point, seed)


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


def record_failure(job: Job, message: str, details: str, seconds: float = 0.0) -> Done:
    """Record why a point has no result.

    Raises:
        StoreError: if that cannot be written.
    """
    record = {"point": _plain(job.point), "seed": job.seed, "message": message, "traceback": details}
    job.folder.write_json(f"failures/{job.name}.json", record)
    return Done(job.name, "failed", seconds, message)


def _loaded(job: Job) -> Experiment:
    try:
        return load(job.experiment)
    except InputError as error:
        raise InputError(f"a worker on {platform.node()} cannot load the experiment: {error}") from error


def _compute(experiment: Experiment, job: Job) -> Done:
    start = time.perf_counter()
    if not job.folder.exists(f"points/{job.name}{POINT}"):
        try:
            data = _simulated(experiment, job.point, job.seed)
            content = encoded(data, _facts(experiment, job, data, time.perf_counter() - start))
        except BaseException as error:  # one point that raises, or exits, must not end the sweep
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise
            seconds = time.perf_counter() - start
            said = f"{type(error).__name__}: {error}".removesuffix(": ")
            return record_failure(job, said, traceback.format_exc(), seconds)
        job.folder.write(f"points/{job.name}{POINT}", content)
    return Done(job.name, "finished", time.perf_counter() - start)


def _simulated(experiment: Experiment, point: Point, seed: int) -> xr.Dataset:
    generator = point_generator(experiment.name, point, experiment.settings, seed)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # a point that is not finite is recorded so
        return experiment.simulate(point, generator)


def _facts(experiment: Experiment, job: Job, data: xr.Dataset, seconds: float) -> dict[str, Any]:
    not_finite = unusable(data)
    return {
        "point": _plain(job.point),
        "seed": job.seed,
        "seconds": round(seconds, 6),
        "finite": not not_finite,
        "not_finite": not_finite,
        "code": code_of(experiment),
        "learnscope": LOADED,
        "torch": torch.__version__,
        "host": platform.node(),
    }


def _plain(point: Point) -> dict[str, Any]:
    return {name: value if isinstance(value, (bool, int, float, str)) else str(value) for name, value in point.items()}
