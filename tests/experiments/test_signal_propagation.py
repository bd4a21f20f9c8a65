"""Chains at a small size, and what is known about them exactly."""

import numpy as np
import pytest
import torch

from learnscope import laboratory
from learnscope.experiments.signal_propagation import EXPERIMENT, RADII, TREATMENTS, _treated


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(depths=(10, 20, 40), layers=40, n_networks=6, n_inputs=160, relu_layers=12)
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=4)


def test_claims_are_reproduced_and_every_control_fails(data):
    for verdict in laboratory.judge(EXPERIMENT, data):
        assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
        assert all(judged.control.fails for judged in verdict.criteria if judged.control)


def test_powers_end_on_the_line_of_the_first_eigenvalue(data):
    ends = data["log_norm"].sel(start="random").isel(power=[-2, -1]).diff("power").squeeze("power")
    assert ends.transpose("seed", "radius").values == pytest.approx(np.tile(np.log(RADII), (4, 1)), abs=1e-6)


def test_the_same_block_in_each_place_conditions_far_worse_than_independent_ones(data):
    same, independent = (data["log_condition"].sel(chain=name) for name in ("same J in each, ε = 0.1", "ε = 0.1"))
    assert bool((same > 2 * independent).all())


def test_treatments_do_what_they_say():
    h = 3 + torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(_treated(h, "nothing"), h)
    torch.testing.assert_close(_treated(h, "rescaled").square().mean(0), torch.full((4,), 2.0).double())
    torch.testing.assert_close(_treated(h, "centred").mean(0), torch.zeros(4).double(), atol=1e-12, rtol=0)
    both = _treated(h, "centred and rescaled")
    torch.testing.assert_close(both.square().mean(0), torch.full((4,), 2.0).double())
    torch.testing.assert_close(both.mean(0), torch.zeros(4).double(), atol=1e-12, rtol=0)


def test_the_first_layer_has_the_share_of_relus_of_normal_inputs(data):
    first = data["first_share"].sel(relu_layer=1, treatment=list(TREATMENTS))
    assert first.mean("seed").values == pytest.approx(1 / np.pi, abs=0.03)


def test_figures_are_drawn_from_the_data(data):
    assert [figure.name for figure in EXPERIMENT.figures(data)] == ["norms", "products"]
