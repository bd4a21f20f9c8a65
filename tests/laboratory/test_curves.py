import numpy as np
import xarray as xr

from learnscope.laboratory import median_over_seeds, medians


def test_a_line_is_the_median_with_a_band_over_all_seeds():
    values = xr.DataArray([[1.0, 9.0], [2.0, 8.0], [6.0, 7.0]], dims=("seed", "step"))
    line = median_over_seeds(values, "loss", "category 0", "dashed")
    np.testing.assert_array_equal([line.low, line.y, line.high], [[1, 7], [2, 8], [6, 9]])
    assert (line.name, line.style) == ("loss", "dashed")


def test_seeds_without_a_number_are_left_out_of_the_band():
    line = median_over_seeds(xr.DataArray([[1.0], [np.nan], [3.0]], dims=("seed", "step")), "loss", "category 0")
    assert (line.low[0], line.y[0], line.high[0]) == (1, 2, 3)


def test_lines_stand_in_the_order_of_their_names_each_with_a_colour():
    values = xr.DataArray([[[1.0, 2.0], [3.0, 4.0]]], dims=("seed", "kind", "step"), coords={"kind": ["a", "b"]})
    lines = medians(values, "kind", {"b": "second", "a": "first"}, dashed=["a"]).series
    assert [(line.name, line.y.tolist(), line.colour, line.style) for line in lines] == [
        ("second", [3, 4], "category 0", "line"),
        ("first", [1, 2], "category 1", "dashed"),
    ]
