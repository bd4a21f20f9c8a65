"""Where descent ends and how fast: the claims on small problems, and the fit on errors that are known."""

import numpy as np
import pytest

from learnscope import laboratory
from learnscope.experiments.least_norm_regression import EXPERIMENT, RATES, fitted_factor, stability_limit


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(n_train=12, dim=60, passes=150, steps=3000)
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=3)


def test_claims_are_reproduced_and_every_control_fails(data):
    for verdict in laboratory.judge(EXPERIMENT, data):
        assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
        assert all(judged.control.fails for judged in verdict.criteria if judged.control)


def test_everything_starts_at_the_length_of_the_solution_and_fits_the_data_in_the_end(data):
    assert data["distance"].sel(start="zero", passes=0).values == pytest.approx(1)
    fitted = data["loss"].sel(algorithm=["gradient descent", "SGD", "Adam"]).isel(passes=-1)
    assert float((fitted / data["loss"].isel(passes=0)).max()) < 1e-4


def test_a_random_start_keeps_its_distance_to_the_solution_of_least_norm(data):
    distance = data["distance"].sel(start="random").isel(passes=-1)
    assert float(distance.min()) > 1


def test_factors_are_fitted_exactly_to_two_exponentials_and_to_growth():
    steps = np.arange(3000)
    assert fitted_factor(0.99**steps + 0.3 * 0.5**steps) == pytest.approx(0.99, rel=1e-6)
    assert fitted_factor(1.02**steps) == pytest.approx(1.02)
    assert fitted_factor(np.ones(3000)) == pytest.approx(1)


def test_the_limit_of_stability_is_where_the_factor_is_one(data):
    exact = data.assign(factor=abs(1 - data["rate"]) + 0 * data["factor"])
    assert stability_limit(exact).values == pytest.approx(2.0, abs=1e-4)
    assert {1.99, 2.01} <= set(RATES)


def test_figures_are_drawn_from_the_data(data):
    assert [figure.name for figure in EXPERIMENT.figures(data)] == ["limits", "contraction"]
