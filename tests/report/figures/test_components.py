"""Principal components keep their geometry, do not flip from step to step, and say how much they explain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import pdist

from learnscope.report.chart import Chart, Points
from learnscope.report.figures.components import aligned, components


def chart_of(data) -> Chart:
    figure = components(data)
    assert figure is not None
    return figure.charts[0]


def places(chart: Chart, choice: int, frame: int) -> np.ndarray:
    view = chart.choices[choice].views[frame]
    assert isinstance(view, Points)
    return view.places


def test_the_last_step_shows_basis_times_scale_and_the_others_differ_by_a_rotation_only(record):
    data = record()
    chart = chart_of(data)
    assert [choice.name for choice in chart.choices] == ["head", "conv2", "conv1"]
    for choice, layer in enumerate((2, 1, 0)):
        raw = (data["basis"][:, layer, :, :2] * data["basis_scale"][:, layer, :2]).values
        np.testing.assert_allclose(places(chart, choice, -1), raw[-1], atol=1e-6)
        for frame in range(len(raw)):
            np.testing.assert_allclose(pdist(places(chart, choice, frame)), pdist(raw[frame]), atol=1e-5)


def test_flipped_axes_are_flipped_back(record):
    data = record()
    data["basis"][:] = data["basis"][-1]
    data["basis_scale"][:] = data["basis_scale"][-1]
    data["basis"][3, :, :, 0] *= -1
    data["basis"][5] = data["basis"][5][..., [1, 0, 2, 3]].values
    data["basis_scale"][5] = data["basis_scale"][5][..., [1, 0, 2, 3]].values
    chart = chart_of(data)
    for frame in range(data.sizes["step"]):
        np.testing.assert_allclose(places(chart, 0, frame), places(chart, 0, -1), atol=1e-5)


@given(st.integers(0, 1000))
def test_alignment_equals_scipys_orthogonal_procrustes(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 9, 2))
    rotation, _ = orthogonal_procrustes(a, b)
    np.testing.assert_allclose(aligned(a, b), a @ rotation, atol=1e-9)


def test_titles_state_the_share_of_the_whole_variance(record):
    data = record()
    view = chart_of(data).choices[0].views[-1]
    assert isinstance(view, Points)
    # scales 8, 6, 4, 2 hold 0.8 of the variance: 64 / (120 / 0.8) and 36 / (120 / 0.8)
    assert view.titles == ("component 1 (43% of the variance)", "component 2 (24% of the variance)")


def test_a_step_that_was_not_finite_is_left_as_it_is_and_does_not_disturb_the_others(record):
    data = record()
    data["basis"][4] = np.nan
    chart = chart_of(data)
    assert np.isnan(places(chart, 0, 4)).all()
    assert np.isfinite(places(chart, 0, 3)).all()


@pytest.mark.parametrize(("classes", "named"), [(2, 2), (20, 20), (100, 8)])
def test_classes_have_a_colour_each_or_the_last_learned_ones_where_there_are_many(record, classes, named):
    data = record(classes=classes, examples=200)
    groups = chart_of(data).groups
    assert groups is not None
    assert len(groups.names) == named
    label = data["label"].values
    for point in range(200):
        name = f"class {label[point]}"
        expected = groups.names.index(name) if name in groups.names else named
        assert groups.of_point[point] == expected


def test_real_targets_colour_the_points_and_without_labels_nothing_does(record):
    data = record(task="regression")
    groups = chart_of(data).groups
    assert groups is not None
    assert groups.values is not None
    np.testing.assert_array_equal(groups.values, data["label"])
    assert chart_of(record(task=None)).groups is None


def test_large_probes_and_deep_networks_are_thinned_and_said_to_be(record):
    figure = components(record(layers=[f"l{k}" for k in range(60)], examples=1500))
    assert figure is not None
    chart = figure.charts[0]
    assert len(chart.choices) == 16
    assert chart.choices[0].name == "l59"
    assert chart.choices[-1].name == "l0"
    assert len(places(chart, 0, 0)) <= 1000
    assert {note.split(" of the ")[1] for note in figure.caption.notes} >= {
        "1,500 examples, evenly spread.",
        "60 layers, evenly spread.",
    }
