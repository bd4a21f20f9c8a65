"""Pieces of work side by side on the threads that torch may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from typing import Protocol, TypeVar

import torch
from threadpoolctl import ThreadpoolController

Task = TypeVar("Task")
Result = TypeVar("Result")

# Up to so many multiplications, a tenth of a second or less, threads wait for each other longer than they compute.
LITTLE = 2**33


class Run(Protocol):
    """Does pieces of work, and returns the results in their order."""

    def __call__(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> list[Result]:
        """Return ``function(task)`` of each task; if one raises, or Ctrl-C is pressed, no other begins."""
        ...


@contextmanager
def side_by_side(threads: int | None = None) -> Iterator[Run]:
    """Let this thread and as many others as torch may use compute apart: torch and NumPy use one thread in each.

    Where steps are short that is far quicker than to share each step between all threads, which have to wait for each
    other; on a busy machine for those that have no turn. What contexts of torch say of a thread, such as ``no_grad``,
    does not hold in the others. Until the end, BLAS has one thread in the whole process.

    Args:
        threads: how many, at most as many as torch may use.

    Yields:
        What does pieces of work.

    Examples:
        >>> with side_by_side() as run:
        ...     run(lambda x: x + 1, [1, 2, 3])
        [2, 3, 4]
    """
    most = torch.get_num_threads()
    workers = most if threads is None else min(threads, most)
    if workers == 1:
        yield one_after_another
        return
    here = libraries().select(user_api="openmp").limit(limits=1)
    try:
        with libraries().limit(limits=1, user_api="blas"), ThreadPoolExecutor(workers, "", _compute_alone) as pool:
            try:
                yield partial(_together, pool)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
    finally:
        here.restore_original_limits()


@contextmanager
def alone() -> Iterator[None]:
    """Compute on this thread alone: torch, NumPy and SciPy use one thread, until the end.

    Where steps are short, the threads of one library wait for those of another longer than they compute.

    Examples:
        >>> with alone():
        ...     torch.get_num_threads()
        1
    """
    with limited_to(1):
        yield


@contextmanager
def limited_to(threads: int) -> Iterator[None]:
    """Let torch, NumPy and SciPy use so many threads of this process, until the end.

    Examples:
        >>> with limited_to(1):
        ...     torch.get_num_threads()
        1
    """
    with libraries().limit(limits=threads):
        yield


def alone_if_little(multiplications: float) -> AbstractContextManager[None]:
    """Return a context for work of so many multiplications: :func:`alone` where that is quicker than to share it."""
    return alone() if multiplications <= LITTLE else nullcontext()


def one_after_another(function: Callable[[Task], Result], tasks: Sequence[Task]) -> list[Result]:
    """Return ``function(task)`` of each task, done here: a :class:`Run` without threads."""
    return [function(task) for task in tasks]


def _together(pool: ThreadPoolExecutor, function: Callable[[Task], Result], tasks: Sequence[Task]) -> list[Result]:
    return list(pool.map(function, tasks))


def _compute_alone() -> None:
    """Let torch use one thread where this is called from; that is a setting of each thread."""
    torch.get_num_threads()  # makes torch set what this thread begins with, which it would do later otherwise
    libraries().select(user_api="openmp").limit(limits=1)


@cache
def libraries() -> ThreadpoolController:
    """Return the libraries with threads of their own; to look for them takes some ten milliseconds, once."""
    return ThreadpoolController()
