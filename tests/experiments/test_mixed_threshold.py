import math

import pytest
import torch

from learnscope import laboratory
from learnscope.dynamics.self_consistent import mode_velocity
from learnscope.dynamics.two_layer_linear import ReducedNetwork, random_network
from learnscope.experiments.mixed_threshold import (
    EXPERIMENT,
    at_crossing,
    explained,
    gains,
    middle,
    modes,
    recovered,
    speed,
)
from learnscope.randomness import generator as named

SMALL = EXPERIMENT.at_scale("quick", {"dim": 24, "rank": 2, "gamma_threshold": (-0.5, 0.4, 1.4), "steps": 140})
GOALS = torch.tensor([30.0, 20.0]).double()


@pytest.fixture(scope="module")
def data():
    return laboratory.simulate_all(EXPERIMENT, SMALL, range(5))


def aligned(threshold, rate=1e-4, steps=4000):
    """Follow aligned modes by their law from almost zero: singular values [time, mode]."""
    values = [torch.full((2,), 1e-3).double()]
    for _ in range(steps):
        half = values[-1] + rate / 2 * mode_velocity(values[-1], GOALS, threshold)
        values.append(values[-1] + rate * mode_velocity(half, GOALS, threshold))
    return torch.stack(values)


def test_the_claim_is_reproduced_and_every_control_fails(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert verdict.claim.name == "mixed-threshold"
    bad = [judged.criterion.name for judged in verdict.criteria if judged.verdict != "reproduced"]
    assert bad == []
    assert all(judged.control.fails for judged in verdict.criteria)


@pytest.mark.parametrize("threshold", [0.5, 4.0])
def test_the_threshold_of_aligned_modes_is_recovered_from_their_speeds(threshold):
    assert recovered(aligned(threshold), GOALS, 1e-4, threshold) == pytest.approx(threshold, rel=1e-3)


def test_modes_without_threshold_have_none():
    start = aligned(4.0)[100]
    values = torch.stack([start, start + 1e-4 * mode_velocity(start, GOALS, 0.0)])
    assert recovered(values, GOALS, 1e-4, 4.0) < 0.2


def test_the_law_explains_aligned_modes_and_gains_follow_from_it():
    values, rate = aligned(4.0), 1e-4
    law = mode_velocity(middle(values), GOALS, 4.0)
    assert explained(speed(values, rate), law) == pytest.approx(1, abs=1e-6)
    below, above = gains(values, GOALS, rate, 4.0)
    assert below > math.sqrt(2)
    assert 1 < above < math.sqrt(1 + 1 / 9)


def test_alignment_is_taken_at_the_last_step_before_each_crossing():
    values = torch.tensor([[0.1, 0.0], [0.9, 0.2], [2.0, 0.8], [3.0, 1.5]])
    alignment = torch.tensor([[0.1, 0.2], [0.8, 0.3], [0.9, 0.7], [1.0, 1.0]])
    assert at_crossing(values, alignment, 1.0) == pytest.approx(0.7)
    assert at_crossing(values, alignment, 0.05) == pytest.approx(0.1)
    assert math.isnan(at_crossing(values, alignment, 2.0))


def test_modes_are_singular_values_and_overlaps_of_singular_vectors():
    network = random_network(4, 4, 9, 0.1, named("modes"))
    batch = ReducedNetwork(*(part[None] for part in network))
    values, alignment, goals = modes(batch, network.product, 0.0, 2, 1)
    torch.testing.assert_close(values[2, 0], torch.linalg.svdvals(network.product)[:2])
    torch.testing.assert_close(alignment, torch.ones(3, 1, 1).double())
    torch.testing.assert_close(goals, values[0, 0, :1])


def test_above_all_singular_values_nothing_crosses_and_that_is_said(data):
    lazy = data["at_crossing"].isel(gamma_threshold=-1).sel(network="wide")
    assert bool(lazy.isnull().all())
    assert "no singular value" in data["at_crossing"].attrs["missing"]


def test_the_original_sizes_are_those_of_the_paper():
    paper = EXPERIMENT.at_scale("paper")
    assert (paper.dim, int(paper.dim**paper.gamma_wide), paper.steps) == (500, 1_182_177, 100)


def test_the_figure_has_the_threshold_line_among_the_singular_values(data):
    (figure,) = EXPERIMENT.figures(data)
    for choice, gamma in zip(figure.charts[0].choices, SMALL.gamma_threshold, strict=True):
        (line,) = [series for series in choice.views[0].series if series.name == "σ² w"]
        assert float(line.y[0]) == pytest.approx(24**gamma)
