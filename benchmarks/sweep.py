"""What a sweep adds to its points: 5,000 trivial points on 2 workers; 10,000 stored points read into one Dataset.

python benchmarks/sweep.py [--points 5000] [--workers 2]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
import xarray as xr

from learnscope import laboratory
from learnscope.laboratory import Claim, Criterion, Experiment, Grid, Point, Run, within

MILLISECONDS_A_POINT, SECONDS_TO_READ = 10.0, 5.0


class Settings(laboratory.Settings):
    """One swept axis."""

    place: Grid[int] = (0,)


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Return two curves of ten numbers, which is a kilobyte in the store."""
    values = torch.randn(2, 10, generator=generator, dtype=torch.float64).numpy()
    return xr.Dataset({"loss": ("time", values[0]), "error": ("time", values[1])}, coords={"time": range(10)})


def last_loss(data: xr.Dataset) -> xr.DataArray:
    return data["loss"].isel(time=-1).mean("place")


CRITERION = Criterion(
    name="last loss",
    measured=last_loss,
    predicted=0.0,
    band=within(absolute=1.0),
    reason="a mean of many normal numbers",
    control=lambda data: last_loss(data) + 10,
    control_name="ten more",
)
CLAIM = Claim("trivial", "Normal numbers have mean zero.", "Gauss 1809", (CRITERION,))
EXPERIMENT = Experiment("trivial", "Trivial points", "Gauss 1809", Settings, simulate, (CLAIM,), lambda data: ())


class Watch:
    """Notes when the workers are there, and when the last point is finished."""

    def __init__(self) -> None:
        self.begin = self.end = time.perf_counter()
        self.ready: float | None = None

    def __call__(self, progress: laboratory.Progress) -> None:
        """Take the time."""
        self.end = time.perf_counter()
        if progress.workers and self.ready is None:
            self.ready = self.end


def swept(store: str, points: int, workers: int) -> Run:
    """Compute the points and print what a point costs beyond its own time."""
    watch = Watch()
    changes = {"place": list(range(points))}
    run = laboratory.run(__file__, changes=changes, seeds=1, store=store, workers=workers, watch=watch)
    whole = time.perf_counter() - watch.begin
    own = sum(stored.facts["seconds"] for stored in run.stored.values()) / workers
    print(f"{points:,} trivial points on {workers} workers, {own * workers / points * 1e3:.2f} ms of their own each")
    working = watch.end - (watch.ready or watch.begin)
    for what, seconds in (("while workers are there", working), ("starting them included", whole)):
        added = (seconds - own) / points * 1e3
        verdict = "within" if added <= MILLISECONDS_A_POINT else "ABOVE"
        print(f"  {what:24s}{seconds:7.2f} s{added:8.2f} ms a point beyond it, {verdict} {MILLISECONDS_A_POINT:.0f} ms")
    return run


def read(store: str, points: int) -> None:
    """Print how long it takes to find stored points, and to make one Dataset of them."""
    changes = {"place": list(range(points))}
    prepared = laboratory.prepare(__file__, changes=changes, seeds=1, store=store)
    listed = timed("finding what is missing", prepared.missing)
    combined = timed("reading all into one Dataset", lambda: prepared.data)
    verdict = "within" if listed + combined <= SECONDS_TO_READ else "ABOVE"
    print(f"  {'both':32s}{listed + combined:7.2f} s, {verdict} {SECONDS_TO_READ:.0f} s")


def timed(what: str, function: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    function()
    seconds = time.perf_counter() - begin
    print(f"  {what:32s}{seconds:7.2f} s")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as store:
        swept(store, options.points, options.workers)
    with tempfile.TemporaryDirectory() as store:
        stored = 2 * options.points
        laboratory.run(__file__, changes={"place": list(range(stored))}, seeds=1, store=store, workers=options.workers)
        print(f"{stored:,} stored points")
        read(store, stored)


if __name__ == "__main__":
    main()
