import copy

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import learnscope
from learnscope.observables import IntrinsicDimension, default
from learnscope.observables.observable import Occasional
from learnscope.scope import schedules
from learnscope.scope.looks import is_due, last_look
from learnscope.scope.scope import Scope


def looked(steps):
    return [step for k, step in enumerate(steps) if last_look(steps[: k + 1]) == step]


def dimension_known(scope):
    data = scope.data
    return data["step"].values[np.isfinite(data["intrinsic_dimension"].values).any(axis=1)].tolist()


def test_a_close_look_is_due_when_the_step_has_quadrupled_or_after_a_pause():
    assert looked(range(4000)) == [0, 1, 4, 16, 64, 256, 1024, 2024, 3024]
    assert looked([0, 1100, 2200]) == [0, 1100, 2200]
    assert is_due(5, None)
    assert last_look([]) is None


@given(st.sets(st.integers(0, 5000), min_size=1).map(sorted))
def test_looks_never_lie_further_apart_than_the_rule_allows_and_the_schedule_makes(steps):
    seen = looked(steps)
    for step in steps:
        before = max(look for look in seen if look <= step)
        assert step < max(4 * before, 1) or step == before
        assert step < before + 1000


def test_by_default_what_rests_on_neighbours_is_measured_at_close_looks_and_the_rest_always(small_model, blobs, train):
    with Scope(small_model, blobs, at=schedules.every(1)) as scope:
        train(small_model, *blobs, 5, scope)
        assert dimension_known(scope) == [0, 1, 4]
    assert dimension_known(scope) == [0, 1, 4, 5]
    data = scope.data
    np.testing.assert_array_equal(np.isfinite(data["kernel_trace"]), np.isfinite(data["distinct_examples"][:, 0]))
    np.testing.assert_array_equal(np.isfinite(data["knn_accuracy"]), np.isfinite(data["intrinsic_dimension"]))
    assert np.isfinite(data["participation_ratio"].values).all()
    assert scope.failures == {}


def test_the_last_state_is_looked_at_closely_even_if_it_was_measured_already(small_model, blobs, train):
    copies = [copy.deepcopy(small_model) for _ in range(2)]
    scopes = [Scope(model, blobs, at=schedules.at(at)) for model, at in zip(copies, [[0, 1, 2], [0, 1]], strict=True)]
    for model, scope in zip(copies, scopes, strict=True):
        train(model, *blobs, 2, scope)
        scope.close()
    glanced, direct = (scope.data for scope in scopes)
    xr.testing.assert_equal(glanced, direct)
    assert np.isfinite(glanced["intrinsic_dimension"][-1]).all()
    assert glanced["step"].values.tolist() == [0, 1, 2]


def test_it_is_not_looked_at_again_with_other_weights_or_after_an_exception(small_model, blobs, train, tmp_path):
    scope = Scope(small_model, blobs, at=schedules.every(1), store=tmp_path)
    train(small_model, *blobs, 2, scope)
    scope.close(measure=False)
    assert dimension_known(scope) == [0, 1]
    trained = copy.deepcopy(small_model.state_dict())
    with torch.no_grad():
        small_model[0].weight += 1
    scope.close()
    assert dimension_known(scope) == [0, 1]
    small_model.load_state_dict(trained)
    scope.close()
    assert dimension_known(scope) == [0, 1, 2]
    assert dimension_known(learnscope.open(tmp_path)) == [0, 1, 2]


def test_a_network_that_diverged_is_looked_at_in_vain_so_that_no_earlier_look_passes_for_the_last(
    small_model, blobs, train
):
    with Scope(small_model, blobs, at=schedules.every(1)) as scope:
        train(small_model, *blobs, 1, scope)
        with torch.no_grad():
            small_model[0].weight.fill_(torch.nan)
        scope.step()
    assert scope.data["distinct_examples"][-1].values.tolist() == [0.0, 0.0, 0.0]
    assert dimension_known(scope) == [0, 1]


def test_nothing_is_added_where_nothing_was_left_out(small_model, blobs, train):
    with Scope(small_model, blobs, observables=[IntrinsicDimension()], at=schedules.every(1)) as scope:
        train(small_model, *blobs, 2, scope)
    assert "amended_at" not in scope.data.attrs


def test_an_observable_that_is_asked_for_is_measured_every_time(small_model, blobs, train):
    with Scope(small_model, blobs, observables=[IntrinsicDimension()], at=schedules.every(1)) as scope:
        train(small_model, *blobs, 3, scope)
    assert dimension_known(scope) == [0, 1, 2, 3]


def test_a_second_scope_goes_on_with_the_looks_of_the_first(small_model, blobs, train, tmp_path):
    more = {"observables": [Occasional(IntrinsicDimension())], "at": schedules.every(1), "store": tmp_path}
    first = Scope(small_model, blobs, **more)
    train(small_model, *blobs, 5, first)
    first.close(measure=False)
    second = Scope(small_model, blobs, **more)
    train(small_model, *blobs, 12, second)
    assert dimension_known(second) == [0, 1, 4, 16]


@pytest.mark.parametrize("task", ["classification", "regression", None])
def test_an_occasional_observable_is_the_one_it_holds_in_every_other_respect(task):
    for observable in default(4, 4):
        if isinstance(observable, Occasional):
            inner = observable.observable
            assert (observable.name, observable.needs) == (inner.name, inner.needs)
            assert observable.applies_to(task) == inner.applies_to(task)
