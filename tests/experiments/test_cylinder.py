import pytest

from learnscope import laboratory
from learnscope.experiments.cylinder import EXPERIMENT, gain
from learnscope.experiments.support_vector_scaling import beta

SIZES = {"n_train": (64, 128, 512, 1024), "longest": 128, "longest_lazy": 128}
SMALL = EXPERIMENT.settings(**SIZES, n_test=500, width=100, lazy_width=200)


@pytest.fixture(scope="module")
def data():
    return laboratory.simulate_all(EXPERIMENT, SMALL, seeds=3)


def test_exponents_are_those_of_the_literature():
    assert [beta(d) + gain(d) for d in (3, 5, 10)] == pytest.approx([0.5, 0.5, 0.5])


def test_all_learners_are_measured_on_the_cylinder(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert [judged.predicted for judged in verdict.criteria] == pytest.approx([gain(5), 2.0])
    errors = data["error"].sel(n_train=128).mean("seed")
    assert 0.05 < float(errors.min()) < float(errors.max()) < 0.4


def test_lazy_networks_follow_their_limit_without_a_gain(data):
    judged = laboratory.judge(EXPERIMENT, data)[0].criteria[1]
    assert float(judged.control.measured) < 1.25


def test_the_figures_name_the_cylinder(data):
    curves, local = EXPERIMENT.figures(data)
    assert curves.title == "Learning curves on the cylinder"
    assert len(local.charts[0].choices) == 1
