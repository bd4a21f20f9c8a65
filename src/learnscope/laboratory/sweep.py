"""Sweeps: many points over many processes, small ones in batches, none lost and none computed twice."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import groupby
from typing import TYPE_CHECKING, cast

from learnscope.laboratory.cluster import client
from learnscope.laboratory.compute import Done, Job, compute

if TYPE_CHECKING:
    from distributed import Client, Future

BATCH_SECONDS = 0.5  # long against the ten milliseconds that a task costs, short against a user's patience
MOST_IN_BATCH = 250
TASKS_AHEAD = 2  # for each worker, so that none waits for the client
ASK_SECONDS = 2.0


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
        InputError: if the scheduler cannot be reached.
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
            progress.workers = 1
            for each in jobs:
                progress.count(*compute([each], version("learnscope")))
                watch(progress)
        else:
            with client(min(workers, len(jobs)) if workers else workers, scheduler) as connected:
                _Feeder(connected, jobs, progress, watch).run()
    except KeyboardInterrupt:
        progress.interrupted = True
    return progress


class _Feeder:
    """Keeps the workers busy with batches whose size follows from how long the last ones took."""

    def __init__(self, connected: Client, jobs: Sequence[Job], progress: Progress, watch: Watch) -> None:
        self.client = connected
        self.waiting = deque(deque(group) for _, group in groupby(jobs, key=lambda job: job.folder.url))
        self.seconds: dict[str, float] = {}
        self.progress = progress
        self.watch = watch
        self.running: dict[Future, list[Job]] = {}
        self.asked = 0.0

    def run(self) -> None:
        """Submit batches and gather them until nothing is left."""
        from distributed import as_completed

        try:
            completed = as_completed([])
            for future in self._refill():
                completed.add(future)
            while self.running:
                future = next(completed)
                self._gather(future)
                for following in self._refill():
                    completed.add(following)
        finally:
            self.client.cancel(list(self.running))

    def _refill(self) -> Iterator[Future]:
        self._count_workers()
        while self.waiting and len(self.running) < max(self.progress.workers, 1) * (1 + TASKS_AHEAD):
            batch = self._batch()
            future = self.client.submit(compute, batch, version("learnscope"), pure=False)
            self.running[future] = batch
            yield future

    def _batch(self) -> list[Job]:
        group = self.waiting[0]
        seconds = self.seconds.get(group[0].folder.url)
        share = len(group) // (2 * max(self.progress.workers, 1))  # so that all workers end together
        size = 1 if seconds is None else max(1, min(int(BATCH_SECONDS / max(seconds, 1e-6)), share, MOST_IN_BATCH))
        batch = [group.popleft() for _ in range(min(size, len(group)))]
        if not group:
            self.waiting.popleft()
        return batch

    def _gather(self, future: Future) -> None:
        from distributed import KilledWorker

        batch = self.running.pop(future)
        try:
            done = future.result()
        except KilledWorker as error:
            self._after_death(batch, error)
            return
        url = batch[0].folder.url
        mean = sum(each.seconds for each in done) / len(done)
        self.seconds[url] = mean if url not in self.seconds else 0.5 * (self.seconds[url] + mean)
        for each in done:
            self.progress.count(each)
        self.watch(self.progress)

    def _after_death(self, batch: list[Job], error: Exception) -> None:
        """Try the jobs of a batch that killed several workers one by one; a job that does so alone has failed."""
        if len(batch) > 1:
            self.waiting.extendleft(deque([job]) for job in batch)
            return
        job = batch[0]
        message = f"{type(error).__name__}: the workers that computed this point died, for want of memory perhaps"
        record = {"point": {k: str(v) for k, v in job.point.items()}, "seed": job.seed, "message": message}
        job.folder.write_json(f"failures/{job.name}.json", record | {"traceback": str(error)})
        self.progress.count(Done(job.name, job.folder.url, "failed", 0.0, message))
        self.watch(self.progress)

    def _count_workers(self) -> None:
        if time.monotonic() - self.asked > ASK_SECONDS:
            self.progress.workers = sum(cast("dict[str, int]", self.client.nthreads()).values())
            self.asked = time.monotonic()
