"""Work side by side: in order, with one thread for each piece, and every setting as it was afterwards."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from threadpoolctl import threadpool_info

from learnscope.threads import side_by_side


def done(function, tasks, threads=None):
    with side_by_side(threads) as run:
        return run(function, tasks)


def in_a_new_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def blas_threads(_=None):
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.mark.usefixtures("_three_threads")
@pytest.mark.parametrize("n", [0, 1, 2, 10])
def test_results_come_in_the_order_of_the_tasks(n):
    assert done(lambda k: (time.sleep(0.002 * (n - k)), k)[1], range(n)) == list(range(n))


@pytest.mark.usefixtures("_three_threads")
def test_tasks_run_at_the_same_time():
    all_here = threading.Barrier(3)
    assert len(done(lambda _: all_here.wait(timeout=20), range(3))) == 3


@pytest.mark.usefixtures("_three_threads")
def test_no_more_threads_run_than_are_asked_for():
    assert len(set(done(lambda _: threading.get_ident(), range(6), 1))) == 1
    assert len(set(done(lambda _: (time.sleep(0.01), threading.get_ident())[1], range(6), 2))) == 2


@pytest.mark.usefixtures("_three_threads")
def test_each_computes_with_one_thread_and_settings_are_as_they_were():
    before = blas_threads()
    assert done(lambda _: torch.get_num_threads(), range(3)) == [1, 1, 1]
    assert all(threads == 1 for found in done(blas_threads, range(3)) for threads in found)
    assert torch.get_num_threads() == 3
    assert in_a_new_thread(torch.get_num_threads) == 3
    assert blas_threads() == before


@pytest.mark.usefixtures("_three_threads")
def test_once_one_has_failed_no_other_begins():
    begun = []

    def task(k):
        begun.append(k)
        if k == 0:
            raise ValueError("the first")
        time.sleep(0.05)

    before = blas_threads()
    with pytest.raises(ValueError, match="the first"):
        done(task, range(100))
    assert len(begun) < 10
    assert blas_threads() == before
