import numpy as np
import pytest
import torch

from learnscope import laboratory
from learnscope.experiments.deep_linear_minima import EXPERIMENT, LEVELS, at_levels


@pytest.fixture(scope="module")
def data():
    return laboratory.simulate_all(EXPERIMENT, EXPERIMENT.settings(depths=(2,), dim=20, rank=1), seeds=3)


def test_the_claim_is_reproduced_and_every_control_fails(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
    assert all(judged.control.fails for judged in verdict.criteria if judged.control)


def test_losses_never_rise(data):
    shown = data["excess"].sel(network=["depth 1", "depth 2", "narrow"])
    assert float(shown.diff("time").max()) < 1e-8


def test_networks_start_where_the_linear_model_does(data):
    start = data["excess"].sel(network=["depth 1", "depth 2", "lazy"]).isel(time=0)
    assert start.values == pytest.approx(1, abs=0.1)


def test_a_path_is_read_off_where_its_loss_passes_a_level():
    loss = torch.tensor([1.0, 0.8, 0.15], dtype=torch.float64)
    path = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)[:, None, None]
    found = at_levels(path, loss)[:, 0, 0].numpy()
    reached = np.array(LEVELS) >= 0.15
    exact = np.where(np.array(LEVELS) >= 0.8, (1 - np.array(LEVELS)) / 0.2, 1 + (0.8 - np.array(LEVELS)) / 0.65)
    assert found[reached] == pytest.approx(exact[reached])
    assert np.isnan(found[~reached]).all()


def test_the_figure_shows_the_narrow_network_beside_its_prediction(data):
    (figure,) = EXPERIMENT.figures(data)
    lines = {line.name: line for line in figure.charts[0].choices[0].views[0].series}
    assert lines["narrow"].y[-1] == pytest.approx(lines["narrow, predicted"].y[-1], rel=1e-3)
    assert [line.name for line in figure.charts[1].choices[0].views[0].series] == ["depth 2", "lazy"]
