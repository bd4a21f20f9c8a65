"""A scheduler and workers started by hand, as on a second machine."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from distributed.nanny import WorkerProcess

from learnscope import laboratory
from learnscope.errors import InputError, StoreError
from learnscope.laboratory import cluster
from learnscope.laboratory.cluster import ClusterError
from learnscope.laboratory.compute import VersionError

EXPERIMENT = str(Path(__file__).parent / "sweeping.py")
PLACES = 20
DASK = [sys.executable, "-m", "dask"]


@contextmanager
def process(*arguments, **options):
    """Run a program in a process group of its own, and end the whole group afterwards."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    with subprocess.Popen([*DASK, *arguments], **(quiet | options)) as started:
        try:
            yield started
        finally:
            os.killpg(started.pid, signal.SIGKILL)


@contextmanager
def scheduler():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = ("--host", "127.0.0.1", "--port", str(port), "--dashboard-address", "127.0.0.1:0")
    with process("scheduler", *here, "--no-dashboard") as started:
        yield f"tcp://127.0.0.1:{port}", started


@contextmanager
def worker(address, folder, *options, environment=None):
    folder.mkdir()
    options = ("--no-dashboard", "--local-directory", str(folder), *options)
    with process("worker", address, *options, cwd=folder, env=os.environ | (environment or {})) as started:
        yield started


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a scheduler with two workers, one of them with two threads, in other working directories."""
    folder = tmp_path_factory.mktemp("workers")
    with (
        scheduler() as (address, _),
        worker(address, folder / "a", "--nthreads", "1", "--no-nanny"),
        worker(address, folder / "b", "--nthreads", "2"),
    ):
        yield address


def run(address, store="runs", **options):
    return laboratory.run(EXPERIMENT, store=str(store), scheduler=address, **options)


def test_workers_started_by_hand_write_to_the_clients_folder_what_one_process_would(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "log"
    log.mkdir()
    there = run(address, changes={"log": str(log)}, seeds=2)
    assert there.progress.finished == 2 * PLACES
    assert sorted(Path("runs").rglob("*.safetensors"))
    assert there.data.identical(run(None, "here", workers=0, changes={"log": str(log)}, seeds=2).data)
    processes = {path.name.split(".")[1] for path in log.glob("*.*.*")} - {str(os.getpid())}
    assert len(processes) == 2


@pytest.mark.parametrize("wrong", ["tcp://127.0.0.1:1", "127.0.0.1:1", "nonsense", "nonsense://127.0.0.1:1", ""])
def test_an_unreachable_scheduler_is_told_in_a_sentence(tmp_path, monkeypatch, wrong):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    with pytest.raises(InputError, match=r"no scheduler answers at '.*' within 1 seconds: check the address"):
        run(wrong, tmp_path)


def test_something_else_at_the_address_is_no_scheduler(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(InputError, match="no scheduler answers"):
        run(f"tcp://127.0.0.1:{silent.getsockname()[1]}", tmp_path)


def test_a_worker_with_another_version_is_refused_and_both_versions_are_named(tmp_path):
    with (
        scheduler() as (address, _),
        worker(address, tmp_path / "w", "--no-nanny", environment=other_version(tmp_path)),
    ):
        waited_for(address, 1)
        with pytest.raises(VersionError, match=r"the worker at tcp://.* has Learnscope 9\.9, this process has .* 0"):
            run(address, tmp_path)


def other_version(folder):
    """Return the environment of a worker that finds the metadata of another version first."""
    metadata = folder / "other" / "learnscope-9.9.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: learnscope\nVersion: 9.9\n")
    return {"PYTHONPATH": str(folder / "other")}


def waited_for(address, workers):
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=60)


@pytest.mark.slow
def test_a_scheduler_that_goes_away_is_told_in_a_sentence_and_what_was_computed_is_kept(tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    changes = {"log": str(log), "seconds": 0.1}

    def watch(progress):
        if progress.finished > 5:
            os.killpg(started.pid, signal.SIGKILL)

    told = pytest.raises(ClusterError, match=r"the scheduler at 'tcp://.*' went away: what was computed before is kept")
    with scheduler() as (address, started), worker(address, tmp_path / "w", "--no-nanny"), told:
        run(address, tmp_path, changes=changes, watch=watch)
    kept = laboratory.prepare(EXPERIMENT, store=str(tmp_path), changes=changes)
    assert 5 < len(kept.stored) < 3 * PLACES
    assert run(None, tmp_path, changes=changes, workers=0).progress.finished == 3 * PLACES - len(kept.stored)


def test_a_store_that_the_workers_do_not_see_is_told_before_anything_is_computed(address, tmp_path, monkeypatch):
    from learnscope.laboratory.store import Folder

    monkeypatch.setattr(Folder, "__getstate__", lambda self: f"{self.path}/elsewhere")
    with pytest.raises(StoreError, match=r"elsewhere' is not there on .*choose a --store that all of them see"):
        run(address, tmp_path)


@pytest.mark.slow
def test_points_of_the_only_worker_wait_for_one_that_joins_later(tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    changes = {"log": str(log), "seconds": 0.1, "deadly": 7}
    with scheduler() as (address, _), ExitStack() as later:

        def watch(progress):
            if (log / "died").exists() and not later.joined:
                later.joined = later.enter_context(worker(address, tmp_path / "later", "--nthreads", "1"))

        later.joined = None
        later.enter_context(worker(address, tmp_path / "first", "--nthreads", "1", "--no-nanny"))
        done = run(address, tmp_path, changes=changes, watch=watch)
    assert len(done.stored) == done.progress.finished == 3 * PLACES
    assert len(list(log.glob("*.*.*"))) == 3 * PLACES + 1


@pytest.mark.slow
def test_a_worker_with_another_version_that_joins_later_is_refused_too(tmp_path):
    with scheduler() as (address, _), worker(address, tmp_path / "good", "--no-nanny"), ExitStack() as later:

        def watch(progress):
            if progress.finished and not later.joined:
                later.joined = later.enter_context(worker(address, tmp_path / "bad", environment=environment))

        later.joined, environment = None, other_version(tmp_path)
        with pytest.raises(VersionError, match=r"Learnscope 9\.9, .* Learnscope 0"):
            run(address, tmp_path, changes={"seconds": 1.0}, watch=watch)


def test_a_worker_that_is_long_in_dying_is_no_error(monkeypatch):
    """One that held many gigabytes takes the system longer to be rid of than we wait."""
    end = WorkerProcess.kill

    async def late(process, **options):
        await end(process, **options)
        raise TimeoutError

    monkeypatch.setattr(WorkerProcess, "kill", late)
    with cluster.client(1, None) as connected:
        assert connected.submit(abs, -1).result() == 1
