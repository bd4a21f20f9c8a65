import numpy as np
import pytest
import xarray as xr

from learnscope.errors import InputError, StoreError
from learnscope.laboratory import Grid, Settings, complete_seeds, grid, simulate_all
from learnscope.laboratory.combine import combine, places
from learnscope.laboratory.encoding import decoded, encoded, unusable


class Sizes(Settings):
    width: Grid[int] = (2, 4)
    law: Grid[str] = ("normal", "student")


def stored(data, **facts):
    return decoded(encoded(data, facts), "a test")


def results(make, settings=None, seeds=(0, 1)):
    settings = settings or Sizes()
    return {place: stored(make(point, seed)) for place, point, seed in places(settings, grid(settings), seeds)}


def test_swept_axes_and_seeds_become_dimensions_with_their_values():
    data = combine(Sizes(), (0, 7), results(lambda p, s: xr.Dataset({"value": float(p.width * s)}), seeds=(0, 7)))
    assert data["value"].dims == ("width", "law", "seed")
    assert float(data["value"].sel(width=4, law="student", seed=7)) == 28.0


def test_dimensions_and_attributes_of_the_points_stay():
    def make(point, seed):
        return xr.Dataset({"curve": ("step", np.arange(3) * point.width, {"units": "bits"})}, {"step": [1, 10, 100]})

    data = combine(Sizes(), (0, 1), results(make))
    assert data["curve"].sel(width=4, law="normal", seed=0, step=100) == 8
    assert data["curve"].dtype.kind == "i"
    assert data["curve"].attrs == {"units": "bits"}


def test_points_of_different_size_are_padded_with_nan():
    data = combine(
        Sizes(), (0, 1), results(lambda p, s: xr.Dataset({"spectrum": ("component", np.ones(p.width, int))}))
    )
    assert data["spectrum"].sizes["component"] == 4
    assert int(data["spectrum"].sel(width=2).isnull().sum()) == 2 * 2 * 2


def test_different_values_of_a_dimension_are_joined_in_order():
    def make(point, seed):
        steps = [0, 5] if point.width == 2 else [0, 3, 9]
        return xr.Dataset({"loss": ("step", np.array(steps, float))}, {"step": steps})

    data = combine(Sizes(), (0, 1), results(make))
    assert data["step"].values.tolist() == [0, 3, 5, 9]
    assert data["loss"].sel(width=4, law="normal", seed=0).dropna("step").values.tolist() == [0.0, 3.0, 9.0]


def test_missing_failed_and_not_finite_points_are_told_apart():
    some = results(lambda p, s: xr.Dataset({"value": 1.0}))
    place = {name: k for k, name in enumerate(some)}
    first, second, third = list(place)[:3]
    del some[first], some[second]
    some[third] = stored(xr.Dataset({"value": np.nan}), finite=False)
    data = combine(Sizes(), (0, 1), some, failed=[second])
    assert data["point_status"].values[first] == 0
    assert data["point_status"].values[second] == 3
    assert data["point_status"].values[third] == 2
    assert np.isnan(data["value"].values[first])


def test_booleans_stay_booleans_once_incomplete_seeds_are_left_out():
    some = results(lambda p, s: xr.Dataset({"reached": True, "rank": p.width}), seeds=(0, 1, 2))
    del some[0, 0, 1]
    data, excluded = complete_seeds(combine(Sizes(), (0, 1, 2), some))
    assert excluded == 1
    assert data["seed"].values.tolist() == [0, 2]
    assert data["reached"].dtype == bool
    assert data["rank"].dtype.kind == "i"


def test_nothing_at_all_combines_to_a_table_of_what_is_missing():
    data = combine(Sizes(), (0,), {})
    assert data["point_status"].shape == (2, 2, 1)
    assert not data["point_status"].any()


@pytest.mark.parametrize("value", [1.5, 3, True, np.float32(2.0), np.array([[1, 2]]), np.array([], float)])
def test_numbers_come_back_as_they_were_stored(value):
    array = np.asarray(value)
    dims = tuple("ab"[: array.ndim])
    again = stored(xr.Dataset({"value": (dims, array)})).arrays["value"]
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)


def test_an_array_in_fortran_order_comes_back_as_it_was():
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(stored(xr.Dataset({"value": (("a", "b"), array)})).arrays["value"], array)


@pytest.mark.parametrize("value", [np.array(["text"]), np.array([1j]), np.array([object()])])
def test_what_is_not_a_number_is_refused_with_the_remedy(value):
    with pytest.raises(InputError, match="must return numbers or booleans"):
        encoded(xr.Dataset({"value": ("a", value)}), {})


def test_nan_makes_a_point_unusable_unless_it_has_a_meaning():
    bad, fine = xr.Variable("a", [1.0, np.nan]), xr.Variable("a", [np.nan], {"missing": "never reached"})
    assert unusable(xr.Dataset({"bad": bad})) == ["bad"]
    assert unusable(xr.Dataset({"fine": fine, "infinite": np.inf})) == []


@pytest.mark.parametrize("content", [b"", b"not safetensors", encoded(xr.Dataset({"a": 1.0}), {})[:-3]])
def test_a_damaged_file_is_named(content):
    with pytest.raises(StoreError, match=r"points/x is not a point's result .*: delete it"):
        decoded(content, "points/x")


def test_a_whole_experiment_combines(experiment):
    data = simulate_all(experiment, experiment.settings(dim=7), seeds=[3, 5])
    assert data["sample"].dims == ("shift", "seed", "draw")
    assert data["seed"].values.tolist() == [3, 5]
    np.testing.assert_allclose(data["sample"].mean("draw"), data["mean"])
