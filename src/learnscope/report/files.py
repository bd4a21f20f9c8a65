"""Writing a page so that a reader never meets half of it."""

from __future__ import annotations

import os
from pathlib import Path

from learnscope.errors import StoreError


def write_atomically(text: str, path: Path) -> Path:
    """Write text to a file under a temporary name beside it, then give it its name; return the path.

    Raises:
        StoreError: if the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"the report cannot be written to {str(path)!r} ({error.strerror or error}): free some space or choose "
            "another place, as in report('somewhere/run.html')."
        ) from error
    return path
