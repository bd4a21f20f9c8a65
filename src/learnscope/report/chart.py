"""What a figure is made of: charts, pictures and a caption, as plain data that know nothing of HTML or Plotly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Scale = Literal["linear", "log", "step", "names"]


def category(k: int) -> str:
    """Return the k-th colour of the categorical palette (Okabe and Ito 2008); it repeats after eight."""
    return f"category {k}"


def depth(k: int, n: int) -> str:
    """Return the colour of the k-th of n ordered things, along viridis."""
    return f"depth {k / max(n - 1, 1):.4g}"


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis.

    Attributes:
        name: heading of its column in the downloaded data, such as "step".
        title: what stands beside the axis, with the unit.
        scale: "step" is logarithmic with a place of its own for step 0; "names" puts ``values`` at 0, 1, 2, ...
        values: positions or names that all series of the chart share.
        range: lowest and highest value shown; by default what the data span.
    """

    name: str
    title: str
    scale: Scale = "linear"
    values: np.ndarray | None = None
    range: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """One line.

    Attributes:
        name: as it stands in the legend.
        y: values at the positions of the chart's x axis; NaN where missing.
        colour: from :func:`category` or :func:`depth`.
        low: lower end of the interval drawn around ``y``, if any.
        high: upper end.
        converged: where False the marker is hollow; None draws no difference.
        style: "faint" is for a reference in the background.
    """

    name: str
    y: np.ndarray
    colour: str
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    converged: np.ndarray | None = None
    style: Literal["line", "dashed", "faint"] = "line"


@dataclass(frozen=True, slots=True)
class Lines:
    """Several lines over the x axis of the chart."""

    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class Cells:
    """A heat map: values [rows, positions of x], and marks as (position on x, row)."""

    values: np.ndarray
    marks: tuple[tuple[float, int], ...] = ()
    mark_name: str = ""


@dataclass(frozen=True, slots=True)
class Points:
    """Points in the plane, [n, 2], with one unit of length on both axes."""

    places: np.ndarray
    titles: tuple[str, str]


View = Lines | Cells | Points


@dataclass(frozen=True, slots=True)
class ColourScale:
    """What the colours of a heat map, or of points, mean."""

    title: str
    low: float
    high: float
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the quantities that a reader may look at in a chart.

    Attributes:
        name: as it stands in the list of choices, and in the downloaded data.
        y: the vertical axis.
        views: what is drawn, one for each place of the slider; a single one without slider.
        background: lines that stay while the slider moves.
        colours: the meaning of colours, for heat maps.
    """

    name: str
    y: Axis
    views: tuple[View, ...]
    background: tuple[Series, ...] = ()
    colours: ColourScale | None = None


@dataclass(frozen=True, slots=True)
class Groups:
    """Which points belong together.

    Attributes:
        name: what they are, such as "class".
        names: of the groups that have a colour of their own.
        of_point: [n] index into ``names``; one that is not there is drawn in grey.
        values: [n] real numbers that colour the points instead, along viridis.
        labels: [n] what to say of each point.
    """

    name: str
    names: tuple[str, ...]
    of_point: np.ndarray
    labels: tuple[str, ...]
    values: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Slider:
    """The steps that a slider runs over; it starts at the last."""

    name: str
    values: np.ndarray


@dataclass(frozen=True, slots=True)
class Chart:
    """One interactive part of a figure.

    Attributes:
        x: the horizontal axis; for names and steps it holds the positions.
        choices: what a reader may look at.
        title: heading, where a figure has several charts.
        choice_name: label of the list of choices.
        slider: the steps to move through, if the choices have a view for each.
        groups: which points belong together.
        height: in pixels.
        starts: index of the choice that is shown first; two of them make two panels side by side, on one slider.
    """

    x: Axis
    choices: tuple[Choice, ...]
    title: str = ""
    choice_name: str = "Show"
    slider: Slider | None = None
    groups: Groups | None = None
    height: int = 380
    starts: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class Picture:
    """One example: an image as a data address, or None, with a heading and a note."""

    heading: str
    note: str
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Gallery:
    """A row of examples under a heading."""

    title: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers that are not drawn but belong to the data behind a figure: columns by name, all of one length."""

    columns: dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Caption:
    """What a figure shows, what to look for, where its quantities come from, and what was left out."""

    shows: str
    look_for: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """A numbered figure of a page.

    Attributes:
        name: its anchor on the page, to which findings refer.
        title: a short heading.
        caption: what stands below.
        charts: interactive panels, side by side where there is room.
        galleries: rows of examples below them.
        table: further data for download.
        definitions: terms and what they mean, for the end of the page.
    """

    name: str
    title: str
    caption: Caption
    charts: tuple[Chart, ...] = ()
    galleries: tuple[Gallery, ...] = ()
    table: Table | None = None
    definitions: tuple[tuple[str, str], ...] = ()
