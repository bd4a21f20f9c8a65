"""All points of a sweep as one Dataset: a dimension for each swept axis, and one for the seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from learnscope.errors import InputError
from learnscope.laboratory.encoding import Stored
from learnscope.laboratory.points import Point
from learnscope.laboratory.settings import Settings

STATUS = "point_status"
MISSING, FINITE, NOT_FINITE, FAILED = 0, 1, 2, 3

Place = tuple[int, ...]


def combine(
    settings: Settings, seeds: Sequence[int], results: Mapping[Place, Stored], failed: Iterable[Place] = ()
) -> xr.Dataset:
    """Return one Dataset of stored results.

    Args:
        settings: of the sweep; its swept axes become dimensions with their values as coordinates.
        seeds: the seeds, the last of these dimensions.
        results: results by their place: an index on each swept axis, then that of the seed.
        failed: places whose point raised.

    Returns:
        Each variable over the swept axes, the seeds, and its own dimensions. Where points differ in size, or are
        missing or not finite, it is padded with NaN (integers and booleans then become floats, and say so in their
        attribute ``whole_dtype``). ``point_status`` is 0 where a point is missing, 1 where it is fine, 2 where it is
        not finite, 3 where it raised.

    Cost: the size of the Dataset in memory, twice.
    """
    axes = {name: getattr(settings, name) for name in settings.swept()}
    leading = (*axes, "seed")
    shape = (*(len(values) for values in axes.values()), len(seeds))
    status = np.full(shape, MISSING, np.int8)
    for place in failed:
        status[place] = FAILED
    for place, result in results.items():
        status[place] = FINITE if result.facts.get("finite", True) else NOT_FINITE
    usable = {place: result for place, result in results.items() if status[place] == FINITE}
    own = _own_coordinates(usable.values())
    variables = {
        name: _joined(name, shape, leading, usable, own)
        for name in dict.fromkeys(n for r in usable.values() for n in r.arrays)
    }
    coordinates = {name: np.array(values) for name, values in axes.items()} | {"seed": np.array(seeds, int)}
    coordinates |= {name: values for name, values in own.items() if values is not None}
    explained = {"long_name": "0 missing, 1 fine, 2 not finite, 3 failed"}
    return xr.Dataset(variables | {STATUS: (leading, status, explained)}, coordinates)


def complete_seeds(data: xr.Dataset) -> tuple[xr.Dataset, int]:
    """Return the seeds of which every point is fine, and how many others there are.

    Booleans and integers that had to be padded are given their dtype back where no gap is left.
    """
    fine = (data[STATUS] == FINITE).all([dim for dim in data[STATUS].dims if dim != "seed"]).values
    kept = data.isel(seed=np.flatnonzero(fine)).drop_vars(STATUS)
    whole = {
        name: variable.astype(variable.attrs["whole_dtype"], keep_attrs=True)
        for name, variable in kept.data_vars.items()
        if "whole_dtype" in variable.attrs and not bool(variable.isnull().any())
    }
    return kept.assign(whole), int((~fine).sum())


def places(settings: Settings, points: Sequence[Point], seeds: Sequence[int]) -> list[tuple[Place, Point, int]]:
    """Return the place of each point and seed, in the order of :func:`~learnscope.laboratory.points.grid`."""
    shape = tuple(len(getattr(settings, name)) for name in settings.swept())
    return [
        ((*(int(i) for i in np.unravel_index(k, shape)), s) if shape else (s,), point, seed)
        for k, point in enumerate(points)
        for s, seed in enumerate(seeds)
    ]


def _own_coordinates(results: Iterable[Stored]) -> dict[str, np.ndarray | None]:
    """Return the values of each of the points' own dimensions, joined; None where a dimension has no values."""
    found: dict[str, np.ndarray] = {}
    bare: dict[str, None] = {}
    for result in results:
        for name, values in result.coordinates.items():
            known = found.get(name)
            if known is None or (len(known) == len(values) and bool((known == values).all())):
                found.setdefault(name, values)
            else:
                found[name] = _union(known, values)
        bare.update(
            dict.fromkeys(dim for dims in result.dims.values() for dim in dims if dim not in result.coordinates)
        )
    return bare | found


def _union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    if first.dtype.kind in "biuf" and second.dtype.kind in "biuf":
        return np.union1d(first, second)
    return np.array(list(dict.fromkeys([*first.tolist(), *second.tolist()])))


def _joined(
    name: str,
    shape: Place,
    leading: tuple[str, ...],
    results: Mapping[Place, Stored],
    own: Mapping[str, np.ndarray | None],
) -> tuple[tuple[str, ...], np.ndarray, dict[str, Any]]:
    holding = {place: result for place, result in results.items() if name in result.arrays}
    first = next(iter(holding.values()))
    dims = first.dims[name]
    sizes = tuple(
        len(values) if (values := own[dim]) is not None else max(r.arrays[name].shape[k] for r in holding.values())
        for k, dim in enumerate(dims)
    )
    full = len(holding) == int(np.prod(shape)) and all(r.arrays[name].shape == sizes for r in holding.values())
    dtype = first.arrays[name].dtype if full or first.arrays[name].dtype.kind == "f" else np.dtype(np.float64)
    joined = np.empty(shape + sizes, dtype) if full else np.full(shape + sizes, np.nan, dtype)
    for place, result in holding.items():
        array = result.arrays[name]
        positions = [
            _positions(result.coordinates.get(dim), own[dim], n) for dim, n in zip(dims, array.shape, strict=True)
        ]
        if all(where is None for where in positions):
            joined[place] = array
        else:
            each = [np.arange(n) if where is None else where for where, n in zip(positions, array.shape, strict=True)]
            joined[place][np.ix_(*each)] = array
    attributes = dict(first.attributes.get(name, {}))
    if dtype != first.arrays[name].dtype:
        attributes["whole_dtype"] = str(first.arrays[name].dtype)
    return (*leading, *dims), joined, attributes


def _positions(values: np.ndarray | None, joined: np.ndarray | None, n: int) -> np.ndarray | None:
    """Return where a point's values stand among the joined ones; None where they are the same."""
    if joined is None:
        return np.arange(n)
    if values is None:
        raise InputError(
            "a dimension of simulate's Dataset has values at some points and none at others: give it some at all."
        )
    if len(values) == len(joined) and bool((values == joined).all()):
        return None
    index = {value: k for k, value in enumerate(joined.tolist())}
    return np.array([index[value] for value in values.tolist()])
