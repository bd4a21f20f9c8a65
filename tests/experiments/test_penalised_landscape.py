"""Two layers with L2 have no bad minima; three have."""

import pytest

from learnscope import laboratory
from learnscope.experiments.penalised_landscape import EXPERIMENT


@pytest.fixture(scope="module")
def data():
    return laboratory.simulate_all(EXPERIMENT, EXPERIMENT.settings(starts=32, n_steps=1000), seeds=3)


def test_the_claim_is_reproduced_and_every_control_fails(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
    assert all(judged.control.fails for judged in verdict.criteria if judged.control)


def test_shares_of_ranks_add_up(data):
    assert data["reaches_rank"].sum("rank").values == pytest.approx(1)


def test_rank_two_is_the_least_loss_at_this_penalty(data):
    assert data["reaches_least"].values == pytest.approx(data["reaches_rank"].sel(rank=2).values)


def test_the_figures_show_both_depths(data):
    mode, ends = EXPERIMENT.figures(data)
    two, three, _ = mode.charts[0].choices[0].views[0].series
    assert two.y[1] < two.y[0]
    assert three.y[1] > three.y[0]
    assert [line.name for line in ends.charts[0].choices[0].views[0].series] == ["2 layers", "3 layers"]
