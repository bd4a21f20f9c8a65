"""A point's result as bytes: arrays in a safetensors file, names and attributes as JSON in its header.

Nothing is unpickled on reading, and a file of a few kilobytes is read in well under a millisecond, which NetCDF and
Zarr are not: a sweep has thousands of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from safetensors import SafetensorError
from safetensors.numpy import load, save

from learnscope.errors import InputError, StoreError

FORMAT = 1
HEADER = "learnscope"


@dataclass(frozen=True, slots=True)
class Stored:
    """A point's result as stored.

    Attributes:
        arrays: numbers by variable.
        dims: dimensions by variable.
        coordinates: values of the dimensions that have some.
        attributes: attributes by variable.
        facts: which point and seed it is, how long it took, whether it is finite, and what computed it.
    """

    arrays: dict[str, np.ndarray]
    dims: dict[str, tuple[str, ...]]
    coordinates: dict[str, np.ndarray]
    attributes: dict[str, dict[str, Any]]
    facts: dict[str, Any]


def encoded(data: xr.Dataset, facts: Mapping[str, Any]) -> bytes:
    """Return a Dataset and facts about it as bytes.

    Raises:
        InputError: if a variable holds something else than numbers or booleans.
    """
    data = data.reset_coords([name for name in data.coords if name not in data.dims])
    arrays = {str(name): _numbers(str(name), variable.values) for name, variable in data.data_vars.items()}
    header = {
        "format": FORMAT,
        "dims": {str(name): list(variable.dims) for name, variable in data.data_vars.items()},
        "attributes": {str(name): _plain(variable.attrs) for name, variable in data.data_vars.items()},
        "coordinates": {str(name): variable.values.tolist() for name, variable in data.coords.items()},
        "facts": dict(facts),
    }
    return save(arrays, metadata={HEADER: json.dumps(header)})


def decoded(content: bytes, name: str) -> Stored:
    """Return what :func:`encoded` wrote.

    Raises:
        StoreError: if the bytes are something else, or were written by a newer version.
    """
    try:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][HEADER])
        arrays = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise StoreError(f"{name} is not a point's result ({error}): delete it, and repeat the command.") from error
    if header["format"] > FORMAT:
        raise StoreError(f"{name} was written by a newer version of Learnscope: update with pip install -U learnscope.")
    return Stored(
        arrays=arrays,
        dims={name: tuple(dims) for name, dims in header["dims"].items()},
        coordinates={name: np.array(values) for name, values in header["coordinates"].items()},
        attributes=header["attributes"],
        facts=header["facts"],
    )


def unusable(data: xr.Dataset) -> list[str]:
    """Return the variables that hold NaN without an attribute ``missing`` that says what it means."""
    return [
        str(name)
        for name, variable in data.data_vars.items()
        if variable.dtype.kind == "f" and "missing" not in variable.attrs and bool(np.isnan(variable.values).any())
    ]


def _numbers(name: str, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "biuf":
        raise InputError(
            f"variable {name!r} has dtype {values.dtype}: simulate must return numbers or booleans; put texts into a "
            "coordinate, and the real and imaginary part of complex numbers into two variables."
        )
    return np.asarray(values, order="C")


def _plain(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        str(name): value if isinstance(value, (int, float, str)) else str(value) for name, value in attributes.items()
    }
