"""Numbers and names survive the way into the page, and nothing breaks out of a script element."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from learnscope.report.encoding import compact, quantised, script_json


@given(st.text())
def test_script_json_is_json_and_cannot_end_or_comment_out_a_script(text):
    encoded = script_json({"name": text})
    assert json.loads(encoded)["name"] == text
    for forbidden in ("<", ">", "&", "\u2028", "\u2029"):
        assert forbidden not in encoded


def test_script_json_refuses_what_is_not_json():
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json(float("nan"))


@given(arrays(np.float64, 8, elements=st.floats(-1e30, 1e30)))
def test_compact_keeps_five_significant_digits(values):
    np.testing.assert_allclose(np.array(compact(values), float), values, rtol=1e-4)


def test_compact_writes_missing_values_as_none_and_whole_numbers_without_a_point():
    assert compact(np.array([np.nan, np.inf, -np.inf, 3.0, 0.25])) == [None, None, None, 3, 0.25]
    assert json.dumps(compact(np.array([True, False]))) == "[1, 0]"
    assert compact(np.array(["a", "b"], object)) == ["a", "b"]


@given(arrays(np.float64, (2, 5), elements=st.floats(-1e6, 1e6)))
def test_quantised_values_come_back_to_one_part_in_30000(values):
    code = quantised(values)
    back = np.frombuffer(base64.b64decode(code["base64"]), "<i2").reshape(values.shape) * code["scale"]
    assert np.abs(back - values).max() <= np.abs(values).max() / 30_000 + 1e-300


def test_quantised_marks_missing_values():
    code = quantised(np.array([np.nan, 1.0]))
    assert np.frombuffer(base64.b64decode(code["base64"]), "<i2")[0] == -32768
