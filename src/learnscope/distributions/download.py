"""Fetching a file once: checked against its known checksum, from the first mirror that delivers it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from learnscope.errors import DownloadError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

CONNECT_AND_READ_TIMEOUT = (10, 30)  # seconds
CHUNK = 1 << 16  # bytes


def cache_folder() -> Path:
    """Return where downloads are kept: ``LEARNSCOPE_CACHE``, or the user's cache folder of this system."""
    import pooch

    chosen = os.environ.get("LEARNSCOPE_CACHE")
    return Path(chosen).expanduser() if chosen else Path(pooch.os_cache("learnscope"))


def fetch(file: str, md5: str, mirrors: Sequence[str], folder: Path, instead: str) -> Path:
    """Return the path of a file with the given checksum, downloading it when the folder does not hold it.

    A download goes to a temporary name beside its destination and takes the final name only when its
    checksum is right, so a broken download is never taken for a whole one. A file that is already there is
    checked too, and fetched again if it has changed.

    Args:
        file: the name, both under the mirror's address and in ``folder``.
        md5: the checksum, in hexadecimal digits.
        mirrors: base addresses that end in a slash, tried in this order.
        folder: where to keep the file; made if it does not exist.
        instead: what to do without a network, as the end of the error's sentence.

    Raises:
        DownloadError: no mirror delivered the file, or the folder cannot be written.
    """
    import pooch
    from requests import RequestException

    failures = []
    for mirror in mirrors:
        try:
            with _progress_bar(file) as bar:
                downloader = pooch.HTTPDownloader(
                    progressbar=cast(Any, bar),  # annotated as a boolean, documented as either
                    chunk_size=CHUNK,
                    timeout=CONNECT_AND_READ_TIMEOUT,
                    # a server that compresses on the way would change the bytes that the checksum is of
                    headers={"Accept-Encoding": "identity"},
                )
                path = pooch.retrieve(mirror + file, f"md5:{md5}", file, folder, downloader=cast(Any, downloader))
                return Path(path)
        except (RequestException, ValueError) as error:
            failures.append(f"{mirror}: {_reason(error)}")
        except OSError as error:
            raise DownloadError(
                f"{file} cannot be kept in '{folder}' ({error.strerror or error}); make room there, or set "
                f"LEARNSCOPE_CACHE to a folder that can be written."
            ) from error
    raise DownloadError(
        f"{file} could not be fetched ({'; '.join(failures)}): check the network and try again, or {instead}."
    )


def _reason(error: Exception) -> str:
    """Say in a few words why a mirror did not deliver."""
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, exceptions.Timeout):
        return "timed out"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "broke off in the middle"
    if isinstance(error, exceptions.ConnectionError):
        return "no connection"
    return type(error).__name__ if isinstance(error, exceptions.RequestException) else "wrong checksum"


class _Bar:
    """What pooch asks of a progress bar, passed on to a task of rich's."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    @property
    def total(self) -> float | None:
        """The bytes that are expected; setting them makes the bar visible."""
        return self._progress.tasks[0].total

    @total.setter
    def total(self, expected: float) -> None:
        # a server that does not tell the length leaves pooch with zero
        self._progress.update(self._task, total=expected or None, visible=True)

    def update(self, more: float) -> None:
        """Count bytes that have arrived."""
        self._progress.advance(self._task, more)

    def reset(self) -> None:
        """Count from zero again, as pooch does before it fills the bar."""
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        """Leave the cleaning to the context manager, which also acts when a download fails."""


@contextmanager
def _progress_bar(file: str) -> Iterator[_Bar]:
    """Show a bar on standard error while it is a terminal; nothing is left of it afterwards."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _Bar(progress, progress.add_task(file, total=None, visible=False))
