"""Wide networks end at the least-norm solution of their tangent kernel, with what they were at first added to it."""

import pytest
import torch

from learnscope import laboratory
from learnscope.experiments.kernel_limit import EXPERIMENT, least_norm
from learnscope.randomness import generator


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(n_train=12, n_test=50, widths=(128, 512, 2048), n_angles=9)
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=3)


def test_every_control_fails_and_no_criterion_does(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert "not reproduced" not in [judged.verdict for judged in verdict.criteria]
    assert all(judged.control.fails for judged in verdict.criteria)


def test_the_solution_is_the_interpolant_that_a_linear_model_finds_with_least_movement():
    random = generator("least norm")
    features = torch.randn(7, 9, generator=random, dtype=torch.float64)
    y = torch.randn(4, generator=random, dtype=torch.float64)
    f0 = torch.randn(7, generator=random, dtype=torch.float64)
    moved = torch.linalg.lstsq(features[:4], (y - f0[:4])[:, None], driver="gelsd").solution[:, 0]
    solved = least_norm(features @ features[:4].T, y, f0)
    torch.testing.assert_close(solved, f0 + features @ moved)
    torch.testing.assert_close(solved[:4], y)


def test_runs_converge_to_interpolants(data):
    assert bool(data["converged"].all())
    at_examples = data["network"].sel(angle=[0, 90], method="nearest")
    assert abs(at_examples).values == pytest.approx(1, abs=3e-3)


def test_networks_come_closer_to_their_kernel_with_the_width(data):
    distance = data["distance"].sel(parametrisation="tangent kernel", solution="own").mean("seed")
    assert bool((distance.diff("width") < 0).all())


def test_the_ellipse_has_a_view_for_every_width(data):
    distance, ellipse = EXPERIMENT.figures(data)
    assert len(distance.charts[0].choices) == 2
    assert len(ellipse.charts[0].choices[0].views) == len(ellipse.charts[0].slider.values) == 3
