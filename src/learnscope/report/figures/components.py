"""Principal components of a layer's activations, coloured by class, through training."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Points
from learnscope.report.figures.common import frames, has, names_of
from learnscope.report.figures.grouping import groups_of
from learnscope.report.thinning import MOST_FRAMES, MOST_POINTS, omitted, spread

MOST_LAYERS = 16
MOST_PLACES = 260_000  # points x frames x layers: about 1.4 MB
LEAST_POINTS = 200
DEFINITIONS = (
    (
        "Principal components",
        "The two orthogonal directions in which a layer's activations on the probe vary most. Distances in this plane "
        "are projections: groups that overlap here may be apart in the other directions.",
    ),
)


def components(data: xr.Dataset) -> Figure | None:
    """Draw the first two principal components of each layer, one view a step; None without bases on record."""
    if "basis" not in data or not has(data, "basis_scale") or data.sizes["component"] < 2:
        return None
    layers = spread(data.sizes["layer"], MOST_LAYERS)
    points, most = _within_budget(data.sizes["example"], len(layers))
    examples = spread(data.sizes["example"], points)
    index, slider, notes = frames(data, most)
    notes += omitted(len(examples), data.sizes["example"], "examples")
    notes += omitted(len(layers), data.sizes["layer"], "layers")
    groups, note = groups_of(data, examples)
    names = names_of(data, "layer")
    places, totals = _places(data, index, layers), _total_variance(data)[index][:, layers]
    choices = tuple(
        _choice(str(names[layer]), places[:, k], totals[:, k], examples)
        for k, layer in reversed(list(enumerate(layers)))
    )
    return Figure(
        "components",
        "What a layer sees: principal components",
        Caption(
            shows="Each point is one probe example, at its first two principal components in the layer chosen; one "
            "unit of length on both axes, which follow the cloud as it grows." + note,
            look_for="Press play and watch groups come apart: which do so first, and in which layer. Compare an early "
            "layer with the last one.",
            source="principal component analysis of the centred activations; within the plane each step is rotated or "
            "mirrored to match the one after it (Procrustes; Schönemann 1966), the last one being as it is",
            notes=notes,
        ),
        charts=(
            Chart(
                Axis("component 1", ""),
                choices,
                choice_name="Layer",
                slider=slider,
                groups=groups,
                height=480,
                starts=(len(choices) - 1, 0) if len(choices) > 1 else (0,),
            ),
        ),
        definitions=DEFINITIONS,
    )


def _within_budget(examples: int, layers: int) -> tuple[int, int]:
    """Return how many examples and steps to carry so that the page stays small."""
    points = min(examples, MOST_POINTS)
    frames_possible = MOST_PLACES // (layers * points)
    if frames_possible < MOST_FRAMES:
        points = min(points, max(MOST_PLACES // (layers * MOST_FRAMES), LEAST_POINTS))
    return points, min(MOST_FRAMES, max(MOST_PLACES // (layers * points), 2))


def _places(data: xr.Dataset, index: np.ndarray, layers: np.ndarray) -> np.ndarray:
    """Return the first two principal components, [step, layer, example, 2] float64, reading each step once."""
    two = data[["basis", "basis_scale"]].isel(component=slice(0, 2))
    one_step = (two.isel(step=int(i)) for i in index)
    parts = [step["basis"].values[layers] * step["basis_scale"].values[layers, None] for step in one_step]
    return np.stack(parts).astype(np.float64)


def _choice(name: str, places: np.ndarray, totals: np.ndarray, examples: np.ndarray) -> Choice:
    """Return the views of one layer from its places [step, n, 2], each aligned to the one after it."""
    views: list[Points] = []
    following: np.ndarray | None = None
    for here, total in zip(places[::-1], totals[::-1], strict=True):
        here = here if following is None else aligned(here, following)
        if np.isfinite(here).all():
            following = here
        views.append(Points(here[examples], _titles(here, float(total))))
    return Choice(name, Axis("component 2", ""), tuple(views[::-1]))


def aligned(places: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return places [n, 2] rotated or mirrored about the origin to come closest to a reference [n, 2].

    The orthogonal R that minimises ‖places R - reference‖ is U Vᵀ, for places.T @ reference = U S Vᵀ. Places that are
    not finite come back as they are.

    Source: Schönemann 1966.

    Examples:
        >>> square = np.array([[1.0, 0.0], [0.0, 2.0]])
        >>> aligned(-square, square).tolist()
        [[1.0, 0.0], [0.0, 2.0]]
    """
    if not np.isfinite(places).all():
        return places
    u, _, v = np.linalg.svd(places.T @ reference)
    return places @ (u @ v)


def _total_variance(data: xr.Dataset) -> np.ndarray:
    """Return the sum of squares of each layer's centred activations, [step, layer]; NaN if it was not recorded."""
    squares = (data["basis_scale"].values.astype(np.float64) ** 2).sum(axis=-1)
    return squares / data["basis_explained"].values if "basis_explained" in data else np.full_like(squares, np.nan)


def _titles(places: np.ndarray, total: float) -> tuple[str, str]:
    shares = (places**2).sum(axis=0) / total if total > 0 else np.full(2, np.nan)
    first, second = (f" ({share:.0%} of the variance)" if np.isfinite(share) else "" for share in shares)
    return f"component 1{first}", f"component 2{second}"
