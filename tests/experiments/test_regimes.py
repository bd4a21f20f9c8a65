"""The regimes meet at one α √h for all widths; which generalises better is measured the right way round."""

import numpy as np
import pytest
import xarray as xr

from learnscope import laboratory
from learnscope.experiments.regimes import CONVOLUTIONAL, EXPERIMENT, FULL, advantage, spread


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(
        n_train=40, n_test=300, widths=(40, 400), channels=(4,), n_kernel=20, scales=(0.01, 1.0, 100.0)
    )
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=3)


def test_kernel_movements_of_all_widths_collapse_and_at_equal_alpha_do_not(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    judged = verdict.criteria[-1]
    assert float(judged.measured) < 2
    assert judged.control.fails


def test_every_network_fits_all_images(data):
    assert float(data["fitted"].min()) == 1.0


def test_kernels_and_weights_stay_in_the_lazy_regime_alone(data):
    for name in ("kernel_change", "weight_change"):
        assert float(data[name].isel(scale=-1).max()) < 0.4
        assert float(data[name].isel(scale=0).min()) > 0.5


def test_all_learners_beat_chance(data):
    assert float(data["error"].max()) < 0.45
    assert float(data["limit_error"].max()) < 0.3


def made(movements, widths, scales=(0.01, 0.1, 1.0, 10.0, 100.0)):
    """Return a sweep of one seed with given movements [network, scale] and errors that rise along the scales."""
    names = [f"{FULL}, h = {h}" for h in widths] + [f"{CONVOLUTIONAL}, h = 4"]
    rows = [*movements, np.ones(len(scales))]
    return xr.Dataset(
        {
            "kernel_change": (("seed", "network", "scale"), np.array([rows])),
            "error": (("seed", "network", "scale"), np.linspace(0.1, 0.2, len(scales)) * np.ones((1, len(names), 1))),
            "width": (("seed", "network"), [[*widths, 4]]),
        },
        coords={"seed": [0], "network": names, "scale": list(scales)},
    )


def test_the_spread_finds_which_parameter_controls():
    widths, scales = (25, 100), np.array([0.01, 0.1, 1.0, 10.0, 100.0])
    by_scale = made([1 / scales for _ in widths], widths)
    by_alpha = made([h**0.5 / scales for h in widths], widths)
    assert spread(rescaled=True)(by_scale).values == pytest.approx([1.0])
    assert spread(rescaled=False)(by_scale).values == pytest.approx([2.0])
    assert spread(rescaled=True)(by_alpha).values == pytest.approx([2.0])
    assert spread(rescaled=False)(by_alpha).values == pytest.approx([1.0])


def test_the_advantage_is_the_error_of_lazy_less_that_of_feature_training():
    data = made([np.ones(5), np.ones(5)], (25, 100))
    assert advantage(FULL)(data).values == pytest.approx([0.1])


def test_the_figures_show_every_width_and_the_limit(data):
    error, movement = EXPERIMENT.figures(data)
    assert [len(choice.views[0].series) for choice in error.charts[0].choices] == [3, 1]
    assert [chart.title for chart in movement.charts] == ["Movement of the kernel", "Movement of the weights"]
