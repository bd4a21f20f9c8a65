"""Sweeps over real processes: whatever dies, every point has one result, and the results are the same."""

import dataclasses
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import types
from collections import Counter
from pathlib import Path

import psutil
import pytest
import torch
from typer.testing import CliRunner

from learnscope import laboratory
from learnscope.cli import app
from learnscope.errors import InputError, StoreError
from learnscope.laboratory.cluster import ClusterError
from learnscope.laboratory.compute import LOADED, VersionError, compute
from learnscope.laboratory.sweep import sweep

EXPERIMENT = str(Path(__file__).parent / "sweeping.py")
PLACES, SEEDS = 20, 3
POINTS = PLACES * SEEDS


@pytest.fixture
def log(tmp_path):
    folder = tmp_path / "log"
    folder.mkdir()
    return folder


def run(tmp_path, **options):
    changes = options.pop("changes", {})
    return laboratory.run(EXPERIMENT, store=str(tmp_path / "runs"), changes=changes, **({"workers": 2} | options))


def starts(log):
    """Return how often each point and seed was started."""
    return Counter(path.name.split(".")[0] for path in log.glob("*.*.*"))


def stored(run):
    return {path.name: path.read_bytes() for path in Path(run.folder.path).glob("points/*")}


def test_results_are_the_same_bit_for_bit_with_any_number_of_workers_in_any_order(tmp_path):
    here = run(tmp_path / "0", workers=0).data
    for workers in (1, 2, 4):
        assert run(tmp_path / str(workers), workers=workers).data.identical(here)
    run(tmp_path, seeds=[2])
    mixed = laboratory.prepare(EXPERIMENT, store=str(tmp_path / "runs"))
    sweep(mixed.missing()[::-1], workers=2)
    assert mixed.data.identical(here)


def test_small_points_travel_together_and_no_more_workers_start_than_there_are_points(tmp_path):
    seen = []
    changes = {"place": list(range(400))}
    run(tmp_path, changes=changes, seeds=1, watch=lambda progress: seen.append(progress.finished))
    assert seen[-1] == 400
    assert len(seen) < 100
    few = run(tmp_path, changes={"place": [1, 2]}, seeds=1, workers=64)
    assert few.progress.workers == 2


def test_a_sweep_leaves_this_process_as_it_was(tmp_path):
    def state():
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        main = sys.modules["__main__"].__spec__
        level = logging.getLogger("distributed").level
        return dict(os.environ), mask, signal.getsignal(signal.SIGINT), main, level, torch.get_num_threads()

    torch.set_num_threads(2)
    try:
        before = state()
        run(tmp_path, seeds=1)
        run(tmp_path, seeds=2, workers=0)
        assert state() == before
    finally:
        torch.set_num_threads(1)


def test_points_of_a_killed_worker_are_computed_by_another_and_no_other_point_twice(tmp_path, log):
    done = run(tmp_path, changes={"log": str(log), "deadly": 7, "seconds": 0.01})
    assert done.progress.finished == len(stored(done)) == POINTS
    assert sorted(starts(log).values()) == [1] * (POINTS - 1) + [2]


def test_a_point_that_kills_every_worker_is_recorded_and_costs_no_other_point(tmp_path, log):
    done = run(tmp_path, changes={"log": str(log), "fatal": 7, "seconds": 0.01}, seeds=1)
    assert len(stored(done)) == PLACES - 1
    assert [(failure.point["place"], failure.seed) for failure in done.failures] == [(7, 0)]
    assert "the workers that computed this point died" in done.failures[0].message
    assert len(done.progress.failed) == 1


def test_a_point_that_raises_is_recorded_with_its_traceback_and_the_rest_goes_on(tmp_path):
    command = ["run", EXPERIMENT, "--store", str(tmp_path), "--workers", "2", "--set", "raising=3"]
    ended = CliRunner().invoke(app, command)
    assert ended.exit_code == 1
    assert "ArithmeticError: no number at 3" in ended.output
    again = laboratory.prepare(EXPERIMENT, store=str(tmp_path), changes={"raising": 3})
    assert len(stored(again)) == POINTS - SEEDS
    assert len(again.failures) == SEEDS
    assert 'raise ArithmeticError(f"no number at {point.place}")' in again.failures[0].traceback


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_ends_the_sweep_with_a_sentence_and_keeps_what_was_computed(tmp_path, monkeypatch, workers):
    from fsspec.implementations.local import LocalFileSystem

    monkeypatch.setattr(LocalFileSystem, "pipe_file", LocalFileSystem.pipe_file)  # put back if replaced in this process
    changes = {"full": 12, "seconds": 0.01}
    with pytest.raises(StoreError, match=r"cannot be written to .* \(No space left on device\): free some space"):
        run(tmp_path, changes=changes, workers=workers)
    kept = laboratory.prepare(EXPERIMENT, store=str(tmp_path / "runs"), changes=changes)
    assert 0 < len(kept.stored) < POINTS
    assert not list(Path(kept.folder.path).glob("points/.*"))


@pytest.mark.slow
def test_a_disk_that_is_really_full_keeps_what_was_computed(tmp_path):
    """The store is a file system of its own in memory, mounted where this process alone sees it."""
    (tmp_path / "runs").mkdir()
    command = [sys.executable, "-m", "learnscope", "run", EXPERIMENT, "--store", str(tmp_path / "runs")]
    script = f'mount -t tmpfs -o size=100k tmpfs {tmp_path}/runs || exit 77; "$@"; echo $?; find {tmp_path}/runs'
    ended = subprocess.run(["unshare", "-rm", "sh", "-c", script, "-", *command], capture_output=True, text=True)
    if ended.returncode == 77:
        pytest.skip("mounting is not permitted here")
    assert "\n1\n" in f"\n{ended.stdout}"
    assert "(No space left on device): free some space or choose another --store" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert 5 < ended.stdout.count(".safetensors") < POINTS
    assert ".partial" not in ended.stdout


def test_ctrl_c_without_workers_keeps_what_was_computed(tmp_path):
    def interrupt(progress):
        if progress.finished == 7:
            raise KeyboardInterrupt

    stopped = run(tmp_path, workers=0, watch=interrupt)
    assert stopped.progress.interrupted
    assert len(stopped.stored) == 7
    assert run(tmp_path, workers=0).progress.total == POINTS - 7


def test_a_batch_that_takes_longer_than_it_should_comes_back(tmp_path):
    prepared = laboratory.prepare(EXPERIMENT, store=str(tmp_path))
    laboratory.run_all([laboratory.prepare(EXPERIMENT, store=str(tmp_path), seeds=1)], workers=0)
    missing = prepared.missing()
    assert [done.name for done in compute(missing, seconds=0.0)] == [missing[0].name]
    assert prepared.missing() == missing[1:]


def test_a_worker_that_has_another_version_loaded_refuses_to_compute(tmp_path, monkeypatch):
    monkeypatch.setattr("learnscope.laboratory.sweep.LOADED", "9.9")
    with pytest.raises(
        VersionError, match=rf"a worker on .* has Learnscope {LOADED}, this process has Learnscope 9\.9"
    ):
        run(tmp_path, seeds=1)


def test_a_file_that_the_workers_do_not_see_is_told_in_a_sentence(tmp_path):
    run(tmp_path, workers=0, seeds=1)
    missing = laboratory.prepare(EXPERIMENT, store=str(tmp_path / "runs")).missing()
    unseen = [dataclasses.replace(job, experiment="/nowhere/mine.py") for job in missing]
    with pytest.raises(InputError, match=r"a worker on .* cannot load the experiment: there is no file '/nowhere/mine"):
        sweep(unseen, workers=1)


def elsewhere(point, generator):
    raise NotImplementedError


elsewhere.__module__ = "a_module_of_this_process"


def holding_a_lock(lock):
    return lambda point, generator: lock


@pytest.mark.parametrize("simulate", [elsewhere, holding_a_lock(threading.Lock())])
def test_what_cannot_be_sent_to_the_workers_is_told_in_a_sentence(tmp_path, monkeypatch, variant, simulate):
    module = types.ModuleType(elsewhere.__module__)
    monkeypatch.setitem(sys.modules, elsewhere.__module__, module)
    module.elsewhere = elsewhere
    with pytest.raises(ClusterError, match=r"the workers cannot load what .*(No module named|cannot pickle)"):
        laboratory.run(variant(simulate=simulate), store=str(tmp_path), workers=1, seeds=1)


def started(tmp_path, log, *more):
    """Start the command in a process group of its own, as a terminal does, and wait for its first points."""
    command = [sys.executable, "-m", "learnscope", "run", EXPERIMENT, "--store", str(tmp_path / "runs"), *more]
    settings = ["--workers", "2", "--set", f"log={log}", "--set", "seconds=0.1"]
    process = subprocess.Popen(
        [*command, *settings],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whoever runs the tests may ignore it
    )
    while len(starts(log)) < 4:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)
    return process, psutil.Process(process.pid).children(recursive=True)


def completes_what_is_missing(tmp_path, log):
    changes = {"log": str(log), "seconds": 0.1}
    before = laboratory.prepare(EXPERIMENT, store=str(tmp_path / "runs"), changes=changes)
    there, begun = stored(before), starts(log)
    assert 0 < len(there) < POINTS
    assert run(tmp_path, changes=changes).progress.finished == POINTS - len(there)
    again = starts(log) - begun
    assert sum(again.values()) == POINTS - len(there)
    return {name: content for name, content in stored(before).items() if name in there} == there


def test_a_killed_client_leaves_no_process_and_the_same_command_computes_what_is_missing(tmp_path, log):
    process, workers = started(tmp_path, log)
    process.kill()
    process.communicate()
    assert psutil.wait_procs(workers, timeout=30)[1] == []
    assert completes_what_is_missing(tmp_path, log)


def test_ctrl_c_ends_with_one_sentence_and_the_same_command_goes_on(tmp_path, log):
    process, workers = started(tmp_path, log)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert f"of {POINTS} points computed; the same command goes on from there" in output
    assert psutil.wait_procs(workers, timeout=30)[1] == []
    assert completes_what_is_missing(tmp_path, log)


@pytest.mark.slow
def test_a_script_needs_no_guard_and_its_experiment_travels_to_the_workers(tmp_path):
    script = tmp_path / "script.py"
    finish = f"run = laboratory.run(EXPERIMENT, store={str(tmp_path / 'runs')!r}, workers=2)\nprint(len(run.stored))\n"
    script.write_text(Path(EXPERIMENT).read_text() + finish)
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == (f"{POINTS}\n", "")
