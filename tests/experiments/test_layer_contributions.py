"""What each layer contributes, at a small size, and its gradients by brute force."""

import pytest
import torch

from learnscope import laboratory
from learnscope.distributions.spherical import uniform_on_sphere
from learnscope.experiments.layer_contributions import EXPERIMENT, layer_gradients
from learnscope.kernels import tangent_kernel
from learnscope.networks import FullyConnected


@pytest.fixture(scope="module")
def data():
    return laboratory.simulate_all(EXPERIMENT, EXPERIMENT.settings(n_test=500), seeds=4)


def test_the_claim_is_reproduced_and_every_control_fails(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
    assert all(judged.control.fails for judged in verdict.criteria if judged.control)


def test_the_last_layer_is_best_to_the_end_and_the_first_for_a_short_time_at_the_highest_degree(data):
    ends = data["error"].mean("seed").sel(regressed=5)
    early = data["early_error"].mean("seed").sel(regressed=5)
    assert int(ends.idxmin("layer")) == 4
    assert int(early.idxmin("layer")) == 1


def test_contributions_are_shares(data):
    assert data["contribution"].sum("layer").values == pytest.approx(1)
    assert data["predicted_contribution"].sum("layer").values == pytest.approx(1)


def test_gradients_have_the_products_of_the_tangent_kernel(generator):
    network = FullyConnected(3, (20, 20), 1, generator=generator)
    x = uniform_on_sphere(5, 3, generator, dtype=torch.float32)
    residuals = torch.randn(5, 2, generator=generator)
    kernels = tangent_kernel(network, x, outputs=0, parameters="*.weight", by_layer=True)
    for rows, kernel, fan_in in zip(layer_gradients(network, x, residuals), kernels.values(), (3, 20, 20), strict=True):
        torch.testing.assert_close(rows @ rows.mT, residuals.mT @ kernel @ residuals / fan_in)


def test_figures_are_drawn_from_the_data(data):
    assert [figure.name for figure in EXPERIMENT.figures(data)] == ["contributions", "errors"]
