"""Numbers in the figures made of lines are the record's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from learnscope.report.chart import Chart, Figure, Lines
from learnscope.report.figures.common import HOLLOW
from learnscope.report.figures.dimension import dimension
from learnscope.report.figures.movement import movement
from learnscope.report.figures.progress import progress
from learnscope.report.figures.separability import separability
from learnscope.report.figures.simplicity import simplicity
from learnscope.report.figures.spectra import spectra


def lines(chart: Chart, choice: int = 0, frame: int = 0) -> Lines:
    view = chart.choices[choice].views[frame]
    assert isinstance(view, Lines)
    return view


def only(figure: Figure | None) -> Chart:
    assert figure is not None
    return figure.charts[0]


def test_simplicity_shows_the_four_informations_with_their_intervals(record):
    data = record()
    chart = only(simplicity(data))
    np.testing.assert_array_equal(chart.x.values, data["step"])
    network, explained, beyond, linear = lines(chart).series
    np.testing.assert_array_equal(network.y, data["network_information"])
    np.testing.assert_array_equal(explained.y, data["explained_information"][:, 0])
    np.testing.assert_array_equal(explained.low, data["explained_information_low"][:, 0])
    np.testing.assert_array_equal(beyond.high, data["conditional_information_high"][:, 0])
    np.testing.assert_array_equal(linear.y, data["simple_information"][:, 0])
    assert linear.style == "dashed"
    assert linear.low is None


def test_simplicity_has_a_choice_for_each_simpler_model(record):
    data = record()
    two = data.isel(simple_model=[0, 0]).assign_coords(simple_model=["linear", "5-nn"])
    assert [choice.name for choice in only(simplicity(two)).choices] == ["linear", "5-nn"]


def test_dimension_shows_each_estimator_by_depth_with_one_standard_error(record):
    data = record()
    figure = dimension(data)
    chart = only(figure)
    assert chart.slider is not None
    np.testing.assert_array_equal(chart.slider.values, data["step"])
    names = [choice.name for choice in chart.choices]
    assert names == ["TwoNN, maximum likelihood", "TwoNN, fit", "Levina-Bickel", "participation ratio"]
    series = lines(chart, frame=4).series[0]
    value, error = (data[f"intrinsic_dimension_likelihood{end}"][4] for end in ("", "_standard_error"))
    np.testing.assert_array_equal(series.y, value)
    np.testing.assert_allclose(series.high, value + error)
    np.testing.assert_allclose(series.low, value - error)
    np.testing.assert_array_equal(chart.choices[0].background[0].y, data["intrinsic_dimension_likelihood"][0])


def test_estimates_that_have_not_converged_are_marked_and_explained(record):
    data = record()
    figure = dimension(data)
    first = lines(only(figure)).series[0]
    assert first.converged is not None
    assert first.converged.tolist() == [False, True, True]
    assert figure is not None
    assert HOLLOW in figure.caption.notes
    for name in list(data.data_vars):
        if str(name).endswith("_converged"):
            data[name][:] = 1.0
    sure = dimension(data)
    assert sure is not None
    assert HOLLOW not in sure.caption.notes


def test_separability_shows_readouts_and_the_variance_ratio(record):
    data = record()
    accuracy, ratio = only(separability(data)).choices
    assert [s.name for s in lines(only(separability(data))).series] == ["linear probe", "5 nearest neighbours"]
    last = accuracy.views[-1]
    assert isinstance(last, Lines)
    np.testing.assert_array_equal(last.series[1].y, data["knn_accuracy"][-1])
    assert ratio.y.scale == "log"


def test_spectra_show_singular_values_against_their_rank(record):
    data = record()
    chart = only(spectra(data))
    np.testing.assert_array_equal(chart.x.values, np.arange(1, 21))
    for k, series in enumerate(lines(chart, frame=3).series):
        np.testing.assert_array_equal(series.y, data["singular_value"][3, k])
        assert series.name == str(data["weight"].values[k])


def test_spectra_of_wide_layers_keep_the_first_and_the_last_rank_and_say_so(record):
    data = record().isel(rank=np.zeros(700, int))
    figure = spectra(data)
    ranks = only(figure).x.values
    assert ranks is not None
    assert (ranks[0], ranks[-1]) == (1, 700)
    assert len(ranks) <= 64
    assert figure is not None
    assert any("700 ranks" in note for note in figure.caption.notes)


def test_movement_shows_matrices_only_where_spectra_tell_them_apart(record):
    data = record()
    series = lines(only(movement(data))).series
    assert [s.name for s in series] == ["conv1.weight", "conv2.weight", "head.weight"]
    np.testing.assert_array_equal(series[1].y, data["weight_distance"][:, 2])
    everything = movement(data.drop_dims("weight"))
    assert len(lines(only(everything)).series) == 6


def test_progress_has_loss_accuracy_margins_and_scalars_that_vary(record):
    data = record()
    data["logged_weight_decay"] = 0 * data["logged_lr"] + 0.1
    figure = progress(data)
    assert figure is not None
    assert [chart.title for chart in figure.charts] == ["Loss", "Accuracy", "Margins", "lr, logged"]
    probe, logged = lines(figure.charts[0]).series
    np.testing.assert_array_equal(probe.y, data["probe_loss"])
    np.testing.assert_allclose(probe.high, data["probe_loss"] + data["probe_loss_standard_error"])
    np.testing.assert_array_equal(logged.y, data["logged_loss"])
    assert figure.charts[0].choices[0].y.title == "loss (nats)"
    median = lines(figure.charts[2]).series[0]
    np.testing.assert_array_equal(median.y, data["margin"].sel(quantile=0.5))
    np.testing.assert_array_equal(median.low, data["margin"].sel(quantile=0.25))
    assert "Logged weight_decay was 0.1 throughout." in figure.caption.notes


@pytest.mark.parametrize(("factor", "scale"), [(1.0, "linear"), (1e-3, "log")])
def test_the_loss_has_a_logarithmic_axis_where_it_falls_far(record, factor, scale):
    data = record()
    data["probe_loss"][-1] *= factor
    assert only(progress(data)).choices[0].y.scale == scale


def test_many_steps_are_thinned_to_forty_frames_with_both_ends(record):
    data = record(steps=range(0, 1000, 5))
    figure = dimension(data)
    slider = only(figure).slider
    assert slider is not None
    assert len(slider.values) == 40
    assert (slider.values[0], slider.values[-1]) == (0, 995)
    assert figure is not None
    assert "Drawn are 40 of the 200 measured steps, evenly spread." in figure.caption.notes


@pytest.mark.parametrize(("draw", "names"), [
    (dimension, ["intrinsic_dimension", "intrinsic_dimension_likelihood", "intrinsic_dimension_levina_bickel"]),
    (separability, ["linear_probe_accuracy", "knn_accuracy", "class_variance_ratio"]),
])  # fmt: skip
def test_sliders_run_over_the_steps_that_were_looked_at_and_say_so(record, draw, names):
    data = record()
    for name in set(names) & set(data):
        data[name][[2, 5]] = np.nan
    figure = draw(data)
    slider = only(figure).slider
    assert slider is not None
    assert slider.values.tolist() == np.delete(data["step"].values, [2, 5]).tolist()
    assert "Measured at 8 of 10 steps, because it costs more than the rest." in figure.caption.notes
    assert "Measured at" not in " ".join(draw(record()).caption.notes)
