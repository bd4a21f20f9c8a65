"""What real models and real processes do to an instrument."""

import logging
import os

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from torch import nn
from torch.nn.utils import parametrizations

import learnscope as ls
from learnscope.errors import InputError, StoreError
from learnscope.observables import Progress, default
from learnscope.scope import schedules
from learnscope.scope.scope import Scope
from learnscope.scope.store import Store


def test_a_model_that_overwrites_its_input_does_not_change_the_probe(blobs):
    x, y = blobs
    mine = x.clone()
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 3))
    scope = Scope(model, (mine, y), at=schedules.every(1))
    scope.step()
    assert torch.equal(mine, x)
    assert scope.data["probe_loss"][0] == scope.data["probe_loss"][1]


@pytest.mark.parametrize("as_array", [False, True])
def test_what_happens_to_the_callers_tensors_later_does_not_change_the_probe(small_model, blobs, as_array):
    x, y = blobs[0].clone(), blobs[1].clone()
    scope = Scope(small_model, (x.numpy(), y.numpy()) if as_array else (x, y), at=schedules.every(1))
    x.zero_(), y.zero_()
    scope.step()
    assert scope.data["probe_loss"][0] == scope.data["probe_loss"][1]


class Remembering(nn.Module):
    """Rebinds a buffer, counts, caches, fills a lazy buffer, and keeps a generator in a list."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 3)
        self.register_buffer("average", torch.zeros(6))
        self.register_buffer("late", None)
        self.calls, self.cache, self.noise = 0, None, [torch.Generator().manual_seed(3)]

    def forward(self, x):
        self.average = 0.9 * self.average + 0.1 * x.mean(0)
        self.late = x[:1]
        self.calls += 1
        self.cache = x
        return self.head(x + 0 * torch.randn(x.shape, generator=self.noise[0]))


def test_what_a_forward_pass_rebinds_is_put_back(blobs):
    model = Remembering()
    average, state = model.average, model.noise[0].get_state()
    Scope(model, blobs)
    assert model.average is average
    assert model.late is None
    assert (model.calls, model.cache) == (0, None)
    assert torch.equal(model.noise[0].get_state(), state)
    assert list(model.state_dict()) == ["average", "head.weight", "head.bias"]


def test_parametrised_layers_are_layers(blobs):
    norm, spectral = parametrizations.weight_norm, parametrizations.spectral_norm
    model = nn.Sequential(norm(nn.Linear(6, 8)), nn.ReLU(), spectral(nn.Linear(8, 8)), norm(nn.Linear(8, 3)))
    assert Scope(model, blobs).data["layer"].values.tolist() == ["0", "1", "2", "3"]
    assert Scope(norm(nn.Linear(6, 3)), blobs).data["layer"].values.tolist() == ["model"]


def test_a_compiled_part_is_watched_as_it_was_written(blobs):
    inner = torch.compile(nn.Sequential(nn.Linear(6, 8), nn.ReLU()), backend="eager")
    model = nn.Sequential(inner, nn.Linear(8, 3))
    model(blobs[0])
    assert len(Scope(model, blobs).data["layer"]) == 3


def test_two_layers_never_share_a_name(blobs):
    class Clash(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.head = nn.Linear(6, 6), nn.Linear(6, 3)
            self.add_module("a#2", nn.Linear(6, 6))

        def forward(self, x):
            return self.head(getattr(self, "a#2")(self.a(self.a(x))))

    scope = Scope(Clash(), blobs)
    assert scope.failures == {}
    assert len(set(scope.data["layer"].values.tolist())) == 4


class Returning:
    """An observable that returns whatever it is told to, by step."""

    needs = frozenset({"parameters"})

    def __init__(self, name, *answers):
        self.name, self.answers = name, answers

    def applies_to(self, task):
        return True

    def measure(self, state):
        return self.answers[min(state.step, len(self.answers) - 1)]


@pytest.mark.parametrize(
    "answers",
    [
        (3.0,),
        (None,),
        ({"a": 1},),
        (xr.Dataset({"a": ("k", [1.0, 2.0])}), xr.Dataset({"a": ("k", [1.0, 2.0, 3.0])})),
        (xr.Dataset({"a": 1}), xr.Dataset({"a": 2.5})),
        (xr.Dataset({"probe_loss": 1.0}),),
        (xr.Dataset({"a": ("layer", np.ones(7))}),),
    ],
)
def test_an_observable_that_returns_something_wrong_loses_only_itself(small_model, blobs, answers):
    observables = [*default(12, 12), Returning("odd", *answers)]
    scope = Scope(small_model, blobs, observables=observables, at=schedules.every(1))
    scope.step()
    scope.step()
    assert list(scope.failures) == ["odd"]
    assert scope.data["step"].values.tolist() == [0, 1, 2]
    assert np.isfinite(scope.data["probe_loss"].values).all()
    assert "linear_probe_accuracy" in scope.data


def test_what_a_failed_attempt_left_is_not_taken_for_a_measurement(tmp_path):
    store = Store.at(tmp_path)
    one, two = xr.Dataset({"a": 1.0}), xr.Dataset({"b": ("k", [1.0, 2.0])})
    store.append(0, {"one": one, "two": two})
    array = store.group["tables/scalar.0"]
    assert isinstance(array, zarr.Array)
    array[1] = np.full(array.shape[1:], 99.0)
    store.append(1, {"two": two})
    assert np.isnan(store.read()["a"].values[1])


def test_tables_that_were_growing_when_the_process_died_are_read(tmp_path):
    store = Store.at(tmp_path)
    store.append(0, {"one": xr.Dataset({"a": 1.0}), "two": xr.Dataset({"b": ("k", [1.0, 2.0])})})
    array = store.group["tables/scalar.0"]
    assert isinstance(array, zarr.Array)
    array.resize((128, *array.shape[1:]))
    assert ls.open(tmp_path).data["a"].values.tolist() == [1.0]
    store.release()
    again = Store.at(tmp_path)
    again.append(1, {"one": xr.Dataset({"a": 2.0})})
    assert again.read()["a"].values.tolist() == [1.0, 2.0]


def test_a_relative_folder_stays_where_it_was(small_model, blobs, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    scope = Scope(small_model, blobs, store="run", at=schedules.every(1))
    os.chdir(tmp_path / "elsewhere")
    scope.step()
    assert ls.open(tmp_path / "run").data.sizes["step"] == 2
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_that_has_gone_is_noted(small_model, blobs, tmp_path, caplog):
    import shutil

    scope = Scope(small_model, blobs, store=tmp_path / "run", at=schedules.every(1), observables=[Progress()])
    shutil.rmtree(tmp_path / "run")
    scope.step()
    assert "store" in scope.failures


@pytest.mark.parametrize("value", [None, "a", torch.ones(2), [1.0]])
def test_scalars_that_are_none_are_refused_at_the_first_step(small_model, blobs, value):
    scope = Scope(small_model, blobs, at=schedules.at([0]))
    with pytest.raises(InputError, match=r"step\(\) was given loss=.*single numbers"):
        scope.step(loss=value)


def test_scalars_of_every_kind_are_taken(small_model, blobs):
    scope = Scope(small_model, blobs, at=schedules.every(1), observables=[Progress()])
    scope.step(a=1, b=np.float32(2), c=torch.tensor([3.0], requires_grad=True), d=np.ones(1), e=True)
    assert [float(scope.data[f"logged_{k}"][1]) for k in "abcde"] == [1, 2, 3, 1, 1]


def test_the_same_script_run_again_does_not_mix_two_runs(blobs, train, tmp_path):
    x, y = blobs
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))
        if seed == 0:
            with Scope(model, blobs, store=tmp_path) as scope:
                train(model, x, y, 5, scope)
        else:
            with pytest.raises(StoreError, match=r"ends at step 5 with other weights .*pass start="):
                Scope(model, blobs, store=tmp_path)


def test_other_simple_models_than_before_are_refused(small_model, blobs, tmp_path):
    ladder = {"mine": torch.zeros(90, dtype=torch.long)}
    Scope(small_model, blobs, store=tmp_path, simple_models=ladder)
    with pytest.raises(StoreError, match="another choice of simple models"):
        Scope(small_model, blobs, store=tmp_path)


def test_inputs_that_are_not_finite_leave_the_linear_model_out(small_model, blobs, caplog):
    x, y = blobs[0].clone(), blobs[1]
    x[0, 0] = torch.nan
    with caplog.at_level(logging.WARNING):
        scope = Scope(small_model, (x, y))
    assert "linear could not be fitted" in caplog.text
    assert "explained_information" not in scope.data
    assert scope.failures == {}


@pytest.mark.parametrize(("n", "classes"), [(4, 2), (8, 3), (30, 10), (12, 12)])
def test_small_probes_are_measured_as_far_as_they_go(n, classes):
    x = torch.randn(n, 5, generator=torch.Generator().manual_seed(0))
    scope = Scope(nn.Linear(5, classes), (x, torch.arange(n) % classes))
    assert scope.failures == {}
    assert "probe_accuracy" in scope.data


def test_training_data_of_one_class_is_refused(small_model, blobs):
    with pytest.raises(InputError, match="train holds one class only"):
        Scope(small_model, blobs, train=(blobs[0], torch.zeros(90, dtype=torch.long)))


def test_a_missing_measurement_is_not_a_forgotten_example(small_model, blobs):
    answers = xr.Dataset({"correct": ("example", np.ones(90, dtype=np.int8))})
    scope = Scope(
        small_model, blobs, observables=[Returning("progress", answers, None, answers)], at=schedules.every(1)
    )
    scope.step()
    scope.step()
    assert scope.data["forgetting_events"].values.max() == 0
    assert scope.data["learning_time"].values.max() == 0


def test_closing_again_measures_what_came_after(small_model, blobs):
    scope = Scope(small_model, blobs, at=schedules.at([0]), observables=[Progress()])
    scope.step()
    scope.close()
    scope.step()
    scope.close()
    assert scope.data["step"].values.tolist() == [0, 1, 2]


def test_a_model_without_parameters_is_measured(blobs):
    x, y = blobs
    scope = Scope(nn.Sequential(nn.Tanh(), nn.Flatten()), (x[:, :3], y))
    assert scope.failures == {}
