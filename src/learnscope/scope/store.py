"""The record on disk: a Zarr group that grows by one measurement at a time and survives being killed.

Layout of ``<run>/record.zarr`` (Zarr format 3):

- ``step``: [capacity] int64, -1 where nothing was measured yet. A measurement counts once its step is written here,
  which happens last; whatever lies beyond the last such place is ignored and overwritten.
- ``tables/<dims>.<k>``: [capacity, quantities, ...], see :mod:`learnscope.scope.tables`.
- ``static/<name>``: what does not change with the step, such as the labels of the probe.
- attributes: the format's version, the fingerprint of model and probe, coordinates, and failures.

Single files are replaced atomically by Zarr. Initial parameters lie beside it in ``initial.safetensors``, and
``record.lock`` keeps a second writer out (:mod:`learnscope.scope.lock`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from torch import Tensor
from zarr.storage import LocalStore, MemoryStore

from learnscope.errors import StoreError
from learnscope.scope.lock import Lock
from learnscope.scope.tables import Tables

FORMAT = 1
CAPACITY = 64
RECORD = "record.zarr"
INITIAL = "initial.safetensors"
REPORT = "report.html"
LOCK = "record.lock"


class Store:
    """One run's record, in a folder or in memory."""

    def __init__(self, folder: Path | None, group: zarr.Group, lock: Lock | None = None) -> None:
        self.folder = folder
        self.group = group
        self._lock = lock
        self._initial: dict[str, Tensor] | None = None
        self._tables: Tables | None = None
        self._committed: zarr.Array | None = None
        self._measured: int | None = None

    @classmethod
    def in_memory(cls) -> Store:
        """Return a new store that lives as long as the process."""
        return cls(None, _new_group(MemoryStore()))

    @classmethod
    def at(cls, path: str | Path) -> Store:
        """Return the store in a folder, made if it is not there yet, and keep other writers out until :meth:`release`.

        Raises:
            StoreError: if the folder cannot be written, is being recorded into by another scope, holds a record of a
                newer format, or holds files that are not ours and would be overwritten.
        """
        folder = Path(path).expanduser().absolute()
        _check_place(folder)
        with _explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = Lock(folder / LOCK)
            lock.acquire()
            if not exists(folder):
                return cls(folder, _new_group(LocalStore(folder / RECORD)), lock)
        return cls(folder, cls.open(folder, read_only=False).group, lock)

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = True) -> Store:
        """Open an existing store.

        Raises:
            StoreError: if there is none, or it is of a newer format, or damaged.
        """
        folder = Path(path).expanduser().absolute()
        if not exists(folder):
            raise StoreError(f"there is no record in {str(folder)!r}: give the folder that was passed as store=.")
        try:
            group = zarr.open_group(LocalStore(folder / RECORD, read_only=read_only), mode="r" if read_only else "r+")
            version = int(str(group.attrs["learnscope_format"]))
        except (KeyError, ValueError, json.JSONDecodeError, FileNotFoundError) as error:
            raise StoreError(
                f"the record in {str(folder)!r} cannot be read ({error}): it was damaged or not made by Learnscope; "
                "move the folder away and run again."
            ) from error
        if version > FORMAT:
            raise StoreError(
                f"the record in {str(folder)!r} has format {version}, made by a newer Learnscope, but this one reads "
                f"up to format {FORMAT}: upgrade with pip install -U learnscope."
            )
        return cls(folder, group)

    @property
    def name(self) -> str:
        """The folder's name, or what to call a record in memory."""
        return "in memory" if self.folder is None else self.folder.resolve().name

    @property
    def attributes(self) -> dict[str, Any]:
        """Everything that was noted about the run."""
        # read again, for another process may have added to them
        return dict(zarr.open_group(self.group.store, mode="r").attrs)

    def note(self, **attributes: Any) -> None:
        """Add to what is noted about the run."""
        with _explained(self.folder):
            self._lock_again()
            self.group.update_attributes(attributes)

    def release(self) -> None:
        """Let others write; the next measurement takes the lock again."""
        if self._lock is not None:
            self._lock.release()

    def _lock_again(self) -> None:
        if self._lock is not None and self._lock.acquire():
            # another may have written meanwhile
            self._tables = self._committed = self._measured = None
            self.group = zarr.open_group(self.group.store, mode="r+")

    # -- what does not change -------------------------------------------------------------------------------------

    def write_static(self, name: str, dims: tuple[str, ...], values: np.ndarray, attrs: Mapping[str, str]) -> None:
        """Write an array without a step."""
        with _explained(self.folder):
            self.group.create_array(
                f"static/{name}", data=values, dimension_names=list(dims), attributes=dict(attrs), overwrite=True
            )

    def write_initial(self, parameters: Mapping[str, Tensor]) -> None:
        """Keep the initial parameters."""
        from safetensors.torch import save_file

        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in parameters.items()}
        if self.folder is None:
            self._initial = tensors
            return
        with _explained(self.folder):
            partial = self.folder / f"{INITIAL}.{os.getpid()}.partial"
            save_file(tensors, partial)
            partial.replace(self.folder / INITIAL)

    def initial(self) -> dict[str, Tensor] | None:
        """Return the initial parameters, or None if they were not written."""
        from safetensors.torch import load_file

        if self.folder is None:
            return self._initial
        path = self.folder / INITIAL
        return load_file(path) if path.exists() else None

    # -- measurements ---------------------------------------------------------------------------------------------

    def steps(self) -> np.ndarray:
        """Return the measured steps, in order."""
        steps = np.asarray(_array(self.group, "step")[:])
        return steps[: int((steps >= 0).cumprod().sum())]

    def append(self, step: int, measured: Mapping[str, xr.Dataset]) -> None:
        """Append one measurement: the datasets of several observables at one step.

        Raises:
            StoreError: if the disk is full, or the folder cannot be written.
        """
        with _explained(self.folder):
            if self.folder is not None and not exists(self.folder):
                raise FileNotFoundError(2, "the folder has gone")
            self._lock_again()
            if self._tables is None or self._measured is None:
                steps = self.steps()
                if len(steps) and step <= steps[-1]:
                    raise StoreError(
                        f"step {step} cannot follow step {steps[-1]}, which is on record in {self.name!r} already: "
                        "another scope has recorded there meanwhile; choose another folder as store=."
                    )
                self._tables, self._measured = Tables(self.group), len(steps)
            committed = _array(self.group, "step") if self._committed is None else self._committed
            if self._measured >= committed.shape[0]:
                self._tables.resize(2 * committed.shape[0])
                committed.resize((2 * committed.shape[0],))
            self._tables.write(self._measured, committed.shape[0], measured.values())
            committed[self._measured] = step
            self._committed = committed
            self._measured += 1

    def amend(self, step: int, measured: Mapping[str, xr.Dataset]) -> None:
        """Add to the last measurement, at this step, what was measured later.

        Raises:
            StoreError: if the last measurement was at another step, or as :meth:`append` does.
        """
        with _explained(self.folder):
            self._lock_again()
            steps = self.steps()
            if not len(steps) or steps[-1] != step:
                raise StoreError(f"step {step} is not the last on record in {self.name!r}, and cannot be added to.")
            if self._tables is None:
                self._tables, self._measured = Tables(self.group), len(steps)
            self._tables.amend(len(steps) - 1, _array(self.group, "step").shape[0], measured.values())
            self.group.update_attributes({"amended_at": step})  # for those who have read the step already

    def static(self, name: str) -> np.ndarray | None:
        """Return an array without a step, or None if it was not written."""
        array = self.group.get(f"static/{name}")
        return np.asarray(array[:]) if isinstance(array, zarr.Array) else None

    def last(self, name: str) -> float | None:
        """Return a scalar quantity at the last measurement, None if there is none."""
        count = len(self.steps())
        value = Tables(self.group).value(name, count - 1) if count else None
        return None if value is None else float(value)

    def last_known(self, name: str) -> tuple[int, np.ndarray] | None:
        """Return the last step at which a quantity was known, and the quantity; None if it never was."""
        steps, tables = self.steps(), Tables(self.group)
        for index in reversed(range(len(steps))):
            value = tables.value(name, index)
            if value is None:
                return None
            if np.isfinite(value).all():
                return int(steps[index]), value
        return None

    def read(self) -> xr.Dataset:
        """Return everything measured so far; quantities above 16 MB are read from disk when they are used."""
        steps = self.steps()
        variables, values = Tables(self.group).read(len(steps)) if len(steps) else ({}, {})
        static = self.group.get("static")
        if isinstance(static, zarr.Group):
            for name, array in static.arrays():
                dims = [str(dim) for dim in array.metadata.dimension_names or ()]  # pyright: ignore[reportAttributeAccessIssue]
                variables[name] = xr.Variable(dims, np.asarray(array[:]), dict(array.attrs))
        coords: dict[str, Any] = {"step": ("step", steps, {"long_name": "optimiser steps", "units": "steps"})}
        return xr.Dataset(variables, coords=coords | values)


def exists(folder: str | Path) -> bool:
    """Return whether a folder holds a record."""
    return (Path(folder) / RECORD / "zarr.json").exists()


def _check_place(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"store is {str(folder)!r}, which is a file: choose the name of a folder, new or not.")
    for name in (INITIAL, REPORT):
        if not exists(folder) and (folder / name).exists():
            raise StoreError(
                f"the folder {str(folder)!r} holds {name!r} but no record, and it would be overwritten: choose another "
                "folder as store=, or move that file away."
            )


def _new_group(store: LocalStore | MemoryStore) -> zarr.Group:
    group = zarr.open_group(store, mode="a", zarr_format=3, attributes={"learnscope_format": FORMAT})
    group.create_array("step", shape=(CAPACITY,), chunks=(1,), dtype="int64", fill_value=-1, dimension_names=["step"])
    return group


def _array(group: zarr.Group, name: str) -> zarr.Array:
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array


@contextlib.contextmanager
def _explained(folder: Path | None) -> Iterator[None]:
    """Turn an error of the file system into a sentence with the remedy."""
    try:
        yield
    except OSError as error:
        space = "free some space or " if error.errno == errno.ENOSPC else ""
        raise StoreError(
            f"the record in {str(folder)!r} cannot be written ({error.strerror or error}): {space}choose another "
            "folder as store=; everything measured before is still there."
        ) from error
