"""The lazy regime wins on the sphere and loses on the stripe."""

import numpy as np
import pytest
import xarray as xr

from learnscope import laboratory
from learnscope.experiments.sphere import EXPERIMENT, crossing


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(n_train=(32, 64), width=100, max_steps=50_000, n_test=1000)
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=3)


def test_the_stripe_fails_every_criterion_that_the_sphere_is_judged_by(data):
    for verdict in laboratory.judge(EXPERIMENT, data):
        for judged in verdict.criteria:
            if judged.criterion.control_name == "stripe":
                assert judged.control.fails, judged.criterion.name


def test_errors_are_shares_better_than_chance_and_never_zero(data):
    assert float(data["error"].min()) >= 0.5 / 1000
    assert float(data["error"].mean("seed").max()) < 0.5


def test_the_lazy_limit_is_better_in_high_dimension(data):
    error = data["error"].sel(task="sphere, d = 10").mean(["seed", "n_train"])
    assert float(error.sel(learner="lazy limit")) < float(error.sel(learner="features"))


def made_up(ratios):
    error = np.ones((1, len(ratios), 1, 3))
    error[0, :, 0, 1] = ratios
    coords = {"n_train": [10 * 4**k for k in range(len(ratios))], "task": ["t"]}
    learners = ["lazy limit", "features", "fixed angles"]
    return xr.Dataset({"error": (["seed", "n_train", "task", "learner"], error)}, coords | {"learner": learners})


def test_the_crossing_lies_between_the_sizes_around_it():
    assert crossing(made_up([4.0, 0.25]), "t") == "about 20"
    assert crossing(made_up([4.0, 2.0]), "t") == "beyond 40"
    assert crossing(made_up([0.5, 0.25]), "t") == "below 10"


def test_the_figures_start_with_the_highest_dimension_beside_the_lowest(data):
    curves, ratio = EXPERIMENT.figures(data)
    chart = curves.charts[0]
    assert [chart.choices[k].name for k in chart.starts] == ["sphere, d = 10", "sphere, d = 4"]
    assert "Crossing" in ratio.caption.shows
