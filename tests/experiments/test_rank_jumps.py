"""Noise takes ranks away, and does not give them back."""

import pytest
import torch

from learnscope import laboratory
from learnscope.experiments.rank_jumps import CASES, EXPERIMENT, QUARTER, _near
from learnscope.networks.deep_linear import product


@pytest.fixture(scope="module")
def data():
    return laboratory.simulate_all(
        EXPERIMENT, EXPERIMENT.settings(learning_rates=(0.05, 0.2), descent_steps=500), seeds=3
    )


def test_the_claim_is_reproduced_and_every_control_fails(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
    assert all(judged.control.fails for judged in verdict.criteria if judged.control)


def test_what_is_lost_stays_lost(data):
    assert float(data["share_lost"].diff("step").min()) >= 0
    assert data["share_lost"].isel(step=-1).values == pytest.approx(data["lost"].values)


def test_two_layers_rise_from_rank_one(data):
    rising = data["second"].sel(layers=2, case=CASES[1])
    assert float(rising.isel(time=0).max()) < 0.02
    assert float(rising.isel(time=-1).min()) > 0.1


@pytest.mark.parametrize("layers", [2, 3])
def test_runs_start_near_critical_points_of_the_mean_loss(layers):
    weights = _near(layers, ((2, 0.04), (1, 0.04), (2, 0.0)), 4, (1,), torch.Generator().manual_seed(0))
    matrix = product(weights)
    seconds = torch.linalg.svdvals(matrix)[:, 1]
    assert seconds[2].item() == pytest.approx(0.5, abs=0.15)
    assert seconds[1].item() < 0.02
    assert QUARTER.value(matrix)[2].item() < 0.01


def test_the_figures_show_single_runs_and_shares(data):
    runs, shares = EXPERIMENT.figures(data)
    assert runs.charts[0].choices[0].name == "3 layers, from rank 2"
    assert [line.name for line in shares.charts[0].choices[0].views[0].series] == ["η = 0.05", "η = 0.2"]
    assert "0.0% of them came back" in shares.caption.look_for
