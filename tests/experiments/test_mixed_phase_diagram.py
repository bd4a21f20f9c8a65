import numpy as np
import pytest
import torch

from learnscope import laboratory
from learnscope.distributions.noisy_low_rank import noisy_low_rank
from learnscope.experiments.mixed_phase_diagram import EXPERIMENT, at_equal_threshold, cell, ratio, references, spread
from learnscope.randomness import generator as named

SMALL = EXPERIMENT.at_scale(
    "quick",
    {"gamma_variance": (-2.2, -1.85, -1.5, -1.15, -0.8), "gamma_width": (1.75, 2.1, 2.45, 2.8)},
)


@pytest.fixture(scope="module")
def data():
    return laboratory.simulate_all(EXPERIMENT, SMALL, range(6))


def test_the_claim_is_reproduced_and_every_control_fails(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert verdict.claim.name == "mixed-phase-diagram"
    bad = [judged.criterion.name for judged in verdict.criteria if judged.verdict != "reproduced"]
    assert bad == []
    assert all(judged.control.fails for judged in verdict.criteria)


def test_a_very_wide_lazy_network_is_the_best_multiple_of_its_target():
    signal, noise = matrices = noisy_low_rank(40, 2, named("lazy"))
    measured = cell(matrices, -4.0, 6.0, 750, named("wide"))
    multiples = torch.linspace(0, 1, 1001, dtype=torch.float64)[:, None, None]
    best = (multiples * (signal + noise) - signal).square().mean((-2, -1)).min()
    assert measured["best_error"] == pytest.approx(float(best), rel=0.02)
    assert measured["lazy_error"] == pytest.approx(float(best), rel=0.05)


def test_a_start_above_the_target_is_at_best_when_the_noise_is_fitted_in_full():
    matrices = noisy_low_rank(40, 2, named("large"))
    measured = cell(matrices, 0.5, 1.5, 750, named("narrow"))
    assert measured["best_error"] == pytest.approx(float(matrices.noise.square().mean()), rel=0.02)
    assert measured["lazy_error"] == pytest.approx(measured["best_error"], rel=0.02)


def test_a_tiny_start_learns_the_modes_of_the_signal_first():
    matrices = noisy_low_rank(60, 2, named("tiny"))
    measured = cell(matrices, -3.5, 2.0, 750, named("start"))
    truncated, signal_rank = references(matrices, 2)
    assert measured["best_error"] == pytest.approx(truncated, rel=0.2)
    assert measured["numerical_rank"] == 2
    assert measured["stable_rank"] == pytest.approx(signal_rank, rel=0.2)


def test_truncation_leaves_the_noise_on_its_singular_vectors():
    truncated, _ = references(noisy_low_rank(200, 3, named("truncated")), 3)
    assert truncated == pytest.approx(2 * 3 / 200, rel=0.15)


def test_errors_that_depend_on_the_threshold_alone_have_no_spread(data):
    exponents = data["gamma_variance"] + data["gamma_width"]
    alone = data.assign(best_error=np.exp(exponents).expand_dims(seed=data["seed"]))
    torch.testing.assert_close(
        torch.tensor(spread(-np.inf, 0.5)(alone).values), torch.zeros(6).double(), rtol=0, atol=1e-9
    )
    wider = alone.assign(best_error=alone["best_error"] * (1 + (data["gamma_width"] == 2.1)))
    assert spread(-np.inf, 0.5)(wider).values == pytest.approx(np.ones(6), abs=1e-9)


def test_equal_thresholds_are_interpolated_and_never_extrapolated():
    error = np.exp(np.array([[0.0, 1.0], [2.0, 3.0]]))
    logs = at_equal_threshold(error, np.array([-2.0, -1.0]), np.array([2.0, 2.5]), np.array([0.5, 1.25]))
    np.testing.assert_allclose(logs, [[1.0, 1.0], [np.nan, 2.5]])


def test_ratios_are_means_over_the_places_between_two_thresholds(data):
    ours = ratio("best_error", "truncated_error", 0.2, 0.3)(data)
    diagonal = [(-2.2, 2.45), (-1.85, 2.1), (-1.5, 1.75)]
    errors = [data["best_error"].sel(gamma_variance=v, gamma_width=w) / data["truncated_error"] for v, w in diagonal]
    np.testing.assert_allclose(ours, sum(errors) / 3)
    assert ours.dims == ("seed",)


def test_the_original_diagram_is_that_of_the_paper():
    paper = EXPERIMENT.at_scale("paper")
    assert (paper.dim, paper.rank, paper.steps) == (200, 5, 750)
    assert len(paper.gamma_variance) == len(paper.gamma_width) == 30
    assert (paper.gamma_variance[0], paper.gamma_variance[-1]) == (-2.2, -0.8)
    assert (paper.gamma_width[0], paper.gamma_width[-1]) == (1.75, 2.8)


def test_figures_show_four_maps_and_the_collapse(data):
    diagram, collapse = EXPERIMENT.figures(data)
    choices = [choice for chart in diagram.charts for choice in chart.choices]
    assert [choice.name for choice in choices] == ["test error", "step", "stable rank", "rank"]
    np.testing.assert_allclose(choices[2].views[0].values, data["stable_rank"].mean("seed"))
    assert len(collapse.charts[0].choices[0].views[0].series) == 9
