"""One writer at a time, and none that a crash leaves behind."""

import os
import signal
import subprocess
import sys

import pytest

import learnscope as ls
from learnscope.errors import StoreError
from learnscope.observables import Progress
from learnscope.scope import lock as lock_file
from learnscope.scope import schedules
from learnscope.scope.lock import Lock
from learnscope.scope.scope import Scope
from learnscope.scope.store import Store

pytestmark = pytest.mark.skipif(lock_file.fcntl is None, reason="needs a system with flock")


def test_two_live_scopes_do_not_share_a_store(small_model, blobs, tmp_path):
    first = Scope(small_model, blobs, store=tmp_path, observables=[Progress()], at=schedules.every(1))
    with pytest.raises(StoreError, match=r"being written by another scope in this process: close\(\) that scope"):
        Scope(small_model, blobs, store=tmp_path)
    first.step()
    assert ls.open(tmp_path).data["step"].values.tolist() == [0, 1]


def test_a_closed_scope_leaves_the_store_to_the_next_and_may_come_back(small_model, blobs, tmp_path):
    options = {"store": tmp_path, "observables": [Progress()], "at": schedules.every(1)}
    first = Scope(small_model, blobs, **options)
    first.close()
    second = Scope(small_model, blobs, **options)
    second.step()
    second.close()
    first._step = 1
    first.step()
    assert ls.open(tmp_path).data["step"].values.tolist() == [0, 1, 2]
    with pytest.raises(StoreError, match="being written"):
        Scope(small_model, blobs, **options)


def test_a_step_that_another_scope_has_recorded_is_not_recorded_again(small_model, blobs, tmp_path, caplog):
    options = {"store": tmp_path, "observables": [Progress()], "at": schedules.every(1)}
    first = Scope(small_model, blobs, **options)
    first.close()
    with Scope(small_model, blobs, **options) as second:
        second.step()
    first.step()
    assert "step 1 cannot follow step 1" in first.failures["store"]
    assert ls.open(tmp_path).data["step"].values.tolist() == [0, 1]


def test_a_scope_that_was_dropped_or_refused_holds_nothing(small_model, blobs, tmp_path):
    Scope(small_model, blobs, store=tmp_path)
    with pytest.raises(StoreError, match="another choice of layers") as refused:
        Scope(small_model, blobs, store=tmp_path, layers=["0"])
    Scope(small_model, blobs, store=tmp_path)
    assert refused.value is not None  # whose traceback still holds the scope that was refused


def test_a_dropped_scope_that_waits_for_the_garbage_collector_holds_nothing(tmp_path):
    store = Store.at(tmp_path)
    cycle: list[object] = [store]
    cycle.append(cycle)
    del store, cycle
    Store.at(tmp_path)


def test_a_replay_leaves_the_store_to_the_next(small_model, blobs, tmp_path):
    record = ls.replay(small_model, [small_model.state_dict()], blobs, steps=[0], store=tmp_path)
    Store.at(tmp_path)
    assert record.data.sizes["step"] == 1


HOLD = """
import sys, time
from learnscope.scope.store import Store
store = Store.at(sys.argv[1])
print("ready", flush=True)
time.sleep(60)
"""


def test_another_process_is_named_and_its_death_frees_the_store(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(
            StoreError, match=rf"being written by process {process.pid} on \S+: .* choose another folder"
        ):
            Store.at(tmp_path)
        assert len(ls.open(tmp_path).data["step"]) == 0  # readers are let in
        process.send_signal(signal.SIGKILL)
    Store.at(tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_worker_neither_holds_the_lock_nor_takes_it_away(tmp_path):
    lock = Lock(tmp_path / "lock")
    lock.acquire()
    child = os.fork()
    if child == 0:
        lock.release()
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(StoreError):
        Lock(tmp_path / "lock").acquire()


def test_a_file_system_without_locks_is_written_all_the_same(tmp_path, monkeypatch):
    def refuses(descriptor, operation):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock_file.fcntl, "flock", refuses)
    lock = Lock(tmp_path / "lock")
    assert lock.acquire()
    lock.release()
    assert lock.acquire()
