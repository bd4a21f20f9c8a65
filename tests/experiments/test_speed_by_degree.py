"""Learning by degrees at a small size, and descent against automatic differentiation."""

import numpy as np
import pytest
import torch

from learnscope import laboratory
from learnscope.distributions.harmonics import zonal_harmonics
from learnscope.distributions.spherical import sphere_grid
from learnscope.experiments.speed_by_degree import EXPERIMENT, RATE, descend, eigenvalues, half_times


@pytest.fixture(scope="module")
def data():
    return laboratory.simulate_all(EXPERIMENT, EXPERIMENT.settings(width=800, n_steps=500), seeds=3)


def test_the_claim_is_reproduced_and_every_control_fails(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
    assert all(judged.control.fails for judged in verdict.criteria if judged.control)


def test_eigenvalues_without_biases_vanish_at_odd_degrees_from_three_on():
    assert eigenvalues(0.0)[[2, 4]].tolist() == pytest.approx([0, 0], abs=1e-12)
    assert float(eigenvalues(1.0).min()) > 1e-4


def test_descent_is_that_of_automatic_differentiation(generator):
    grid = sphere_grid(12)
    x = torch.cat([grid.points, torch.ones(len(grid.points), 1)], 1).float()
    targets = zonal_harmonics(grid.points, torch.eye(3, dtype=torch.float64)[[0] * 6]).float()
    half = torch.randn(5, 4, generator=generator)
    weights = torch.cat([half, half]).requires_grad_()
    signs = torch.cat([torch.ones(5), -torch.ones(5)]) * (2 / 10) ** 0.5
    expected, measure = [], grid.weights.float()
    for _ in range(4):
        error = 0.5 * targets.sum(1) - (x @ weights.mT).relu() @ signs
        expected.append((measure * error) @ targets / 0.5)
        (gradient,) = torch.autograd.grad((measure * error.square()).sum() / 2, weights)
        weights = (weights - RATE * gradient).detach().requires_grad_()
    found = descend(x[None], measure, targets, torch.tensor([0.5]), half[None], 4)
    torch.testing.assert_close(found[:, 0], torch.stack(expected).detach(), rtol=1e-4, atol=1e-5)


def test_half_times_are_exact_for_geometric_decay_and_end_with_the_run():
    steps = torch.arange(50.0)[:, None]
    times = half_times(torch.tensor([0.9, 0.5, 0.999]) ** steps)
    np.testing.assert_allclose(times.numpy(), [np.log(0.5) / np.log(0.9), 1, 50], rtol=1e-5)


def test_low_degrees_come_first(data):
    times = data["half_time"].sel(run="with biases").mean("seed")
    assert bool((times.diff("degree") > 0).sel(degree=slice(2, 5)).all())


def test_figures_are_drawn_from_the_data(data):
    assert [figure.name for figure in EXPERIMENT.figures(data)] == ["parts", "times"]
