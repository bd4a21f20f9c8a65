"""What the components of the tangent kernel know of the label, before and after training."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, category
from learnscope.report.figures.common import has, hollow_note, looks, sources, with_error

QUANTITIES = {
    "label_share_cumulative": Axis("cumulative share", "share of the label in so many components", range=(0.0, 1.02)),
    "label_share": Axis("share of the label", "share of the label, ω²"),
    "component_information": Axis("information", "information about the class (bits)"),
}
DEFINITIONS = (
    (
        "Share of the label",
        "Components φ of the tangent kernel are its eigenvectors on the examples, scaled to ⟨φ, φ⟩ = n, and "
        "ω² = ⟨φ, y⟩² / n² for labels y = ±1; more classes are the corners of a simplex, and their shares are added. "
        "All n shares add up to 1.",
    ),
    (
        "Information of a component",
        "From the distances to the 5th nearest examples of each class along the component (Paccolat et al. 2021). It "
        "reads about (1 − 1/classes) / 7 bits for a component that knows nothing.",
    ),
)


def kernel_components(data: xr.Dataset) -> Figure | None:
    """Draw the label's share along the components at the first and the last look, and how fast modes were learned."""
    if not has(data, "label_share", "kernel_trace"):
        return None
    seen = looks(data, "kernel_trace")
    start, end = seen.isel(step=0), seen.isel(step=-1)
    both = [(f"step {int(look['step']):,}", look) for look in ([start, end] if seen.sizes["step"] > 1 else [end])]
    drawn = {
        name: tuple(_series(name, title, look, k) for k, (title, look) in enumerate(both))
        for name in QUANTITIES
        if has(seen, name)
    }
    choices = tuple(Choice(QUANTITIES[name].name, QUANTITIES[name], (Lines(s),)) for name, s in drawn.items())
    ranks = np.arange(1, data.sizes["kernel_component"] + 1)
    axis = Axis("component", "component of the tangent kernel, largest first", "names", ranks.astype(str))
    charts = (Chart(axis, choices, height=400),)
    if "mode_learning_speed" in data and bool((data["mode_learning_speed"].values > 0).any()):
        charts += (_speeds(data, axis),)
    return Figure(
        "kernel_components",
        "The label in the components of the tangent kernel",
        Caption(
            shows="How much of the label lies along each component of the tangent kernel, and in all up to it, at the "
            "first look and at the last; in the list, what each component tells about the class. Then how fast the "
            "network's error along each component of the initial kernel was halved.",
            look_for="A kernel that has learned the task holds the label in its first few components: the line of the "
            "last look lies above that of the first. In lazy training the largest components are learned first.",
            source=sources(data, *QUANTITIES),
            notes=hollow_note(*(series for lines in drawn.values() for series in lines)),
        ),
        charts=charts,
        definitions=DEFINITIONS,
    )


def _series(name: str, title: str, look: xr.Dataset, k: int) -> Series:
    if f"{name}_standard_error" in look:
        return with_error(look, name, title, category(k))
    return Series(title, look[name].values, category(k))


def _speeds(data: xr.Dataset, components: Axis) -> Chart:
    speeds = data["mode_learning_speed"].values
    learned = speeds[speeds > 0]
    span = (float(learned.min()) / 1.3, float(learned.max()) * 1.3)
    axis = Axis("learning speed", "1 / steps until half of the squared error is gone", "log", range=span)
    series = Series("learning speed", np.where(speeds > 0, speeds, np.nan), category(2))
    return Chart(
        Axis("component", "component of the initial kernel, largest first", "names", components.values),
        (Choice("learning speed", axis, (Lines((series,)),)),),
        height=400,
    )
