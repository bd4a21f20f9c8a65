"""What is left out of a page is left out evenly, keeps both ends, and is said."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from learnscope.report.thinning import log_spread, omitted, spread


@given(st.integers(2, 5000), st.integers(2, 300))
def test_spreads_are_increasing_within_bounds_and_keep_both_ends(n, most):
    for index in (spread(n, most), log_spread(n, most)):
        assert index[0] == 0
        assert index[-1] == n - 1
        assert len(index) <= most
        assert (np.diff(index) > 0).all()


def test_a_note_is_made_only_where_something_is_left_out():
    assert omitted(5, 5, "layers") == ()
    assert "5 of the 9 layers" in omitted(5, 9, "layers")[0]
