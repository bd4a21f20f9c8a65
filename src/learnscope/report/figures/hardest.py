"""The examples that gave trouble: never learned, learned last, most often forgotten."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.findings.progress import class_names
from learnscope.report.chart import Gallery, Picture
from learnscope.report.pictures import images

MOST_SHOWN = 12


def galleries(data: xr.Dataset) -> tuple[Gallery, ...]:
    """Return up to three rows of examples, each with its label and what made it hard."""
    if "learning_time" not in data or data.sizes["step"] < 2:
        return ()
    never, last, forgotten = hardest(data)
    times, events = data["learning_time"].values, data["forgetting_events"].values
    right = (data["correct"].values == 1).mean(axis=0)
    rows = (
        ("Wrong at the end", never, [f"right {right[i]:.0%} of the time" for i in never]),
        ("Learned last", last, [f"step {times[i]:,.0f}" for i in last]),
        ("Most often forgotten", forgotten, [f"{events[i]:.0f} times" for i in forgotten]),
    )
    return tuple(
        Gallery(f"{title} ({_count(data, title)})", _pictures(data, chosen, notes))
        for title, chosen, notes in rows
        if len(chosen)
    )


def hardest(data: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the examples that are wrong at the end, that were learned last, and that were forgotten most often.

    Each list is sorted, the hardest first: by how seldom the example was right, by its learning time, by forgetting
    events of at least two. At most 12 each.
    """
    times, events = data["learning_time"].values, data["forgetting_events"].values
    right = (data["correct"].values == 1).mean(axis=0)
    wrong, learned = np.flatnonzero(np.isinf(times)), np.flatnonzero(np.isfinite(times) & (times > 0))
    never = wrong[np.argsort(right[wrong], kind="stable")]
    last = learned[np.argsort(-times[learned], kind="stable")]
    twice = np.flatnonzero(events >= 2)
    forgotten = twice[np.argsort(-events[twice], kind="stable")]
    return never[:MOST_SHOWN], last[:MOST_SHOWN], forgotten[:MOST_SHOWN]


def _count(data: xr.Dataset, title: str) -> str:
    times, events = data["learning_time"].values, data["forgetting_events"].values
    if title == "Wrong at the end":
        return f"{int(np.isinf(times).sum()):,} of {len(times):,} examples"
    if title == "Learned last":
        return "of those right at the end"
    return f"{int((events >= 2).sum()):,} examples more than once"


def _pictures(data: xr.Dataset, chosen: np.ndarray, notes: list[str]) -> tuple[Picture, ...]:
    names, label = class_names(data), data["label"].values.astype(int)
    drawn = images(data["input"], chosen.tolist()) if "input" in data else [None] * len(chosen)
    return tuple(
        Picture(_heading(names[label[i]], int(i), image), note, image)
        for i, note, image in zip(chosen, notes, drawn, strict=True)
    )


def _heading(name: str, example: int, image: str | None) -> str:
    return name if image else f"{name}, example {example:,}"
