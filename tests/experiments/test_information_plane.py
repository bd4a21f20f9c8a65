"""Bins make the compression of saturated units; it is absent for ReLU and with narrow bins."""

import pytest
from pydantic import ValidationError

from learnscope import laboratory
from learnscope.experiments.information_plane import EXPERIMENT, FINEST, USUAL


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(bins=(FINEST, USUAL), density_inputs=256, n_epochs=40, learning_rate=1e-2)
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=3)


@pytest.fixture(scope="module")
def verdicts(data):
    return {verdict.claim.name: verdict for verdict in laboratory.judge(EXPERIMENT, data)}


def test_the_fall_and_its_critique_are_reproduced_and_every_control_fails(verdicts):
    judged = verdicts["infoplane-compression"].criteria
    assert [each.verdict for each in judged] == ["reproduced"] * len(judged)
    assert all(each.control.fails for each in judged)


def test_the_first_rise_is_not_reproduced(verdicts):
    assert verdicts["infoplane-fitting"].verdict == "not reproduced"


def test_informations_are_possible(data):
    inputs, labels = (data["binned"].sel(information=name) for name in ("inputs", "labels"))
    assert float(inputs.max()) <= 12
    assert float(labels.min()) >= -1e-12
    assert bool((labels <= inputs + 1e-12).all())
    assert bool((inputs.sel(bins=USUAL) <= inputs.sel(bins=FINEST) + 1e-12).all())


def test_no_layer_tells_more_of_the_input_than_the_one_before(data):
    exact = data["binned"].sel(bins=FINEST, information="inputs", activation="relu")
    assert float(exact.diff("layer").max()) <= 0.1  # but for what the finest bins still round


def test_bounds_enclose_each_other(data):
    noisy = data["noisy"].sel(information="inputs")
    assert bool((noisy.sel(bound="lower") <= noisy.sel(bound="upper")).all())
    assert float(noisy.max()) <= 8 + 1e-9


def test_the_figures_have_a_view_for_each_width(data):
    plane, inputs, noise = EXPERIMENT.figures(data)
    for figure in (plane, inputs):
        assert [len(choice.views) for choice in figure.charts[0].choices] == [2, 2]
    assert plane.charts[0].slider.values.tolist() == [1 / FINEST, 1 / USUAL]
    assert len(noise.charts[0].choices[0].views[0].series) == 5


def test_bins_that_the_claims_compare_are_needed():
    with pytest.raises(ValidationError, match="with 30 and 1000000000 among them"):
        EXPERIMENT.settings(bins=(30,))
