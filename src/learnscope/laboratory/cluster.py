"""Where points are computed: processes on this machine, or the workers of a Dask scheduler anywhere."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, cast

from learnscope.errors import InputError, LearnscopeError
from learnscope.laboratory import interrupts
from learnscope.laboratory.compute import LOADED, VersionError

if TYPE_CHECKING:
    from distributed import Client
    from tornado.ioloop import IOLoop

CONNECT_SECONDS = 10
CLOSE_SECONDS = 1
SETTINGS = {
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.worker.profile.enabled": False,
    "distributed.worker.daemon": True,  # no worker outlives this process
    "distributed.scheduler.worker-ttl": None,  # a laptop that slept has not lost its workers
}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class ClusterError(LearnscopeError):
    """Processes cannot be started, or a scheduler went away."""


@contextmanager
def client(workers: int, scheduler: str | None) -> Iterator[Client]:
    """Connect to a scheduler, or start one with ``workers`` processes of one thread each on this machine's loopback.

    Args:
        workers: number of processes.
        scheduler: address of a scheduler that runs already, such as "tcp://head:8786"; ``workers`` is then ignored.

    Raises:
        InputError: if the scheduler cannot be reached.
        ClusterError: if the processes cannot be started.
    """
    with (
        _as_it_was(),
        _event_loop() as loop,
        _remote(scheduler, loop) if scheduler is not None else _embedded(workers, loop) as connected,
    ):
        yield connected


def cores() -> int:
    """Return the number of cores that this process may use, the limits of a container included."""
    from dask.system import CPU_COUNT

    return CPU_COUNT


def same_version(connected: Client, workers: Sequence[str]) -> set[str]:
    """Return those of ``workers`` that answered, and have our version of Learnscope.

    Raises:
        VersionError: if one has another version, or none.
    """
    asked = connected.run(version, "learnscope", workers=list(workers), on_error="return")
    answers = cast("dict[str, str | Exception]", asked)
    for address, theirs in answers.items():
        if isinstance(theirs, PackageNotFoundError) or (theirs != LOADED and isinstance(theirs, str)):
            has = f"Learnscope {theirs}" if isinstance(theirs, str) else "no Learnscope"
            raise VersionError(
                f"the worker at {address} has {has}, this process has Learnscope {LOADED}: install the same version on "
                "both, and repeat the command."
            )
    return {address for address, theirs in answers.items() if theirs == LOADED}


@contextmanager
def _remote(address: str, loop: IOLoop) -> Iterator[Client]:
    from distributed import Client
    from distributed.utils import sync

    try:
        sync(loop, _reach, address, callback_timeout=CONNECT_SECONDS)
        connected = Client(address, loop=loop, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TypeError, ValueError, TimeoutError) as error:
        raise InputError(
            f"no scheduler answers at {address!r} within {CONNECT_SECONDS} seconds: check the address and that "
            "'dask scheduler' runs there, or leave --scheduler out to use this machine."
        ) from error
    with connected:
        yield connected


async def _reach(address: str) -> None:
    """Connect once, within a time: a client would wait for ever for a peer that is silent."""
    from distributed.core import connect
    from distributed.security import Security

    comm = await connect(address, timeout=CONNECT_SECONDS, **Security().get_connection_args("client"))
    await comm.close()


@contextmanager
def _embedded(workers: int, loop: IOLoop) -> Iterator[Client]:
    import dask
    from distributed import Client, LocalCluster, Nanny

    class ImpatientNanny(Nanny):
        """Does not wait for a point that is being computed when its worker is to end."""

        async def close(self, timeout: float = CLOSE_SECONDS, reason: str = "nanny-close") -> Any:
            return await super().close(timeout, reason)

        async def kill(self, timeout: float = CLOSE_SECONDS, reason: str = "nanny-kill") -> None:
            # It has been killed by then; of one with much memory, the system is not rid at once.
            with suppress(TimeoutError):
                await super().kill(timeout, reason)

    with dask.config.set(SETTINGS | _start_method()), interrupts.held_while_closing() as stack:
        try:
            with interrupts.held():  # half a cluster cannot be closed in an orderly way
                cluster = LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    host="127.0.0.1",
                    memory_limit=0,  # dask would pause and kill processes by their size; the system knows better
                    env=dict(os.environ),
                    worker_class=ImpatientNanny,
                    scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                    silence_logs=logging.CRITICAL,
                    loop=loop,
                )
                stack.enter_context(cluster)
                connected = stack.enter_context(Client(cluster, loop=loop, set_as_default=False))
        except (OSError, RuntimeError) as error:
            raise ClusterError(
                f"{workers} processes could not be started ({error}): choose fewer --workers, or 0 for none."
            ) from error
        yield connected


def _start_method() -> dict[str, str]:
    """Fork workers from a process that has loaded the libraries once; outside of Linux such forks are not safe."""
    import dask
    from distributed.utils import get_mp_context

    if sys.platform != "linux":
        return {}
    from multiprocessing import forkserver

    os.environ.update(ONE_THREAD)  # a process is forked safely while it has one thread
    method = {"distributed.worker.multiprocessing-method": "forkserver"}
    with dask.config.set(method), interrupts.kept_from_children():
        get_mp_context().set_forkserver_preload(["distributed", "learnscope.laboratory.compute"])
        forkserver.ensure_running()
    return method


@contextmanager
def _event_loop() -> Iterator[IOLoop]:
    """Run an event loop in a thread of its own, which starts the workers."""
    from distributed.utils import LoopRunner

    runner = LoopRunner()
    with interrupts.kept_from_children():
        runner.start()
    try:
        yield cast("IOLoop", runner.loop)
    finally:
        runner.stop()


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Quieten dask, keep workers from running the user's script again, and put back what dask changes here.

    A worker would start by importing the script that started the sweep, and so start a sweep; it does not where the
    script passes for a package's ``__main__``. What workers need of the script travels by value.
    """
    logger, main = logging.getLogger("distributed"), sys.modules["__main__"]
    before = logger.level, main.__spec__, dict(os.environ)
    logger.setLevel(logging.CRITICAL)
    main.__spec__ = ModuleSpec("__main__", None)
    try:
        yield
    finally:
        logger.setLevel(before[0])
        main.__spec__ = before[1]
        for name in os.environ.keys() - before[2].keys():
            del os.environ[name]
        os.environ.update(before[2])
