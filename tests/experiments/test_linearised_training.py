"""The network follows its linearisation at large scales and leaves it at small ones."""

import pytest

from learnscope import laboratory
from learnscope.experiments.linearised_training import EXPERIMENT


@pytest.fixture(scope="module")
def data():
    return laboratory.simulate_all(EXPERIMENT, EXPERIMENT.settings(), seeds=3)


def test_the_claim_is_reproduced_and_every_control_fails(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
    assert all(judged.control.fails for judged in verdict.criteria)


def test_both_start_at_predictions_of_zero(data):
    start = data.isel(step=0)
    assert start["distance"].values == pytest.approx(0, abs=1e-12)
    assert start["loss"].values == pytest.approx(1)
    assert start["linear_loss"].values == pytest.approx(1)


def test_losses_agree_at_the_largest_scale(data):
    last = data.isel(control=-1)
    assert last["loss"].values == pytest.approx(last["linear_loss"].transpose(*last["loss"].dims).values, rel=0.05)


def test_runs_converge(data):
    assert bool(data["converged"].all())


def test_the_figure_shows_losses_beside_distances(data):
    (figure,) = EXPERIMENT.figures(data)
    assert [choice.name for choice in figure.charts[0].choices] == [
        "mean of (F − y)², relu",
        "mean of (F − y)², tanh",
        "|F − F_lin|/|F_lin|, relu",
        "|F − F_lin|/|F_lin|, tanh",
    ]
