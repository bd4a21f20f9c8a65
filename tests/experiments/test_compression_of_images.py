"""Feature training turns the kernel towards the labels of digits; lazy training and shuffled labels do not."""

import pytest

from learnscope import laboratory
from learnscope.experiments.compression_of_images import EXPERIMENT, LEARNERS


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(n_train=(30, 120), channels=6, hidden=24, n_test=400, n_kernel=200, n_shuffled=30)
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=3)


def test_the_kernel_turns_to_the_labels_and_every_control_fails(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert all(each.control.fails for each in verdict.criteria)
    aligned, _, gained = verdict.criteria
    assert float(aligned.measured) > 1.5
    assert float(gained.measured) > 0.1


def test_shares_and_informations_are_possible(data):
    assert float(data["share"].sum("component").max()) <= 1 + 1e-9
    assert float(data["share"].min()) >= 0
    assert float(data["information"].max()) <= 1 + 1e-9


def test_lazy_training_keeps_the_kernel(data):
    kept = data["alignment"].sel(kernel="after lazy training") / data["alignment"].sel(kernel="before training")
    assert kept.values == pytest.approx(1, abs=0.15)


def test_all_learners_beat_chance_and_learn_from_more_images(data):
    error = data["error"].mean("seed")
    assert float(error.max()) < 0.4
    assert bool((error.isel(n_train=-1) < error.isel(n_train=0)).all())


def test_the_figures_show_every_learner_and_training_set(data):
    curves, components = EXPERIMENT.figures(data)
    assert len(curves.charts[0].choices[0].views[0].series) == len(LEARNERS)
    assert [choice.name for choice in components.charts[0].choices] == ["p = 120", "p = 30"]
