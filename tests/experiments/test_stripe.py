import numpy as np
import pytest
from pydantic import ValidationError

from learnscope import laboratory
from learnscope.distributions.interfaces import stripe
from learnscope.dynamics.shallow import Stop
from learnscope.experiments.shared.hinge_flow import follow
from learnscope.experiments.stripe import EXPERIMENT, TIMES, compression
from learnscope.networks.one_hidden_layer import one_hidden_layer

SMALL = EXPERIMENT.settings(n_train=(32, 256, 1024, 4096), repetitions=4, width=40, longest=32, width_to_the_end=40)


@pytest.fixture(scope="module")
def data():
    return laboratory.simulate_all(EXPERIMENT, SMALL, seeds=5)


def test_features_compress_and_every_control_fails(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert all(judged.control.fails for judged in verdict.criteria)
    assert "not reproduced" not in {judged.verdict for judged in verdict.criteria}
    assert float(data["first"].sel(regime="feature").isel(n_train=-1).min()) > 5


def test_compression_is_one_at_the_start_whatever_the_direction(generator):
    network = one_hidden_layer(100_000, 4, generator)
    assert float(compression(network)) == pytest.approx(1, abs=0.02)


def test_the_first_margin_is_where_euler_steps_of_fixed_length_find_it(generator):
    x, y = stripe(100, 3, generator)
    network = one_hidden_layer(20, 3, generator, activation="normalised_relu")
    (run,) = follow([network], x, y, alpha=1e-6, proximal=False, stop=Stop(fraction=0.0))
    weights, biases, outputs = (each.clone() for each in (network.weights, network.biases, network.outputs))
    while True:
        u = x @ weights.T / 3**0.5 + biases
        f = 2**0.5 * u.clamp(min=0) @ outputs / 20
        if bool((1e-6 * y * f > 1).any()):
            break
        pull = (y / 100)[:, None] * 2**0.5 * (u > 0)
        moves = (pull * outputs).T @ x / 3**0.5, (pull * outputs).sum(0), (pull * u).sum(0)
        weights, biases, outputs = (
            each + 0.02 * move for each, move in zip((weights, biases, outputs), moves, strict=True)
        )
    by_hand = compression(type(network)(weights, biases, outputs, network.activation))
    assert float(compression(run.network)) == pytest.approx(float(by_hand), rel=0.1)


def test_trainings_to_the_end_fit_all_points_and_are_recorded_from_the_start(data):
    ended = data.sel(n_train=32)
    assert float(ended["fitted"].min()) == 1
    assert ended["compression_at"].isel(time=0).values == pytest.approx(1, abs=0.4)
    assert ended["weight"].sizes["time"] == len(TIMES)
    rms = np.sqrt((ended["weight"].isel(time=0, neuron=slice(40)) ** 2).mean(["neuron", "direction"]))
    assert rms.values == pytest.approx(1, abs=0.3)
    assert np.isnan(data.sel(n_train=256)["end"]).all()


def test_the_figures_animate_the_weights_and_show_the_growth(data):
    weights, sizes = EXPERIMENT.figures(data)
    plane = weights.charts[0]
    assert len(plane.choices[0].views) == len(plane.slider.values) > 10
    assert all(np.isfinite(view.places).all() for view in plane.choices[0].views)
    assert [line.name for line in sizes.charts[0].choices[0].views[0].series][-1] == "√p"


@pytest.mark.parametrize("sizes", [(64, 128, 256), (512, 256)])
def test_two_large_sizes_in_order_are_needed(sizes):
    with pytest.raises(ValidationError, match="two sizes from 256 on, in increasing order"):
        EXPERIMENT.settings(n_train=sizes)
