"""Sweeps: many points over many processes, small ones in batches, none lost and none computed twice."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pickle import PicklingError
from typing import TYPE_CHECKING, cast

from learnscope.laboratory.cluster import ClusterError, client, cores, same_version
from learnscope.laboratory.compute import LOADED, Done, Job, compute, compute_packed, one_thread, record_failure

if TYPE_CHECKING:
    from distributed import Client, Future

BATCH_SECONDS = 0.5  # long against the ten milliseconds that a task costs, short against a user's patience
LONGEST_BATCH_SECONDS = 2.0  # where jobs turn out to take longer, the rest of a batch comes back
MOST_IN_BATCH = 250
TASKS_AHEAD = 2  # for each worker, so that none waits for the client
ASK_SECONDS = 2.0
LOST_SECONDS = 60.0  # without a worker of our own


@dataclass(slots=True)
class Progress:
    """How far a sweep is.

    Attributes:
        total: number of jobs.
        finished: how many have their result in the store.
        failed: those that raised.
        workers: processes that compute.
        interrupted: whether Ctrl-C ended the sweep.
    """

    total: int
    finished: int = 0
    failed: list[Done] = field(default_factory=list)
    workers: int = 0
    interrupted: bool = False

    def count(self, done: Done) -> None:
        """Take a job's end into account."""
        if done.status == "finished":
            self.finished += 1
        else:
            self.failed.append(done)


Watch = Callable[[Progress], None]


def sweep(
    jobs: Sequence[Job], *, workers: int | None = None, scheduler: str | None = None, watch: Watch | None = None
) -> Progress:
    """Compute jobs over processes; results land in their stores from the workers as they finish.

    Jobs of one experiment that are short travel together, so that each task takes about half a second. Jobs of a worker
    that dies are given to another one, which skips those whose result is stored already. Ctrl-C ends the sweep; the
    same jobs can be handed over again, and only those without a result are computed.

    Args:
        jobs: what to compute.
        workers: processes on this machine, one for each core by default; 0 computes in this process.
        scheduler: address of a Dask scheduler to use instead.
        watch: called whenever something is finished.

    Raises:
        InputError: if the scheduler cannot be reached, or a worker does not see the experiment's file.
        ClusterError: if processes cannot be started, or the scheduler goes away.
        VersionError: if a worker has another version of Learnscope.
        StoreError: if a result cannot be written.
    """
    progress = Progress(len(jobs))
    watch = watch or (lambda _: None)
    if not jobs:
        return progress
    watch(progress)
    try:
        if workers == 0 and scheduler is None:
            _here(jobs, progress, watch)
        else:
            with client(min(workers or cores(), len(jobs)), scheduler) as connected:
                _Feeder(connected, scheduler, jobs, progress, watch).run()
    except KeyboardInterrupt:
        progress.interrupted = True
    return progress


def _here(jobs: Sequence[Job], progress: Progress, watch: Watch) -> None:
    progress.workers = 1
    with one_thread():
        for each in jobs:
            progress.count(*compute([each]))
            watch(progress)


class _Feeder:
    """Keeps the workers busy with batches whose size follows from how long the last ones took."""

    def __init__(
        self, connected: Client, scheduler: str | None, jobs: Sequence[Job], progress: Progress, watch: Watch
    ) -> None:
        self.client = connected
        self.scheduler = scheduler
        self.waiting = deque(jobs)
        self.suspects: deque[Job] = deque()  # were with a worker each time that it died; tried again at the end, alone
        self.alone = False
        self.running: dict[Future, list[Job]] = {}
        self.ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self.seconds: dict[str, float] = {}  # of the last jobs, by folder
        self.checked: set[str] = set()
        self.asked, self.seen = -ASK_SECONDS, time.monotonic()
        self.progress = progress
        self.watch = watch

    def run(self) -> None:
        """Submit batches and gather them until nothing is left."""
        try:
            self._look_after_workers()
            self._refill()
            while self.running:
                try:
                    self._gather(self.ended.get(timeout=ASK_SECONDS))
                except queue.Empty:
                    pass
                self._look_after_workers()
                self._refill()
        finally:
            self.client.cancel(list(self.running))

    def _refill(self) -> None:
        while self.waiting and len(self.running) < max(self.progress.workers, 1) * (1 + TASKS_AHEAD):
            self._submit(self._batch())
        if self.suspects and not self.running:
            self.alone = True
            self._submit([self.suspects.popleft()])

    def _submit(self, batch: list[Job]) -> None:
        from distributed.protocol.pickle import dumps

        try:
            packed = dumps(batch)
        except (PicklingError, AttributeError, TypeError) as error:
            raise _not_to_be_sent(error) from error
        future = self.client.submit(compute_packed, packed, LOADED, LONGEST_BATCH_SECONDS, pure=False)
        self.running[future] = batch
        future.add_done_callback(self.ended.put)

    def _batch(self) -> list[Job]:
        url = self.waiting[0].folder.url
        seconds = self.seconds.get(url)
        share = len(self.waiting) // (2 * max(self.progress.workers, 1))  # so that all workers end together
        most = 1 if seconds is None else min(int(BATCH_SECONDS / max(seconds, 1e-6)), share, MOST_IN_BATCH)
        batch = [self.waiting.popleft()]
        while self.waiting and len(batch) < most and self.waiting[0].folder.url == url:
            batch.append(self.waiting.popleft())
        return batch

    def _gather(self, future: Future) -> None:
        from distributed import CancelledError, KilledWorker

        batch = self.running.pop(future)
        try:
            done = future.result()
        except KilledWorker as error:
            self._after_death(batch, error)
            return
        except CancelledError as error:
            raise ClusterError(
                f"the scheduler at {self.scheduler!r} went away: what was computed before is kept; start it again, and "
                "repeat the command."
            ) from error
        except (ImportError, AttributeError) as error:
            raise _not_to_be_sent(error) from error
        self.waiting.extendleft(reversed(batch[len(done) :]))
        url, mean = batch[0].folder.url, sum(each.seconds for each in done) / len(done)
        self.seconds[url] = 0.5 * (self.seconds.get(url, mean) + mean)
        for each in done:
            self.progress.count(each)
        self.watch(self.progress)

    def _after_death(self, batch: list[Job], error: Exception) -> None:
        """Put the jobs of a batch that several workers died with aside; one that was alone with them is the cause."""
        if not self.alone:
            self.suspects.extend(batch)
            return
        message = f"{type(error).__name__}: the workers that computed this point died, for want of memory perhaps"
        self.progress.count(record_failure(batch[0], message, str(error)))
        self.watch(self.progress)

    def _look_after_workers(self) -> None:
        """Count the workers, and check those that joined."""
        now = time.monotonic()
        if now - self.asked < ASK_SECONDS:
            return
        self.asked = now
        threads = cast("dict[str, int]", self.client.nthreads())
        if threads:
            self.seen = now
        elif self.scheduler is None and now - self.seen > LOST_SECONDS:
            raise ClusterError(
                "every worker died and none could be started again: free some memory, and repeat the command with "
                "fewer --workers."
            )
        new = threads.keys() - self.checked
        if new and self.scheduler is not None:
            self.checked |= same_version(self.client, sorted(new))
        self.progress.workers = sum(threads.values())
        self.watch(self.progress)


def _not_to_be_sent(error: Exception) -> ClusterError:
    return ClusterError(
        f"the workers cannot load what they are to compute ({error}): keep an experiment in a file of its own, and "
        "install what it needs for them too."
    )
