import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnscope.laboratory import at_least, at_most, between, within


@given(predicted=st.floats(-1e6, 1e6), share=st.floats(0, 2))
def test_a_relative_band_holds_the_prediction_and_is_as_wide_as_it_says(predicted, share):
    low, high = within(share).ends(predicted)
    assert low <= predicted <= high
    assert math.isclose(high - low, 2 * share * abs(predicted), abs_tol=1e-9)


def test_one_sided_bands_reach_to_infinity():
    assert at_least(2.0).ends(0.0) == (2.0, math.inf)
    assert at_most(2.0).ends(0.0) == (-math.inf, 2.0)
    assert between(1.0, 2.0).ends(9.0) == (1.0, 2.0)


@pytest.mark.parametrize("arguments", [{}, {"relative": 0.1, "absolute": 0.1}])
def test_a_half_width_is_given_once(arguments):
    with pytest.raises(TypeError, match="one half-width"):
        within(**arguments)
