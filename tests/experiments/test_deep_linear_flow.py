import math

import numpy as np
import pytest
import torch

from learnscope import laboratory
from learnscope.experiments.deep_linear_flow import (
    EXPERIMENT,
    MODES,
    at_crossing,
    imbalance,
    product_velocity,
    random_matrix,
    second_mode_of_saxe,
)
from learnscope.networks.deep_linear import balanced_factors, gaussian_factors, product


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(outputs=4, inputs=5, depths=(2, 3), learning_rates=(0.02, 0.01), scales=(0.001, 1.0))
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=3)


def test_the_claim_is_reproduced_and_every_control_fails(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
    assert all(judged.control.fails for judged in verdict.criteria if judged.control)


def test_the_modes_of_a_linear_model_are_learned_together(data):
    linear = data["strength"].sel(depth=1, scale=0.001)
    exact = linear["mode"] * (1 - np.exp(-linear["time"]))
    assert float(abs(linear - exact).max()) < 0.002


def test_every_mode_reaches_its_target_strongest_first(data):
    strength = data["strength"].sel(scale=0.001)
    assert strength.isel(time=-1).values == pytest.approx(
        np.broadcast_to(MODES, (3, 3, 3)).transpose(0, 1, 2), abs=0.01
    )
    half = (strength.sel(depth=[2, 3]) >= strength["mode"] / 2).argmax("time")
    assert bool((half.diff("mode") > 0).all())


def test_the_prediction_is_the_limit_of_strong_separation(data):
    assert second_mode_of_saxe(data) == pytest.approx(math.sqrt(0.001 * 4) / 2, rel=0.05)


def test_a_random_matrix_has_the_singular_values_that_are_asked_for():
    matrix = random_matrix(torch.tensor([3.0, 1.0]), 6, torch.Generator().manual_seed(0), rows=4)
    assert torch.linalg.svdvals(matrix).numpy() == pytest.approx([3, 1, 0, 0], abs=1e-12)


def test_the_velocity_of_a_product_is_its_change_over_a_small_step_of_descent():
    factors = gaussian_factors((4, 6, 5, 3), 1.0, torch.Generator().manual_seed(1))
    gradient = torch.randn(3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    leaves = [factor.clone().requires_grad_() for factor in factors]
    slopes = torch.autograd.grad((product(leaves) * gradient).sum(), leaves)
    small = 1e-6
    ahead, behind = ([w - s * small * g for w, g in zip(factors, slopes, strict=True)] for s in (1, -1))
    change = (product(ahead) - product(behind)) / (2 * small)
    assert product_velocity(factors, gradient).numpy() == pytest.approx(change.numpy(), abs=1e-8)


def test_imbalance_is_zero_for_balanced_factors_only():
    first, second = balanced_factors(torch.diag(torch.tensor([4.0, 1.0], dtype=torch.float64)), 2)
    assert float(imbalance([first, second])) < 1e-12
    assert float(imbalance([2 * first, second / 2])) == pytest.approx(math.hypot(4 * 4 - 4 / 4, 4 - 1 / 4))


def test_the_crossing_is_found_on_the_line_between_samples():
    clock, values = np.array([0.0, 0.4, 0.8]), np.array([1.0, 2.0, 4.0])
    assert at_crossing(values, clock, 0.5) == pytest.approx(2.5)
    assert math.isnan(at_crossing(values, clock, 0.9))


def test_the_figures_show_every_depth_and_both_starts(data):
    growth, descent = EXPERIMENT.figures(data)
    names = [choice.name for choice in growth.charts[0].choices]
    assert names[0] == "depth 1, small start (0.001)"
    assert names[-1] == "depth 3, large start (1)"
    lines = descent.charts[0].choices[0].views[0].series
    assert [line.name for line in lines][:2] == ["depth 2, balanced", "depth 2, unbalanced"]
    assert lines[0].y == pytest.approx(data["distance"].sel(N=2, start="balanced").median("seed").values)
