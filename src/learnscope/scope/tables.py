"""Quantities in tables: those with the same dimensions lie in one Zarr array, one chunk a measurement.

A file for each quantity would take longer to write than most quantities take to measure. A table is
[capacity, quantities, ...]; its attributes name the quantities and hold the coordinates of its dimensions. A quantity
that first appears later, because its observable failed before, say, gets into a new table; where a quantity was not
measured, its place holds NaN, or -1 for integers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec

from learnscope.errors import StoreError

GROUP = "tables"
SMALL = 16 * 2**10  # bytes: compressing less than this costs more than it saves
LARGE = 16 * 2**20  # bytes: quantities above this are read from disk when they are used
QUICK = BloscCodec(cname="lz4", clevel=1, shuffle="noshuffle")  # bases are noise with a padding of zeros


@dataclass
class Table:
    """One array on disk and the quantities in it, in order."""

    array: zarr.Array
    quantities: list[str]

    def check(self, variables: Mapping[str, xr.Variable]) -> None:
        """Raise StoreError if a quantity has another shape than before."""
        shape = self.array.shape[2:]
        for name in self.quantities:
            if name in variables and variables[name].shape != shape:
                raise StoreError(
                    f"{name!r} has shape {list(variables[name].shape)} now but {list(shape)} before: an observable "
                    "must return the same variables at every step; use another store for another set-up."
                )

    def write(self, index: int, variables: Mapping[str, xr.Variable]) -> None:
        """Write one measurement; quantities that are not among ``variables`` are missing there."""
        rows = np.empty(self.array.shape[1:], dtype=self.array.dtype)
        for k, name in enumerate(self.quantities):
            rows[k] = variables[name].values if name in variables else self.array.fill_value
        self.array[index] = rows

    def amend(self, index: int, variables: Mapping[str, xr.Variable]) -> None:
        """Write some quantities of a measurement and leave the others as they are."""
        rows = np.array(self.array[index])
        for k, name in enumerate(self.quantities):
            if name in variables:
                rows[k] = variables[name].values
        self.array[index] = rows


@dataclass
class Tables:
    """All tables of a record.

    Attributes:
        root: the record's group.
        tables: by name.
    """

    root: zarr.Group
    tables: dict[str, Table] = field(default_factory=dict)

    def __post_init__(self) -> None:
        group = self.root.get(GROUP)
        if isinstance(group, zarr.Group):
            for key, array in group.arrays():
                self.tables[key] = Table(array, [str(q["name"]) for q in _quantities(array)])

    def write(self, index: int, capacity: int, datasets: Iterable[xr.Dataset]) -> None:
        """Write one measurement.

        Raises:
            StoreError: if two datasets hold a quantity of the same name, or a shape has changed.
        """
        variables = self._known(capacity, datasets)
        for table in self.tables.values():  # those without a quantity too: an attempt that failed may have left its own
            table.write(index, variables)

    def amend(self, index: int, capacity: int, datasets: Iterable[xr.Dataset]) -> None:
        """Add quantities to a measurement; each table changes at once, or not at all.

        Raises:
            StoreError: as :meth:`write` does.
        """
        variables = self._known(capacity, datasets)
        for table in self.tables.values():
            if not variables.keys().isdisjoint(table.quantities):
                table.amend(index, variables)

    def _known(self, capacity: int, datasets: Iterable[xr.Dataset]) -> dict[str, xr.Variable]:
        """Return the quantities of some datasets, each of which has its place in a table now."""
        variables, coords = _merged(datasets)
        known = {name for table in self.tables.values() for name in table.quantities}
        self._add({name: v for name, v in variables.items() if name not in known}, coords, capacity)
        for table in self.tables.values():
            table.check(variables)
        return variables

    def value(self, name: str, index: int) -> np.ndarray | None:
        """Return a quantity at one measurement, None if it is not in any table."""
        for table in self.tables.values():
            if name in table.quantities:
                return np.asarray(table.array[index, table.quantities.index(name)])
        return None

    def resize(self, capacity: int) -> None:
        """Make room for ``capacity`` measurements."""
        for table in self.tables.values():
            table.array.resize((capacity, *table.array.shape[1:]))

    def _add(self, variables: Mapping[str, xr.Variable], coords: Mapping[str, list[Any]], capacity: int) -> None:
        alike: dict[str, dict[str, xr.Variable]] = {}
        for name, values in variables.items():
            kind = json.dumps([values.dims, values.shape, str(values.dtype)], default=str)
            alike.setdefault(kind, {})[name] = values
        for members in alike.values():
            first = next(iter(members.values()))
            dims = [str(dim) for dim in first.dims]
            key = f"{'-'.join(dims) or 'scalar'}.{len(self.tables)}"
            attributes = {
                "quantities": [{"name": name, "attrs": dict(v.attrs)} for name, v in members.items()],
                "coordinate_values": {dim: coords[dim] for dim in dims if dim in coords},
            }
            self.tables[key] = Table(self._create(key, first, dims, attributes, capacity), list(members))

    def _create(
        self, key: str, first: xr.Variable, dims: list[str], attributes: dict[str, Any], capacity: int
    ) -> zarr.Array:
        shape = (len(attributes["quantities"]), *first.shape)
        size = int(np.prod(shape)) * first.dtype.itemsize
        return self.root.create_array(
            f"{GROUP}/{key}",
            shape=(capacity, *shape),
            chunks=(1, *(max(n, 1) for n in shape)),
            dtype=first.dtype,
            fill_value=np.nan if np.issubdtype(first.dtype, np.floating) else -1,
            compressors=QUICK if size > SMALL else None,
            dimension_names=[_step_dim(key), _quantity_dim(key), *dims],
            config={"write_empty_chunks": True},  # not looking for missing values is quicker than not writing them
            attributes=attributes,  # in the same file as the rest, so that a table is there whole or not at all
        )

    def read(self, measurements: int) -> tuple[dict[str, xr.Variable], dict[str, list[Any]]]:
        """Return the quantities of the first measurements, along ``step``, and the coordinates of other dimensions."""
        variables: dict[str, xr.Variable] = {}
        coords: dict[str, list[Any]] = {}
        if not self.tables:
            return variables, coords
        opened = xr.open_zarr(self.root.store, group=GROUP, chunks=None, consolidated=False)
        for key, table in opened.data_vars.items():
            coords |= table.attrs["coordinate_values"]
            for k, quantity in enumerate(table.attrs["quantities"]):
                values = table.variable.isel({_step_dim(str(key)): slice(0, measurements), _quantity_dim(str(key)): k})
                values = values.copy(deep=False) if values.nbytes > LARGE else values.load()
                values.dims = ("step", *values.dims[1:])
                values.attrs = quantity["attrs"]
                variables[quantity["name"]] = values
        return variables, coords


def _quantities(array: zarr.Array) -> list[dict[str, Any]]:
    return list(array.attrs["quantities"])  # pyright: ignore[reportArgumentType, reportReturnType]


def _step_dim(key: str) -> str:
    # a process that is killed while tables grow leaves them of unequal lengths
    return f"step of {key}"


def _quantity_dim(key: str) -> str:
    # tables differ in how many quantities they hold, and xarray wants one size for each name
    return f"quantity of {key}"


def _merged(datasets: Iterable[xr.Dataset]) -> tuple[dict[str, xr.Variable], dict[str, list[Any]]]:
    variables: dict[str, xr.Variable] = {}
    coords: dict[str, list[Any]] = {}
    for dataset in datasets:
        for name in dataset.data_vars:
            if str(name) in variables:
                raise StoreError(f"two observables measure a quantity named {str(name)!r}: rename one of them.")
            values = dataset.variables[name]
            variables[str(name)] = values.astype(np.int8) if values.dtype == bool else values
        coords |= {str(dim): coordinate.values.tolist() for dim, coordinate in dataset.coords.items()}
    return variables, coords
