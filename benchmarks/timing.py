"""Time ours and a peer's on the same threads, and say by how much they differ."""

from __future__ import annotations

import importlib
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))


@dataclass(frozen=True)
class Timing:
    """Median wall and processor seconds of some repetitions, and the last result."""

    wall: float
    processor: float
    result: Any


def timed(function: Callable[[], Any], repeats: int = 3) -> Timing:
    """Run ``function`` once to warm up and then ``repeats`` times."""
    result = function() if repeats > 1 else None
    walls, processors = [], []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        result = function()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return Timing(statistics.median(walls), statistics.median(processors), result)


def race(ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int) -> tuple[Timing, Timing]:
    """Time two functions in turn, so that other work on the machine hits both, and return the median of each."""
    rounds = [(timed(ours, 1), timed(theirs, 1)) for _ in range(repeats)]
    middle = [sorted(timings, key=lambda timing: timing.wall)[repeats // 2] for timings in zip(*rounds, strict=True)]
    return middle[0], middle[1]


def largest_relative_difference(ours: Any, theirs: Any) -> float:
    """Return max |a − b| / max |b|."""
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    return float(np.abs(a - b).max() / np.abs(b).max())


def heading() -> None:
    """Print the machine's threads and the columns of :func:`line`."""
    torch.set_num_threads(THREADS)
    print(f"{THREADS} threads, torch {torch.__version__}, seconds of wall clock, median of repeats")
    print(f"{'what':44} {'ours':>9} {'theirs':>9} {'ratio':>7} {'cpu ratio':>9} {'difference':>10}")


def line(what: str, ours: Timing, theirs: Timing, difference: float) -> None:
    """Print one comparison."""
    ratio, processor = theirs.wall / ours.wall, theirs.processor / ours.processor
    print(f"{what:44} {ours.wall:9.3f} {theirs.wall:9.3f} {ratio:6.1f}x {processor:8.1f}x {difference:10.1e}")


def peer(module: str, package: str) -> ModuleType | None:
    """Import a peer, or say in a sentence that it is absent."""
    try:
        # pytorch-cka's module has the name of our benchmark of it.
        here = str(Path(__file__).parent)
        path, sys.path = sys.path, [entry for entry in sys.path if str(Path(entry).resolve()) != here]
        try:
            return importlib.import_module(module)
        finally:
            sys.path = path
    except ImportError:
        print(f"{package} is not installed here and is skipped: benchmarks/peers.sh makes an environment with it.")
        return None
