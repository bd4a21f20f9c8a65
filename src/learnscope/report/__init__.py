"""The page that shows a run: one self-contained HTML file with findings and interactive figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from learnscope.findings import Finding
from learnscope.report.files import write_atomically

__all__ = ["write_report"]


def write_report(data: xr.Dataset, findings: Sequence[Finding], path: Path) -> Path:
    """Write one self-contained HTML page and return where it is.

    Args:
        data: a record's data, with what follows from it.
        findings: what to put first on the page.
        path: the file to write; a page that is there already is replaced at once, never half.

    Raises:
        StoreError: if the folder cannot be written.

    Cost: under 8 MB whatever the size of the record, 4.8 of them Plotly's script.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> finding = Finding("rule", "Nothing is < nothing.")
        >>> page = write_report(xr.Dataset(), [finding], Path(folder.name) / "run.html")
        >>> "Nothing is &lt; nothing." in page.read_text(encoding="utf-8")
        True
        >>> folder.cleanup()
    """
    # imported here, for the page's tools take time to load and most runs of a training script draw nothing
    from learnscope.report.page import render
    from learnscope.report.run import run_page

    return write_atomically(render(run_page(data, findings)), path)
