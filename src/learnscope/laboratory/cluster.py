"""Where points are computed: processes on this machine, or the workers of a Dask scheduler anywhere."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

from learnscope.errors import InputError
from learnscope.laboratory.compute import VersionError

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 10


@contextmanager
def client(workers: int | None, scheduler: str | None) -> Iterator[Client]:
    """Connect to a scheduler, or start one with ``workers`` processes of one thread each on this machine's loopback.

    Args:
        workers: number of processes; by default one for each core that this process may use.
        scheduler: address of a scheduler that runs already, such as "tcp://head:8786"; ``workers`` is then ignored.

    Raises:
        InputError: if the scheduler cannot be reached.
        VersionError: if one of its workers has another version of Learnscope.
    """
    import dask
    from distributed import Client, LocalCluster

    quiet = {"distributed.admin.system-monitor.gil.enabled": False, "distributed.worker.daemon": True}
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if scheduler is not None:
        with _connected(scheduler) as connected:
            _check_versions(connected)
            yield connected
        return
    with (
        dask.config.set(quiet),
        LocalCluster(
            n_workers=workers or cores(),
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,  # pyright: ignore[reportArgumentType] - None means none
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as connected,
    ):
        connected.run(leave_interrupts_to_the_client)
        yield connected


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def leave_interrupts_to_the_client() -> None:
    """Let Ctrl-C, which reaches every process of a terminal, be handled by the client alone."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    from distributed import Client

    try:
        connected = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(
            f"no scheduler answers at {address!r} within {CONNECT_SECONDS} seconds: check the address and that "
            "'dask scheduler' runs there, or leave --scheduler out to use this machine."
        ) from error
    with connected:
        yield connected


def _check_versions(connected: Client) -> None:
    ours = version("learnscope")
    answers = cast("dict[str, Any]", connected.run(_installed, on_error="return"))
    for address, theirs in answers.items():
        if theirs != ours:
            has = f"Learnscope {theirs}" if isinstance(theirs, str) else "no Learnscope that can be loaded"
            raise VersionError(
                f"the worker at {address} has {has}, this process has {ours}: install the same version on both, and "
                "repeat the command."
            )


def _installed() -> Any:
    from importlib.metadata import version

    return version("learnscope")
