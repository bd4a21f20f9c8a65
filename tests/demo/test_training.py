import os
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from learnscope.demo import recipe, training
from learnscope.errors import InputError, StoreError
from learnscope.scope.record import open as open_record
from learnscope.scope.scope import Scope


def shorten(monkeypatch, epochs):
    monkeypatch.setitem(recipe.RECIPES, "digits", recipe.Recipe(epochs, 64, 0.05, probe_examples=60))


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    shorten(monkeypatch, 2)


def same(a, b):
    return a.drop_attrs().equals(b.drop_attrs())


@pytest.mark.parametrize("network", ["mlp", "cnn", "resnet"])
def test_every_network_learns_something_on_real_digits(network, tmp_path, monkeypatch):
    shorten(monkeypatch, 3)
    outcome = training.run(tmp_path, network=network)
    accuracy = outcome.record.data["probe_accuracy"]
    assert outcome.finished
    assert outcome.step == outcome.steps == 57
    assert float(accuracy[-1]) > 0.6 > float(accuracy[0])


@pytest.mark.parametrize(("asked", "expected"), [(None, {1}), ("3", {3})])
@pytest.mark.usefixtures("_three_threads")
def test_half_of_the_threads_are_used_unless_the_user_says_how_many(asked, expected, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    shorten(monkeypatch, 1)
    used = set()
    training.run(tmp_path, network="mlp", watch=lambda *_: used.add(torch.get_num_threads()))
    assert used == expected
    assert torch.get_num_threads() == 3


def test_ctrl_c_stops_at_the_end_of_a_step_and_the_same_call_goes_on(tmp_path):
    def press(step, steps, loss):
        if step == 28:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    stopped = training.run(tmp_path / "stopped", network="resnet", watch=press)
    assert (stopped.finished, stopped.step) == (False, 28)
    assert signal.getsignal(signal.SIGINT) is before
    assert open_record(tmp_path / "stopped").data["step"].values[-1] == 18
    resumed = training.run(tmp_path / "stopped", network="resnet")
    whole = training.run(tmp_path / "whole", network="resnet")
    assert resumed.finished
    a, b = resumed.record.data, whole.record.data
    # the update since the previous measurement is unknown at the first one after a stop
    assert same(a.drop_vars("update_norm"), b.drop_vars("update_norm"))


def test_a_run_that_is_killed_between_checkpoints_comes_to_the_same_numbers(tmp_path):
    class Killed(BaseException):
        pass

    def die(step, steps, loss):
        if step == 30:
            raise Killed

    with pytest.raises(Killed):
        training.run(tmp_path / "killed", network="mlp", watch=die)
    again = training.run(tmp_path / "killed", network="mlp").record.data
    whole = training.run(tmp_path / "whole", network="mlp").record.data
    assert same(again.drop_vars("update_norm"), whole.drop_vars("update_norm"))


def test_a_finished_run_is_only_read_again(tmp_path):
    first = training.run(tmp_path, network="mlp").record.data.load()
    calls = []
    again = training.run(tmp_path, network="mlp", watch=lambda *a: calls.append(a))
    assert calls == []
    assert same(again.record.data, first)


def test_seeds_differ_and_repeat(tmp_path):
    losses = [
        training.run(tmp_path / str(k), network="mlp", seed=seed).record.data["probe_loss"].values
        for k, seed in enumerate([0, 0, 1])
    ]
    assert np.array_equal(losses[0], losses[1])
    assert not np.array_equal(losses[0], losses[2])


def test_a_folder_that_holds_another_run_is_refused(tmp_path):
    training.run(tmp_path, network="mlp")
    with pytest.raises(StoreError, match=r"holds the run 'mlp on digits, seed 0', but 'cnn on digits, seed 0'"):
        training.run(tmp_path, network="cnn")


def test_a_run_that_was_killed_before_its_last_measurement_makes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(Scope, "close", lambda self, **options: None)
    assert training.run(tmp_path, network="mlp").record.data["step"].values[-1] < 38
    monkeypatch.undo()
    shorten(monkeypatch, 2)
    assert training.run(tmp_path, network="mlp").record.data["step"].values[-1] == 38


def test_a_checkpoint_of_another_program_is_refused(tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "checkpoint.safetensors")
    with pytest.raises(StoreError, match=r"holds another program's checkpoint.safetensors"):
        training.run(tmp_path, network="mlp")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_nothing_is_loaded_for_a_network_that_does_not_exist(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "load_images", lambda data: pytest.fail("was loaded"))
    with pytest.raises(InputError, match="there is no network 'cn'"):
        training.run(tmp_path, network="cn")
