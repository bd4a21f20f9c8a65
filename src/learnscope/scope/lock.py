"""One writer at a time: a lock on a run folder that the system releases when the process ends, however it ends."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
from pathlib import Path

from learnscope.errors import StoreError

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None


class Lock:
    """An advisory lock, held while a file is open; the file stays and names the last process that held it.

    Where the system or the file system knows no such locks, acquiring one always succeeds.

    Args:
        path: the file, made when it is first acquired.

    Examples:
        >>> import tempfile
        >>> lock = Lock(Path(tempfile.mkdtemp()) / "lock")
        >>> lock.acquire(), lock.acquire()
        (True, False)
        >>> lock.release()
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._process = 0

    def acquire(self) -> bool:
        """Take the lock unless it is held already; return whether it had to be taken.

        Raises:
            StoreError: if another holds it.
            OSError: if the file cannot be written.
        """
        if self._descriptor is not None and self._process == os.getpid():
            return False
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        holder = _locked(descriptor)
        if holder == _me():
            os.lseek(descriptor, 0, os.SEEK_SET)
            gc.collect()  # a scope that was dropped without being closed may only wait for this
            holder = _locked(descriptor)
        if holder is not None:
            os.close(descriptor)
            raise StoreError(self._refusal(holder))
        self._descriptor, self._process = descriptor, os.getpid()
        with contextlib.suppress(OSError):  # a full disk: the holder then has no name
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, _me().encode())
        return True

    def _refusal(self, holder: str) -> str:
        who = "another scope in this process" if holder == _me() else holder
        return (
            f"the record in {str(self.path.parent)!r} is being written by {who}: close() that scope or end its process "
            "first, or choose another folder as store=."
        )

    def release(self) -> None:
        """Let others have the lock; it may be acquired again."""
        if self._descriptor is not None:
            # a forked process shares the lock and must not take it from the one that holds it
            if fcntl is not None and self._process == os.getpid():
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.release()


def _locked(descriptor: int) -> str | None:
    """Lock an open file; return who holds it if another does."""
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
    except OSError:  # a file system without locks
        pass
    return None


def _me() -> str:
    return f"process {os.getpid()} on {platform.node()}"
