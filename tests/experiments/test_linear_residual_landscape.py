"""The landscape near zero, where descent goes from there, and a scalar case by hand."""

import pytest
import torch

from learnscope import laboratory
from learnscope.errors import InputError
from learnscope.experiments.linear_residual_landscape import EXPERIMENT, _signed


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(dim=4, depth=(3, 6, 12), n_points=60, steps=300)
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=3)


def test_claims_are_reproduced_and_every_control_fails(data):
    for verdict in laboratory.judge(EXPERIMENT, data):
        assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
        assert all(judged.control.fails for judged in verdict.criteria if judged.control)


def test_the_segment_goes_through_the_solution_of_both_networks_and_the_plain_one_is_flat_at_zero(data):
    at_solution = data["segment"].sel(place=1.0, method="nearest")
    assert float(at_solution.max()) < 1e-10
    here, near = (data["segment"].sel(depth=12).sel(place=place, method="nearest") for place in (0.0, 0.1))
    change = abs(near / here - 1)
    assert float(change.sel(network="plain").max()) < 1e-9
    assert float(change.sel(network="residual").min()) > 0.1


def test_loss_never_rises_and_stays_above_the_least_that_a_wrong_sign_allows(data):
    assert float(data["loss"].diff("step").max()) <= 1e-15
    assert float(data["loss"].sel(determinant="negative").isel(step=-1).min()) > 0.01


def test_minimisers_lie_in_the_ball(data):
    assert float(data["largest_norm"].sel(determinant="positive").max()) < 1


def test_both_signs_of_the_determinant_have_the_same_singular_values():
    matrix = torch.tensor([[0.5, 0.2], [-1.0, 2.0]], dtype=torch.float64)
    for given in (matrix, matrix.flip(0)):
        targets = _signed(given)
        torch.testing.assert_close(torch.linalg.svdvals(targets), torch.linalg.svdvals(given).expand(2, 2))
        assert torch.linalg.det(targets).sign().tolist() == [1, -1]
        assert min(float((target - given).abs().max()) for target in targets) < 1e-12


def test_figures_are_drawn_from_the_data(data):
    assert [figure.name for figure in EXPERIMENT.figures(data)] == ["landscape", "descent"]


def test_an_exponent_needs_several_depths():
    with pytest.raises(InputError, match="setting 'depth'"):
        EXPERIMENT.at_scale("quick", {"depth": 8})
