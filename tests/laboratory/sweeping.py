"""An experiment whose points tell when they start, take their time, raise, or kill the process that computes them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import torch
import xarray as xr

from learnscope import laboratory
from learnscope.laboratory import Claim, Criterion, Experiment, Grid, Point, within


class Settings(laboratory.Settings):
    place: Grid[int] = tuple(range(20))
    seconds: float = 0.0
    log: str = ""  # folder in which each start leaves a file <place>-<seed>.<process>
    deadly: int = -1  # the place that kills its process at its first start
    fatal: int = -1  # the place that kills its process at each start
    raising: int = -1
    full: int = -1  # the place at which the disk is found full


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    if point.log:
        _tell(Path(point.log), f"{point.place}-{generator.initial_seed()}")
    if point.place == point.fatal or (point.place == point.deadly and _first(Path(point.log))):
        os.kill(os.getpid(), signal.SIGKILL)
    if point.place == point.raising:
        raise ArithmeticError(f"no number at {point.place}")
    if point.place == point.full:
        _fill_the_disk()
    time.sleep(point.seconds)
    matrix = torch.randn(64, 64, generator=generator, dtype=torch.float64)
    return xr.Dataset({"sum": float((matrix @ matrix).sum()), "row": ("column", matrix[0].numpy())})


def _tell(log: Path, name: str) -> None:
    (log / f"{name}.{os.getpid()}.{time.monotonic_ns()}").touch()


def _first(log: Path) -> bool:
    try:
        (log / "died").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _fill_the_disk() -> None:
    from fsspec.implementations.local import LocalFileSystem

    def pipe_file(self, path, value, **kwargs):
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(value)

    LocalFileSystem.pipe_file = pipe_file


def over_places(data: xr.Dataset) -> xr.DataArray:
    return data["sum"].mean("place")


def far_off(data: xr.Dataset) -> xr.DataArray:
    return over_places(data) + 1e6


CLAIM = Claim(
    name="small-sums",
    statement="Sums of products of normal numbers are of the order of the size.",
    source="Gauss 1809",
    criteria=(
        Criterion(
            name="mean of the sums",
            measured=over_places,
            predicted=0.0,
            band=within(absolute=1e4),
            reason="a sum of 64 x 64 x 64 products has a standard deviation of 512",
            control=far_off,
            control_name="far off",
        ),
    ),
)

EXPERIMENT = Experiment(
    name="sweeping",
    title="Points that are a nuisance",
    source="Gauss 1809",
    settings=Settings,
    simulate=simulate,
    claims=(CLAIM,),
    figures=lambda data: (),
    seeds=3,
)
