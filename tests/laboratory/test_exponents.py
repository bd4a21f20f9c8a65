import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from learnscope.laboratory.exponents import exponent, local_exponents

SIZES = np.array([3, 10, 40, 90])


def powers(power, factor=1.0):
    return xr.DataArray(factor * SIZES.astype(float) ** power, dims="n", coords={"n": SIZES})


@settings(deadline=None)
@given(power=st.floats(-3, 3), factor=st.floats(1e-6, 1e6))
def test_a_power_law_has_its_exponent_everywhere_whatever_its_factor(power, factor):
    values = powers(power, factor)
    assert float(exponent(values, "n")) == pytest.approx(power, abs=1e-9)
    assert local_exponents(values, "n").values == pytest.approx(np.full(3, power), abs=1e-9)


def test_other_dimensions_stay():
    both = xr.concat([powers(1), powers(-2)], dim="seed")
    assert exponent(both, "n").values == pytest.approx([1, -2])
    assert local_exponents(both, "n").dims == ("seed", "n")


def test_local_exponents_lie_at_geometric_means():
    assert local_exponents(powers(1), "n")["n"].values == pytest.approx([30**0.5, 20, 60])


def test_the_fit_is_least_squares_on_logarithms():
    values = powers(1) * xr.DataArray([1, 2, 1, 3], dims="n")
    expected = np.polyfit(np.log(SIZES), np.log(values.values), 1)[0]
    assert float(exponent(values, "n")) == pytest.approx(expected)
