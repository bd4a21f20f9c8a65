"""Neurons gather in the regime of features and stay in the lazy one; attractors can be merged, signs alone cannot."""

import numpy as np
import pytest
from pydantic import ValidationError

from learnscope import laboratory
from learnscope.experiments.attractors import EXPERIMENT, FRAMES


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(n_train=(4, 8), widths=(100, 400), drawn=400, max_steps=3000)
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=3)


def test_every_control_fails_its_criterion(data):
    for verdict in laboratory.judge(EXPERIMENT, data):
        assert all(judged.control.fails for judged in verdict.criteria if judged.control), verdict.claim.name


def test_merging_changes_nothing_at_any_size(data):
    verdict = next(v for v in laboratory.judge(EXPERIMENT, data) if v.claim.name == "attractor-merge")
    assert verdict.verdict == "reproduced"


def test_sets_of_active_points_never_outnumber_the_neurons(data):
    assert (data["active_sets"] <= data["width"]).all()
    assert (
        data["active_sets"].sel(regime="features", moment="end").mean("seed")
        < data["active_sets"].sel(regime="features", moment="start").mean("seed")
    ).all()


def test_moments_run_from_the_start_to_the_end(data):
    assert data.sizes["frame"] == FRAMES
    assert np.all(data["fitted_at"].isel(frame=0) == 0)
    last = data["fitted_at"].isel(frame=-1)
    assert np.all(last == data["fitted"].sel(width=400))
    assert float(last.mean()) > 0.9
    assert np.all(np.diff(data["time"].values, axis=data["time"].dims.index("frame")) >= 0)


def test_the_figures_show_both_regimes_and_both_sizes(data):
    neurons, counts = EXPERIMENT.figures(data)
    assert [choice.name for choice in neurons.charts[0].choices] == ["features", "lazy"]
    assert len(neurons.charts[0].choices[0].views) == FRAMES
    assert [chart.x.name for chart in counts.charts] == ["width", "n_train"]


def test_the_width_that_is_drawn_is_one_of_the_widths():
    with pytest.raises(ValidationError, match="one of the widths"):
        EXPERIMENT.settings(widths=(50, 100), drawn=800)
