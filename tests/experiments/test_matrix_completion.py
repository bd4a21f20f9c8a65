"""Three factors from small weights complete a matrix that the nuclear norm does not."""

import pytest
from pydantic import ValidationError

from learnscope import laboratory
from learnscope.experiments.matrix_completion import EXPERIMENT


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(size=40, rank=4, n_train=623, learning_rates=(6e-3,), tolerance=2e-5)
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=3)


def test_the_claim_is_reproduced_and_every_control_fails(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
    assert all(judged.control.fails for judged in verdict.criteria if judged.control)


def test_the_convex_solution_is_proved_optimal(data):
    assert float(data["convex_gap"].max()) < 1e-6


def test_runs_end_within_their_steps_and_keep_their_last_state(data):
    assert int(data["steps"].max()) <= 10_000
    last = data["test_error_at"].isel(step=-1)
    assert last.values == pytest.approx(data["test_error"].transpose(*last.dims).values)


def test_small_weights_start_at_the_error_of_predicting_zero(data):
    start = data["test_error_at"].isel(step=0, scale=0)
    assert start.values == pytest.approx(1, abs=0.3)


def test_singular_values_beyond_the_rank_stay_small_with_three_factors(data):
    values = data["singular_value_at"].isel(step=-1, scale=0).sel(depth=3)
    assert float((values.isel(place=4) / values.isel(place=0)).max()) < 0.03


def test_the_figures_show_every_depth(data):
    errors, values = EXPERIMENT.figures(data)
    assert len(errors.charts[0].choices[0].views[0].series) == 5
    assert [choice.name for choice in values.charts[0].choices] == ["2 factors", "3 factors"]


def test_depths_that_the_claims_compare_are_needed():
    with pytest.raises(ValidationError, match="with 2 and 3 among them"):
        EXPERIMENT.settings(depths=(2, 4))
