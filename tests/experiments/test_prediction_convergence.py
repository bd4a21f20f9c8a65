"""Remainders of a step, on small networks and against the recursion computed by hand."""

import numpy as np
import pytest
import torch

from learnscope import laboratory
from learnscope.errors import InputError
from learnscope.experiments.prediction_convergence import EXPERIMENT, Problem
from learnscope.networks.shallow_tanh import predictions, shallow_tanh


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(n_train=8, dim=6, width=(4, 64, 256, 1024), steps=60, n_draws=40)
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=3)


def test_claims_are_reproduced_and_every_control_fails(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
    assert all(judged.control.fails for judged in verdict.criteria if judged.control)


def test_a_step_and_its_kernel_are_gradient_descent_on_half_the_sum_of_squares():
    random = torch.Generator().manual_seed(0)
    x, y = (torch.randn(*shape, generator=random, dtype=torch.float64) for shape in ((5, 3), (5,)))
    network = shallow_tanh(7, 3, random, batch=(1,))
    one = torch.ones(1, dtype=torch.float64)
    problem = Problem(x, y, 0.3 * one, (one, one))
    parts = [part.clone().requires_grad_() for part in network]
    loss = (predictions(type(network)(*parts), x, 0.3 * one) - y).square().sum() / 2
    step = problem.step(network, problem.errors(network), 0.01 * one)
    for moved, slope in zip(step, torch.autograd.grad(loss, parts), strict=True):
        torch.testing.assert_close(moved, -0.01 * slope)
    missed, bound = problem.remainder(network, problem.kernel(network), 1e-6 * one)
    assert float(missed) < float(bound) < 1e-9


def test_curves_start_at_the_initial_error_and_the_linear_network_follows_its_recursion(data):
    assert data["error"].sel(step=0).values == pytest.approx(1)
    assert data["recursion"].sel(step=0).values == pytest.approx(1)
    assert float(data["deviation"].sel(network="linear").max()) < 1e-12


def test_the_two_parametrisations_have_the_same_recursion_up_to_their_initial_outputs(data):
    ends = data["recursion"].isel(step=-1, width=-1)
    ratio = ends.sel(network="mean field") / ends.sel(network="tangent kernel")
    assert bool((np.abs(np.log(ratio)) < 1.5).all())


def test_figures_are_drawn_from_the_data(data):
    assert [figure.name for figure in EXPERIMENT.figures(data)] == ["remainder", "errors"]


def test_an_exponent_needs_several_widths():
    with pytest.raises(InputError, match="setting 'width'"):
        EXPERIMENT.at_scale("quick", {"width": 8})
