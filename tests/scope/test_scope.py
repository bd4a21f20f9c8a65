import copy
import logging

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import learnscope as ls
from learnscope import threads
from learnscope.errors import InputError, StoreError
from learnscope.observables import Movement, Progress, WeightSpectra
from learnscope.scope import derived, schedules
from learnscope.scope.scope import Scope


def test_every_kind_of_network_is_measured_whole(case, train):
    model, (x, y) = case
    scope = Scope(model, (x, y), at=schedules.every(1))
    train(model, x, y, 2, scope)
    data = scope.data
    assert scope.failures == {}
    assert data["step"].values.tolist() == [0, 1, 2]
    assert data["parameter"].values.tolist() == [name for name, _ in model.named_parameters()]
    assert set(data["layer_layouts"] if "layer_layouts" in data else data.attrs["layer_layouts"]) == set(
        data["layer"].values.tolist()
    )
    assert np.isfinite(data["activation_rms"].values).all()
    assert np.isfinite(data["weight_norm"].values).all()


def test_the_end_of_the_block_is_measured_and_an_exception_is_not(small_model, blobs, train):
    x, y = blobs
    with Scope(small_model, blobs, at=schedules.at([0])) as scope:
        train(small_model, x, y, 5, scope)
    assert scope.data["step"].values.tolist() == [0, 5]
    with pytest.raises(ZeroDivisionError), Scope(small_model, blobs, at=schedules.at([0])) as scope:
        train(small_model, x, y, 3, scope)
        raise ZeroDivisionError
    assert scope.data["step"].values.tolist() == [0]


def test_measured_numbers_are_those_of_the_network(small_model, blobs, train):
    x, y = blobs
    initial = copy.deepcopy(small_model.state_dict())
    with Scope(small_model, blobs) as scope:
        train(small_model, x, y, 20, scope)
    end = scope.data.isel(step=-1)
    with torch.no_grad():
        outputs, hidden = small_model(x), small_model[0](x)
    assert float(end["probe_accuracy"]) == pytest.approx(float((outputs.argmax(1) == y).double().mean()))
    assert float(end["probe_loss"]) == pytest.approx(float(nn.functional.cross_entropy(outputs, y)), rel=1e-5)
    weight = small_model[0].weight.detach()
    moved = float((weight - initial["0.weight"]).norm() / initial["0.weight"].norm())
    assert float(end["weight_distance"].sel(parameter="0.weight")) == pytest.approx(moved, rel=1e-5)
    spectrum = np.linalg.svd(weight.double().numpy(), compute_uv=False)
    assert end["singular_value"].sel(weight="0.weight").values[:6] == pytest.approx(spectrum, rel=1e-6)
    rms = float(hidden.square().mean().sqrt())
    assert float(end["activation_rms"].sel(layer="0")) == pytest.approx(rms, rel=1e-5)
    assert float(end["logged_loss"]) > 0


def test_similarities_in_the_record_are_those_of_the_activations(small_model, blobs, train):
    x, y = blobs
    early = small_model[0](x).detach()
    with Scope(small_model, blobs, at=schedules.at([0])) as scope:
        train(small_model, x, y, 30, scope, lr=0.3)
    late = small_model[0](x).detach()
    measured = float(scope.data["cka_to_final"].sel(step=0, layer="0"))
    assert measured == pytest.approx(float(ls.cka(early, late)), abs=0.02)
    assert float(scope.data["svcca_to_final"].sel(step=30, layer="0")) == pytest.approx(1, abs=1e-5)
    between = ls.similarity(scope.data, between="layers", measure="cka").sel(step=30)
    direct = float(ls.cka(late, late.relu()))
    assert float(between.sel(layer="0", other_layer="1")) == pytest.approx(direct, abs=0.02)
    over_time = ls.similarity(scope.data, between="steps").sel(layer="0")
    assert float(over_time.sel(step=0, other_step=30)) == pytest.approx(measured)


@pytest.mark.parametrize("measure", ["cka", "svcca", "pwcca"])
def test_similarities_to_the_final_state_carry_standard_errors(small_model, blobs, train, measure):
    x, y = blobs
    with Scope(small_model, blobs, at=schedules.at([0])) as scope:
        train(small_model, x, y, 30, scope, lr=0.3)
    error = scope.data[f"{measure}_to_final_standard_error"].sel(layer="2").values
    assert 1e-3 < error[0] < 0.2
    assert error[1] < 1e-5  # a state is like itself


def test_an_unknown_similarity_is_refused(small_model, blobs):
    data = Scope(small_model, blobs).data
    with pytest.raises(InputError, match="'svcca'"):
        ls.similarity(data, measure="svca")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="no bases"):
        ls.similarity(data.drop_vars("basis"))


class FailsAt:
    needs = frozenset({"parameters"})

    def __init__(self, name, step):
        self.name, self.step = name, step

    def applies_to(self, task):
        return True

    def measure(self, state):
        if state.step >= self.step:
            raise ValueError(f"cannot look at step {state.step}")
        return xr.Dataset({"looked": 1.0})


class Threads:
    """Says on how many threads it measures."""

    def __init__(self, name, needs):
        self.name, self.needs = name, frozenset(needs)

    def applies_to(self, task):
        return True

    def measure(self, state):
        return xr.Dataset({f"threads_{self.name}": torch.get_num_threads()})


@pytest.mark.usefixtures("_three_threads")
@pytest.mark.parametrize(("little", "expected"), [(2**33, 1), (100, 3)])
def test_little_work_on_features_is_done_by_one_thread(small_model, blobs, little, expected, monkeypatch):
    monkeypatch.setattr(threads, "LITTLE", little)
    data = Scope(small_model, blobs, observables=[Threads("features", ["outputs"]), Threads("passes", ["kernel"])]).data
    assert data["threads_features"].values.tolist() == [expected]
    assert data["threads_passes"].values.tolist() == [3]  # the network may be as large as it likes
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("_three_threads")
@pytest.mark.parametrize(("little", "expected"), [(2**33, {1}), (100, {3})])
def test_small_bases_are_compared_by_one_thread(small_model, blobs, little, expected, monkeypatch):
    scope, used = Scope(small_model, blobs), set()

    def looked(_, end):
        used.add(torch.get_num_threads())
        return end.explained

    monkeypatch.setitem(derived.MEASURES, "cka", (looked, "", ""))
    monkeypatch.setattr(threads, "LITTLE", little)
    assert "cka_to_final" in scope.data
    assert used == expected


def test_an_observable_that_raises_is_reported_once_and_missing(small_model, blobs, train, caplog):
    x, y = blobs
    observables = [FailsAt("shy", 2), Progress()]
    with (
        caplog.at_level(logging.WARNING),
        Scope(small_model, blobs, observables=observables, at=schedules.every(1)) as s,
    ):
        train(small_model, x, y, 4, s)
    assert [r.getMessage() for r in caplog.records] == [
        "shy could not be measured and is missing in the record (step 2: ValueError: cannot look at step 2)"
    ]
    assert np.isnan(s.data["looked"].values).tolist() == [False, False, True, True, True]
    assert np.isfinite(s.data["probe_loss"].values).all()
    assert "shy could not be measured" in s.findings()[0].sentence


def test_a_disk_that_fills_up_does_not_stop_the_training(small_model, blobs, train, tmp_path, monkeypatch, caplog):
    x, y = blobs
    scope = Scope(small_model, blobs, observables=[Progress()], at=schedules.every(1), store=tmp_path)
    train(small_model, x, y, 1, scope)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zarr.storage._local._put", full)
    train(small_model, x, y, 2, scope)
    monkeypatch.undo()
    train(small_model, x, y, 1, scope)
    assert scope.data["step"].values.tolist() == [0, 1, 4]
    assert sum("No space left" in r.getMessage() and "store" in r.getMessage() for r in caplog.records) >= 1


def test_nan_activations_are_recorded_and_named(small_model, blobs):
    with torch.no_grad():
        small_model[2].weight[0, 0] = torch.nan
    scope = Scope(small_model, blobs)
    data = scope.data
    assert scope.failures == {}
    assert data["nonfinite_share"].sel(step=0).values.tolist() == pytest.approx([0, 0, 1 / 3])
    assert data["intrinsic_dimension"].isnull().sel(step=0).values.tolist() == [False, False, True]
    warning = scope.findings()[0]
    assert (warning.rule, warning.kind) == ("not_finite", "warning")
    assert "Activations of 2 were NaN or infinite at step 0" in warning.sentence


def test_infinite_inputs_and_a_dead_network_do_not_crash(blobs):
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        model[0].bias.fill_(-1e6)
    x, y = blobs
    dead = Scope(model, (x, y))
    assert dead.failures == {}
    assert "dead" in " ".join(f.sentence for f in dead.findings())
    broken = x.clone()
    broken[0] = torch.inf
    assert Scope(model, (broken, y), simple_models={}).failures == {}


def test_duplicate_probe_examples_are_counted(small_model, blobs):
    x, y = blobs
    data = Scope(small_model, (torch.cat([x, x[:30]]), torch.cat([y, y[:30]]))).data
    assert float(data["distinct_examples"].sel(step=0, layer="0")) == 90


def test_a_second_scope_on_the_same_store_goes_on_where_the_first_stopped(small_model, blobs, train, tmp_path):
    x, y = blobs
    whole = copy.deepcopy(small_model)
    with Scope(whole, blobs, at=schedules.every(2)) as through:
        train(whole, x, y, 8, through)
    with Scope(small_model, blobs, at=schedules.every(2), store=tmp_path) as first:
        train(small_model, x, y, 4, first)
    second = Scope(small_model, blobs, at=schedules.every(2), store=tmp_path)
    assert second.current_step == 4
    train(small_model, x, y, 4, second)
    data = ls.open(tmp_path).data
    assert data["step"].values.tolist() == [0, 2, 4, 6, 8]
    # measured from where the run really began; the momentum of the restarted optimiser differs after step 4
    assert data["weight_distance"].sel(step=4).values == pytest.approx(
        through.data["weight_distance"].sel(step=4).values
    )
    assert float(data["weight_distance"].sel(step=6)[0]) > float(data["weight_distance"].sel(step=4)[0])


def test_steps_that_are_on_record_are_not_measured_again(small_model, blobs, train, tmp_path):
    x, y = blobs
    again = copy.deepcopy(small_model)
    with Scope(small_model, blobs, at=schedules.every(2), store=tmp_path) as first:
        train(small_model, x, y, 6, first)
    before = first.data.load()
    with Scope(again, blobs, at=schedules.every(2), store=tmp_path, start=0) as second:
        train(again, x, y, 8, second)
    assert second.data["step"].values.tolist() == [0, 2, 4, 6, 8]
    assert second.data["probe_loss"].values[:4].tolist() == before["probe_loss"].values.tolist()


@pytest.mark.parametrize("changed", ["model", "probe", "layers"])
def test_a_store_of_another_run_is_refused_with_the_remedy(changed, small_model, blobs, tmp_path):
    Scope(small_model, blobs, store=tmp_path)
    x, y = blobs
    model = nn.Sequential(nn.Linear(6, 13), nn.ReLU(), nn.Linear(13, 3)) if changed == "model" else small_model
    probe = (x + 1, y) if changed == "probe" else blobs
    layers = ["0"] if changed == "layers" else None
    with pytest.raises(StoreError, match=r"was made with (another|other) .*choose another folder as store="):
        Scope(model, probe, layers=layers, store=tmp_path)


def test_custom_observables_replace_the_default(small_model, blobs):
    data = Scope(small_model, blobs, observables=[Movement(), WeightSpectra()]).data
    assert "weight_distance" in data
    assert "basis" not in data


def test_simple_models_form_a_ladder(small_model, blobs):
    from sklearn.neighbors import KNeighborsClassifier

    x, y = blobs
    ladder = {"knn": KNeighborsClassifier(), "mine": torch.zeros(90, dtype=torch.long)}
    data = Scope(small_model, blobs, train=(x, y), simple_models=ladder).data
    assert data["simple_model"].values.tolist() == ["knn", "mine"]
    assert float(data["simple_information"].sel(simple_model="mine", step=0)) == pytest.approx(0, abs=1e-9)
    assert data.attrs["simple_models"]["knn"]["fitted_on"] == "90 training examples"


def test_without_training_data_the_linear_model_is_cross_fitted_and_says_so(small_model, blobs):
    data = Scope(small_model, blobs).data
    assert data.attrs["simple_models"]["linear"]["fitted_on"] == "5 folds of the probe itself (90 examples)"
    assert float(data["simple_information"].isel(step=0, simple_model=0)) > 1


def test_a_compiled_model_is_watched_through_its_original(small_model, blobs):
    compiled = torch.compile(small_model, backend="eager")
    data = Scope(compiled, blobs).data  # pyright: ignore[reportArgumentType]
    assert data["layer"].values.tolist() == ["0", "1", "2"]
    assert data["parameter"].values.tolist()[0] == "0.weight"


def test_same_seed_same_record(small_model, blobs):
    assert Scope(small_model, blobs).data.identical(Scope(small_model, blobs).data)


def test_logged_tensors_do_not_keep_the_graph_alive(small_model, blobs):
    scope = Scope(small_model, blobs, at=schedules.at([0]))
    loss = small_model(blobs[0]).sum()
    scope.step(loss=loss)
    assert scope._scalars["loss"].grad_fn is None


def test_an_empty_record_cannot_be_reported(small_model, blobs):
    scope = Scope(small_model, blobs, at=schedules.at([5]))
    with pytest.raises(InputError, match="nothing has been measured yet"):
        scope.report("x.html")


def test_a_record_in_memory_needs_to_be_told_where_to_write(small_model, blobs, tmp_path):
    scope = Scope(small_model, blobs)
    with pytest.raises(InputError, match=r"report\('run.html'\)"):
        scope.report()
    assert scope.report(tmp_path / "r.html") == tmp_path / "r.html"
