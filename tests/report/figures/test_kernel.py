"""The figures of the tangent kernel show the steps at which it was looked at, and no others."""

from __future__ import annotations

import numpy as np
import pytest

from learnscope.report.chart import Cells, Chart, Figure, Lines
from learnscope.report.figures.common import HOLLOW
from learnscope.report.figures.kernel import MOST_VIEWS, cosines, kernel
from learnscope.report.figures.kernel_components import kernel_components
from learnscope.report.figures.regime import regime


def drawn(figure: Figure | None) -> tuple[Chart, ...]:
    assert figure is not None
    return figure.charts


def series(chart: Chart, choice: int = 0):
    view = chart.choices[choice].views[0]
    assert isinstance(view, Lines)
    return view.series


def looked(data):
    return data.isel(step=np.flatnonzero(np.isfinite(data["kernel_trace"].values)))


def test_the_heat_map_shows_cosines_at_every_look(record):
    data = record()
    heat, _ = drawn(kernel(data))
    seen = looked(data)
    assert heat.slider is not None
    np.testing.assert_array_equal(heat.slider.values, seen["step"])
    for view, values in zip(heat.choices[0].views, seen["kernel"].values, strict=True):
        assert isinstance(view, Cells)
        np.testing.assert_allclose(view.values, cosines(values.astype(float)), atol=5e-3)
    assert heat.choices[0].colours is not None
    assert heat.choices[0].colours.high == 1


def test_examples_are_named_by_their_class_and_number(record):
    data = record()
    data.attrs["class_names"] = ["cat", "dog", "owl"]
    names = drawn(kernel(data))[0].x.values
    assert names is not None
    assert names[:3].tolist() == ["cat #0", "dog #1", "owl #2"]
    bare = drawn(kernel(record(task=None)))[0].x.values
    assert bare is not None
    assert bare[:2].tolist() == ["#0", "#1"]
    targets = drawn(kernel(record(task="regression")))[0].x.values
    assert targets is not None
    assert targets[0].endswith("#0")


def test_alignment_is_that_of_the_network_and_of_its_layers(record):
    data = record()
    chart = drawn(kernel(data))[1]
    seen = looked(data)
    assert [choice.name for choice in chart.choices] == ["centred alignment", "alignment", "effective rank"]
    network, *layers = series(chart)
    np.testing.assert_array_equal(network.y, seen["kernel_centred_alignment"])
    assert [line.name for line in layers] == ["conv1", "conv2", "head"]
    np.testing.assert_array_equal(layers[2].y, seen["layer_kernel_centred_alignment"][:, 2])
    assert [choice.name for choice in drawn(kernel(record(task=None)))[1].choices] == ["effective rank"]


def test_a_long_record_is_thinned_and_says_so(record):
    figure = kernel(record(steps=range(200), examples=100))
    assert figure is not None
    assert len(figure.charts[0].choices[0].views) == MOST_VIEWS
    assert any(f"{MOST_VIEWS} of the 101" in note for note in figure.caption.notes)
    assert any("101 of 200 steps" in note for note in figure.caption.notes)


def test_one_look_has_a_heat_map_only(record):
    assert len(drawn(kernel(record(steps=[0])))) == 1


def test_cosines_of_an_example_without_gradient_are_missing():
    values = cosines(np.array([[0.0, 0.0], [0.0, 2.0]]))
    assert np.isnan(values).tolist() == [[True, True], [True, False]]


def test_components_show_the_first_look_and_the_last(record):
    data = record()
    figure = kernel_components(data)
    chart, speeds = drawn(figure)
    seen = looked(data)
    assert [choice.name for choice in chart.choices] == ["cumulative share", "share of the label", "information"]
    start, end = series(chart)
    assert (start.name, end.name) == ("step 0", "step 256")
    np.testing.assert_array_equal(start.y, seen["label_share_cumulative"][0])
    np.testing.assert_array_equal(end.y, seen["label_share_cumulative"][-1])
    information = series(chart, 2)[1]
    np.testing.assert_allclose(information.high - information.y, seen["component_information_standard_error"][-1])
    np.testing.assert_array_equal(series(speeds)[0].y, data["mode_learning_speed"])
    assert figure is not None
    assert HOLLOW in figure.caption.notes


def test_modes_that_were_not_learned_leave_a_gap(record):
    data = record()
    data["mode_learning_speed"][2] = 0.0
    speeds = series(drawn(kernel_components(data))[1])[0].y
    assert np.isnan(speeds[2])
    data["mode_learning_speed"][:] = 0.0
    assert len(drawn(kernel_components(data))) == 1


def test_regime_shows_what_the_rule_rests_on_and_each_layer(record):
    data = record()
    lines, cells = drawn(regime(data))
    seen = looked(data)
    change, gap, moved = series(lines)
    np.testing.assert_array_equal(change.y, seen["kernel_change"])
    np.testing.assert_array_equal(gap.y, seen["linearisation_gap"])
    np.testing.assert_array_equal(moved.y, seen["network_weight_distance"])
    assert [(line.name, line.y[0]) for line in lines.choices[0].background] == [("small", 0.2), ("of order one", 0.5)]
    assert [choice.name for choice in cells.choices] == ["regime", "kernel change", "weight movement"]
    view = cells.choices[0].views[0]
    assert isinstance(view, Cells)
    np.testing.assert_array_equal(view.values, seen["layer_regime"].values.T)


def test_a_network_without_a_linearisation_shows_the_rest(record):
    data = record()
    data["linearisation_gap"][:] = np.nan
    assert [line.name for line in series(drawn(regime(data))[0])] == ["kernel change", "weight movement"]


@pytest.mark.parametrize("draw", [kernel, kernel_components, regime])
def test_without_kernels_nothing_is_drawn(record, draw):
    data = record()
    data["kernel_trace"][:] = np.nan
    assert draw(data) is None
    assert draw(data.drop_vars("kernel_trace")) is None
