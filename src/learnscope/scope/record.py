"""A record: what was measured, what follows from it, and how to show it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from learnscope.errors import InputError
from learnscope.findings import Finding, find
from learnscope.report import write_report
from learnscope.scope.derived import with_derived
from learnscope.scope.store import REPORT, Store


class Record:
    """What a scope or a replay has recorded, also while it is still being written.

    Examples:
        >>> record = Record(Store.in_memory())
        >>> dict(record.data.sizes)
        {'step': 0}
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._data: xr.Dataset | None = None

    @property
    def data(self) -> xr.Dataset:
        """Everything measured so far and what follows from it; dims ``step``, ``layer``, ``example``, ..."""
        attributes = {"run": self.store.name, **self.store.attributes}
        known = self._data
        if (
            known is None
            or not np.array_equal(self.store.steps(), known["step"].values)
            or attributes.get("amended_at") != known.attrs.get("amended_at")
        ):
            known = with_derived(self.store.read().assign_attrs(attributes))
        elif known.attrs != attributes:  # a failure, which adds no step
            known = known.assign_attrs(attributes)
        self._data = known
        return known

    def findings(self) -> list[Finding]:
        """Return sentences derived from the record by documented rules, with their evidence."""
        return find(self.data)

    def report(self, path: str | Path | None = None) -> Path:
        """Write one self-contained HTML page and return where it is.

        Args:
            path: the file to write; by default ``report.html`` in the run's own folder.

        Raises:
            InputError: if nothing was measured, or the record is in memory and no path is given.
        """
        if path is None and self.store.folder is None:
            raise InputError(
                "this record is in memory, so report() needs to know where to write: pass report('run.html')."
            )
        if not len(self.store.steps()):
            raise InputError("nothing has been measured yet, so there is nothing to report: take at least one step.")
        target = Path(path) if path is not None else (self.store.folder or Path()) / REPORT
        return write_report(self.data, self.findings(), target)


def open(path: str | Path) -> Record:
    """Open the record of a run, finished or still going on.

    Args:
        path: the folder that was given as ``store=``.

    Raises:
        StoreError: if there is no record, or it was made by a newer version, or it is damaged.
    """
    return Record(Store.open(path))
