"""The page that shows a run: one self-contained HTML file with findings and interactive figures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import xarray as xr

from learnscope.findings import Finding

__all__ = ["write_report"]


def write_report(data: xr.Dataset, findings: Sequence[Finding], path: Path) -> Path:
    """Write a page with the findings and return where it is."""
    items = "".join(f"<li>{escape(finding.sentence)}</li>" for finding in findings)
    title = escape(str(data.attrs.get("run", "run")))
    path.write_text(
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title><h1>{title}</h1><ul>{items}</ul>",
        encoding="utf-8",
    )
    return path
