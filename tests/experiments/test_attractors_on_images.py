"""On digits too, sets of active points become fewer with features and stay in the lazy regime."""

import pytest
import torch

from learnscope import laboratory
from learnscope.experiments.attractors_on_images import EXPERIMENT, components_of


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(n_train=(40,), width=100, components=5, n_test=200, max_steps=4000)
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=3)


def test_the_lazy_regime_fails_the_criterion(data):
    ((judged,),) = (verdict.criteria for verdict in laboratory.judge(EXPERIMENT, data))
    assert judged.control.fails
    assert float(judged.measured.value) < float(judged.control.measured.value)


def test_components_of_the_training_images_are_white():
    point = laboratory.grid(EXPERIMENT.settings(n_train=(200,), components=4))[0]
    seen, unseen = components_of(point, torch.Generator().manual_seed(0))
    torch.testing.assert_close(seen.x.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.x.mT @ seen.x / 200, torch.eye(4, dtype=torch.float64), atol=1e-5, rtol=0)
    assert unseen.x.shape == (500, 4)
    assert set(seen.y.tolist()) == {-1.0, 1.0}


def test_errors_are_shown_for_each_seed_and_learner(data):
    errors, neurons = EXPERIMENT.figures(data)
    series = errors.charts[0].choices[0].views[0].series
    assert [line.name for line in series] == ["features", "lazy network", "lazy limit"]
    assert len(series[0].y) == 3
    assert len(neurons.charts[0].choices) == 2
