"""Numbers in the heat maps, and the hardest examples, are the record's."""

from __future__ import annotations

import numpy as np

from learnscope.findings.settling import settling_steps
from learnscope.report.chart import Cells, Chart, Figure
from learnscope.report.figures.hardest import galleries, hardest
from learnscope.report.figures.health import health
from learnscope.report.figures.learning_times import class_accuracy, learning_times
from learnscope.report.figures.settling import settling


def cells(figure: Figure | None, choice: int = 0) -> Cells:
    assert figure is not None
    view = figure.charts[0].choices[choice].views[0]
    assert isinstance(view, Cells)
    return view


def chart_of(figure: Figure | None) -> Chart:
    assert figure is not None
    return figure.charts[0]


def test_settling_shows_the_three_similarities_with_the_input_in_the_first_row(record):
    data = record()
    figure = settling(data)
    for k, name in enumerate(("cka_to_final", "svcca_to_final", "pwcca_to_final")):
        np.testing.assert_array_equal(cells(figure, k).values, data[name].values.T)
    rows = chart_of(figure).choices[0].y.values
    assert rows is not None
    assert rows.tolist() == ["conv1", "conv2", "head"]


def test_settling_marks_the_steps_that_the_findings_speak_of(record):
    data = record()
    settled = settling_steps(data).values
    expected = tuple((float(step), row) for row, step in enumerate(settled) if np.isfinite(step))
    assert expected
    assert cells(settling(data)).marks == expected
    assert cells(settling(data), 1).marks == ()


def test_a_heat_map_grows_with_its_layers(record):
    few, many = (settling(record(layers=[f"l{k}" for k in range(n)])) for n in (3, 60))
    assert chart_of(many).height > 2.5 * chart_of(few).height


def test_health_shows_sizes_and_shares_and_leaves_out_what_was_not_measured(record):
    data = record()
    figure = health(data)
    assert [choice.name for choice in chart_of(figure).choices] == ["size of activations", "dead units"]
    np.testing.assert_array_equal(cells(figure).values, data["activation_rms"].values.T)
    colours = chart_of(figure).choices[0].colours
    assert colours is not None
    assert colours.logarithmic
    data["nonfinite_share"][5, 1] = 0.2
    assert chart_of(health(data)).choices[-1].name == "NaN or infinite activations"


def test_class_accuracy_is_the_mean_over_the_examples_of_the_class(record):
    data = record()
    accuracy = class_accuracy(data)
    for k in range(3):
        mine = data["label"].values == k
        np.testing.assert_allclose(accuracy[:, k], data["correct"].values[:, mine].mean(axis=1))


def test_class_accuracy_is_missing_where_the_step_was_not_measured(record):
    data = record()
    data["correct"][4] = -1
    assert np.isnan(class_accuracy(data)[4]).all()
    assert np.isfinite(class_accuracy(data)[5]).all()


def test_classes_are_sorted_by_learning_time_the_first_on_top(record):
    data = record()
    data["class_learning_time"][:] = [8.0, np.inf, 2.0]
    figure = learning_times(data)
    rows = chart_of(figure).choices[0].y.values
    assert rows is not None
    assert rows.tolist() == ["class 1", "class 0", "class 2"]
    assert cells(figure).marks == ((8.0, 1), (2.0, 2))
    np.testing.assert_allclose(cells(figure).values[0], class_accuracy(data)[:, 1])


def test_names_of_classes_are_used_where_given(record):
    data = record()
    data.attrs["class_names"] = ["cat", "dog", "owl"]
    rows = chart_of(learning_times(data)).choices[0].y.values
    assert rows is not None
    assert set(rows) == {"cat", "dog", "owl"}


def test_the_hardest_examples_are_those_of_extreme_learning_times(record):
    data = record()
    never, last, forgotten = hardest(data)
    times = data["learning_time"].values
    assert set(never) == set(np.flatnonzero(np.isinf(times)))
    assert times[last[0]] == times[np.isfinite(times)].max()
    assert (np.diff(times[last]) <= 0).all()
    assert (data["forgetting_events"].values[forgotten] == 3).sum() == 7
    assert (data["forgetting_events"].values[forgotten] >= 2).all()


def test_examples_are_pictures_where_inputs_are_images_and_words_elsewhere(record):
    pictures = galleries(record())[0].pictures
    assert all(picture.image and picture.image.startswith("data:image/png;base64,") for picture in pictures)
    words = galleries(record(image=(7,)))[0].pictures
    assert all(picture.image is None and "example" in picture.heading for picture in words)


def test_the_learning_time_of_every_example_can_be_downloaded(record):
    data = record()
    figure = learning_times(data)
    assert figure is not None
    assert figure.table is not None
    np.testing.assert_array_equal(figure.table.columns["learned at step"], data["learning_time"])
