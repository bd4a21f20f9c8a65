"""The tangent kernel in the scope: what it is of, when it is looked at, and that it can always be compared with."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from learnscope.errors import InputError
from learnscope.kernels.tangent import reference
from learnscope.observables import KernelGeometry, KernelKnowledge, Regime
from learnscope.observables.alignment import alignment
from learnscope.observables.kernel_movement import kernel_change
from learnscope.scope import schedules
from learnscope.scope.replay import replay
from learnscope.scope.scope import Scope
from learnscope.scope.setup import prepare
from learnscope.scope.snapshot import Snapshot
from learnscope.scope.store import Store
from learnscope.scope.tangent import MOST_EXAMPLES, spread_over_labels

KERNELS = (KernelGeometry(), KernelKnowledge(), Regime())


def watched(model, probe, **more):
    return Scope(model, probe, observables=KERNELS, **{"at": schedules.every(1), **more})


def tangent_of(model, probe, predict=None, budget=2**30):
    setup = prepare(
        model, probe, train=None, observables=KERNELS, layers=None, budget=budget, predict=predict, positions="mean",
        simple_models=None, class_names=None, seed=0,
    )  # fmt: skip
    return setup.watched.tangent, setup.left_out


def test_kernels_are_those_of_the_definition_for_every_kind_of_network(case):
    model, (x, y) = case
    tangent, left_out = tangent_of(model, (x, y))
    assert left_out == {}
    model.eval()
    signs = tangent.signs.double()
    expected = reference.tangent_kernel(model, x[tangent.examples], outputs=lambda f: f @ signs)
    torch.testing.assert_close(tangent.initial.sum(0), expected)
    torch.testing.assert_close(tangent.kernels(), tangent.initial)


def test_the_linearisation_is_that_of_the_definition_for_every_kind_of_network(case):
    model, (x, y) = case
    tangent, _ = tangent_of(model, (x, y))
    if tangent.way is None:
        pytest.skip("this network has no forward mode, and cannot be differentiated twice")
    model.eval()
    initial = {name: p.detach().clone() for name, p in model.named_parameters()}
    with torch.no_grad():
        for p in model.parameters():
            p += 1e-5 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1), dtype=p.dtype)
    found = tangent.linearisation(initial)
    torch.testing.assert_close(found.outputs, model(x[tangent.examples[::2]]).detach())
    model.load_state_dict(model.state_dict() | initial)
    torch.testing.assert_close(found.initial, model(x[tangent.examples[::2]]).detach())
    # of second order in a step of 1e-5
    change = found.outputs - found.initial
    torch.testing.assert_close(found.linearised - found.initial, change, rtol=1e-2, atol=1e-8)


def test_quantities_of_a_scope_are_those_of_the_pure_functions(small_model, blobs, train):
    scope = watched(small_model, blobs)
    before, _ = tangent_of(copy.deepcopy(small_model), blobs)
    train(small_model, *blobs, 4, scope)
    data, y = scope.data, blobs[1][before.examples]
    assert scope.failures == {}
    now = tangent_of(small_model, blobs)[0].initial
    assert data["kernel_example"].values.tolist() == before.examples.tolist()
    last = data.isel(step=-1)
    assert float(last["kernel_change"]) == pytest.approx(float(kernel_change(now.sum(0), before.initial.sum(0))))
    assert last["layer_kernel_change"].values == pytest.approx(kernel_change(now, before.initial).numpy())
    assert float(last["kernel_centred_alignment"]) == pytest.approx(float(alignment(now.sum(0), y, centred=True)))
    assert float(last["kernel_trace"]) == pytest.approx(float(now.sum(0).diagonal().mean()), rel=1e-5)
    assert last["kernel_eigenvalue"].values == pytest.approx(
        torch.linalg.eigvalsh(now.sum(0).double()).flip(0)[:10].numpy() / len(y), rel=1e-4
    )
    np.testing.assert_array_equal(last["kernel"].values, now.sum(0).numpy())
    assert last["label_share"].values.sum() == pytest.approx(float(last["label_share_cumulative"][-1]))
    assert float(data["kernel_distance"][0]) == float(data["layer_kernel_change"][0].sum()) == 0
    assert float(last["kernel_velocity"]) > 0
    assert 0 < float(last["linearisation_gap"]) < 1


def test_the_final_state_is_looked_at_too(small_model, blobs, train):
    with watched(small_model, blobs, at=schedules.at([0, 1, 2])) as scope:
        train(small_model, *blobs, 2, scope)
        before = np.isfinite(scope.data["kernel_trace"].values).tolist()
        train(small_model, *blobs, 1, scope)
    assert before == [True, True, False]
    assert np.isfinite(scope.data["kernel_trace"].values).tolist() == [True, True, False, True]
    assert np.isfinite(scope.data["mode_residual"].values).all()


def test_a_second_scope_on_the_store_measures_from_the_first_kernel(small_model, blobs, train, tmp_path):
    first = watched(small_model, blobs, store=tmp_path)
    train(small_model, *blobs, 4, first)
    first.close(measure=False)
    second = watched(small_model, blobs, store=tmp_path, seed=7)  # the combination of outputs stays that of the record
    train(small_model, *blobs, 12, second)
    assert second.failures == {}
    resumed = second.data
    assert resumed["step"].values.tolist() == list(range(17))
    looks = np.isfinite(resumed["kernel_trace"].values)
    assert np.flatnonzero(looks).tolist() == [0, 1, 4, 16]
    states = [Store.open(tmp_path).initial(), small_model.state_dict()]
    again = replay(small_model, states, blobs, observables=KERNELS, steps=[0, 16]).data
    for name in (
        "kernel_distance",
        "kernel_trace",
        "label_share",
        "layer_regime",
        "linearisation_gap",
        "mode_residual",
    ):
        np.testing.assert_array_equal(again[name].values, resumed[name].isel(step=[0, -1]).values)


def test_examples_hold_the_classes_in_equal_numbers():
    y = torch.tensor([0] * 50 + [1] * 50 + [2] * 3)
    chosen = spread_over_labels(y, 103, 23)
    assert y[chosen].bincount().tolist() == [10, 10, 3]
    assert (y[chosen].diff() >= 0).all()
    assert len(spread_over_labels(y, 103, 500)) == 103
    targets = torch.randn(40, generator=torch.Generator().manual_seed(0))
    assert (targets[spread_over_labels(targets, 40, 20)].diff() >= 0).all()
    assert spread_over_labels(torch.ones(40, 2), 40, 4).tolist() == [0, 13, 26, 39]


@pytest.mark.parametrize(
    ("outputs", "y"),
    [
        (1, torch.arange(40) % 2),
        (1, torch.linspace(-1, 1, 40)),
        (3, torch.randn(40, 3, generator=torch.Generator().manual_seed(0))),
        (3, None),
        (3, torch.cat([torch.zeros(37), torch.ones(3)]).long()),
    ],
    ids=["single logit", "one target", "three targets", "no labels", "a tiny class"],
)
def test_every_kind_of_label(outputs, y, train):
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    first = nn.Linear(5, 8)
    model = nn.Sequential(first, nn.ReLU(), nn.Linear(8, outputs))
    scope = watched(model, x if y is None else (x, y))
    with torch.no_grad():
        first.weight += 0.1
    scope.step()
    data = scope.data
    assert scope.failures == {}
    assert np.isfinite(data["kernel_change"].values).all()
    assert np.isfinite(data["linearisation_gap"].values).tolist() == [False, True]
    assert ("kernel_alignment" in data) == ("label_share" in data) == (y is not None)
    assert ("component_information" in data) == (y is not None and not y.is_floating_point())
    if outputs == 1:
        assert scope._store.attributes["tangent_kernel"]["signs"] == [1]


def test_inputs_in_a_dictionary_and_a_prediction_of_one_s_own(small_model, blobs):
    x, y = blobs
    expected, _ = tangent_of(small_model, blobs)

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = small_model

        def forward(self, *, image):
            return {"logits": self.inner(image)}

    found, left_out = tangent_of(Named(), ({"image": x}, y), predict=lambda model, x: model(**x)["logits"])
    assert left_out == {}
    assert list(found.layers) == [f"inner.{name}" for name in expected.layers]
    torch.testing.assert_close(found.initial, expected.initial)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype, small_model, blobs):
    x, y = blobs
    model = small_model.to(dtype)
    scope = watched(model, (x.to(dtype), y))
    with torch.no_grad():
        model[0].weight += 0.1
    scope.step()
    assert scope.failures == {}
    tangent, _ = tangent_of(model, (x.to(dtype), y))
    single = copy.deepcopy(model).float()
    expected = reference.tangent_kernel(
        single, x.to(dtype).float()[tangent.examples], outputs=lambda f: f @ tangent.signs.to(f)
    )
    torch.testing.assert_close(tangent.initial.sum(0).double(), expected, rtol=1e-4, atol=1e-4)
    assert next(model.parameters()).dtype == dtype
    assert np.isfinite(scope.data["linearisation_gap"].values[1])


def test_a_network_that_diverged_is_missing_and_no_failure(small_model, blobs):
    scope = watched(small_model, blobs)
    with torch.no_grad():
        small_model[0].weight[0, 0] = torch.nan
    scope.step()
    data = scope.data
    assert scope.failures == {}
    for name in ("kernel_distance", "kernel_alignment", "label_share", "network_regime", "layer_regime"):
        assert np.isnan(data[name].values[1]).all(), name


def test_a_network_that_begins_with_nan_is_missing(small_model, blobs):
    with torch.no_grad():
        small_model[0].weight[0, 0] = torch.nan
    scope = watched(small_model, blobs)
    assert scope.failures == {}
    assert np.isnan(scope.data["kernel_trace"].values).all()


def test_a_model_without_a_tangent_kernel_is_recorded_with_the_reason(blobs, caplog, tmp_path):
    scope = Scope(nn.Linear(6, 3).requires_grad_(False), blobs, store=tmp_path)
    assert scope.failures == {}
    assert caplog.records == []
    assert "requires gradients" in scope.data.attrs["left_out"]["the tangent kernel"]
    assert "kernel_trace" not in scope.data
    assert "probe_loss" in scope.data
    assert "the tangent kernel" in scope.report().read_text()


def test_layers_that_are_frozen_under_way_are_told(small_model, blobs):
    scope = watched(small_model, blobs)
    small_model[0].requires_grad_(False)
    scope.step()
    assert set(scope.failures) == {"tangent_kernel", "kernel_components", "regime"}
    assert all("record the changed model with a new scope" in reason for reason in scope.failures.values())
    assert np.isfinite(scope.data["kernel_trace"].values).tolist() == [True, False]


def test_a_budget_too_small_for_a_block_is_told():
    wide = nn.Sequential(nn.Linear(50, 200), nn.Linear(200, 3))
    x = torch.randn(40, 50, generator=torch.Generator().manual_seed(0))
    tangent, left_out = tangent_of(wide, (x, torch.arange(40) % 3), budget=70_000)
    assert tangent is None
    assert "70,000 bytes" in left_out["the tangent kernel"]


def test_the_parameters_of_a_model_are_not_touched(small_model, blobs):
    weights = {name: (p, p._version) for name, p in small_model.named_parameters()}
    hooks = [len(m._forward_hooks) for m in small_model.modules()]
    scope = watched(small_model, blobs)
    scope.step()
    for name, p in small_model.named_parameters():
        assert weights[name] == (p, p._version)
        assert p.grad is None
    assert [len(m._forward_hooks) for m in small_model.modules()] == hooks
    assert scope.data.sizes["kernel_example"] == MOST_EXAMPLES


def test_asking_for_kernels_that_nobody_looks_at(small_model, blobs):
    setup = prepare(
        small_model, blobs, train=None, observables=(), layers=None, budget=2**30, predict=None, positions="mean",
        simple_models=None, class_names=None, seed=0,
    )  # fmt: skip
    parameters = dict(small_model.named_parameters())
    with pytest.raises(InputError, match="an observable that needs 'kernel'"):
        _ = Snapshot(setup.watched, 0, parameters, parameters, None).kernels
