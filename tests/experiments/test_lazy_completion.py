import numpy as np
import pytest
import torch

from learnscope import laboratory
from learnscope.experiments.lazy_completion import EXPERIMENT, mirrored_factors
from learnscope.networks.deep_linear import product


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(dim=20, width=1000, width_of_three=200, scales=(0.01, 2.0, 4.0))
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=3)


def test_the_claim_is_reproduced_and_every_control_fails(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
    assert all(judged.control.fails for judged in verdict.criteria if judged.control)


def test_all_weights_fit_what_is_seen(data):
    assert float(data["train"].max()) < 1e-4


def test_large_gram_matrices_move_by_the_inverse_square_of_their_scale(data):
    moved = data["moved"].sel(scale=[2.0, 4.0], width="infinite") * data["scale"] ** 2  # the size of the Gram matrix
    assert (moved.sel(scale=4.0) / moved.sel(scale=2.0)).values == pytest.approx(0.25, rel=0.02)
    assert float(data["moved"].sel(scale=0.01).min()) > 0.9


@pytest.mark.parametrize("depth", [2, 3])
def test_mirrored_factors_make_zero_from_weights_of_the_size_asked_for(depth):
    factors = mirrored_factors(4, 20_000 if depth == 2 else 1000, depth, torch.Generator().manual_seed(0))
    assert float(product(factors).abs().max()) < 1e-12
    first, last = factors[0], factors[-1]
    assert (first.mT @ first).numpy() == pytest.approx(np.eye(4), abs=0.15)
    assert (last @ last.mT).numpy() == pytest.approx(np.eye(4), abs=0.15)


def test_the_figures_show_small_and_large_weights(data):
    scales, spectra = EXPERIMENT.figures(data)
    assert [choice.name for choice in scales.charts[0].choices][:2] == [
        "squared error on unseen entries",
        "effective rank of A",
    ]
    small, large = spectra.charts[0].choices
    assert (small.name, large.name) == ("small weights", "large weights")
    assert small.views[0].series[0].y[-1] > 2 * large.views[0].series[0].y[-1]
