"""Feature training flattens the last hidden layer; lazy training leaves every layer as it was."""

import numpy as np
import pytest
import torch

from learnscope import laboratory
from learnscope.experiments.dimension_of_images import EXPERIMENT, LAYERS, _layers
from learnscope.networks.unit_weights import convolutional


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(n_train=80, channels=6, hidden=24, n_probe=400)
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=3)


@pytest.fixture(scope="module")
def verdicts(data):
    return {verdict.claim.name: verdict for verdict in laboratory.judge(EXPERIMENT, data)}


def test_the_last_layer_becomes_a_line(verdicts):
    (judged,) = verdicts["last-layer-1d"].criteria
    assert judged.verdict == "reproduced"
    assert judged.control.fails


def test_the_dimension_falls_in_the_feature_regime_alone(data, verdicts):
    ratio, _ = verdicts["id-hunchback"].criteria
    assert float(ratio.measured) < 0.85
    assert ratio.control.fails
    last = data["dimension"].isel(layer=-1).sel(regime="lazy")
    assert (last.isel(stage=-1) / last.isel(stage=0)).values == pytest.approx(1, abs=0.15)


def test_both_regimes_start_from_the_same_network_and_the_pixels_never_change(data):
    start = data["dimension"].isel(stage=0)
    assert np.array_equal(start.sel(regime="feature"), start.sel(regime="lazy"))
    pixels = data["dimension"].sel(layer="pixels")
    assert float((pixels.max("stage") - pixels.min("stage")).max()) == 0


def test_layers_are_those_after_rectifiers_and_the_last_is_before(generator):
    network = convolutional((1, 8, 8), (3, 3, 3), (1, 2, 2), generator, hidden=(5,))
    layers, last = _layers(network, torch.randn(7, 1, 8, 8, generator=generator))
    assert [h.shape[1] for h in layers] == [64, 192, 48, 12, 5]
    assert len(layers) == len(LAYERS)
    assert torch.equal(last.clamp(min=0), layers[-1])
    assert bool((last < 0).any())


def test_the_figures_have_a_view_for_each_stage(data):
    by_depth, line, plane = EXPERIMENT.figures(data)
    assert [len(choice.views[0].series) for choice in by_depth.charts[0].choices] == [7, 7]
    assert len(line.charts[0].choices[0].views[0].series) == 4
    assert [len(choice.views) for choice in plane.charts[0].choices] == [7, 7]
