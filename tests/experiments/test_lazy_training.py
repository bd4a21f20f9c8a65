"""Weights and kernel move by the scale of the outputs and the width: much in one regime, hardly in the other."""

import numpy as np
import pytest
import xarray as xr
from pydantic import ValidationError

from learnscope import laboratory
from learnscope.experiments.lazy_training import EXPERIMENT, at_equal_alpha, exponent, spread


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(widths=(20, 80, 320), n_train=12)
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=3)


def test_every_control_fails_and_no_criterion_does(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert "not reproduced" not in [judged.verdict for judged in verdict.criteria]
    assert all(judged.control.fails for judged in verdict.criteria)


def test_all_runs_converge_at_stable_learning_rates(data):
    assert bool((data["converged"].sel(f0="subtracted") == 1).all())
    assert float(data["end_rate"].max()) < 2


def test_f0_is_kept_at_large_scales_only(data):
    kept = data["weights"].sel(f0="kept")
    assert bool(np.isfinite(kept.sel(control=slice(100, None))).all())
    assert bool(np.isnan(kept.sel(control=slice(0, 99))).all())


def test_movement_falls_with_the_scale(data):
    moved = data["weights"].sel(f0="subtracted").transpose(..., "control")
    assert bool((moved.diff("control") < 0).all())


def synthetic(power):
    """Movement (α √h)^−1 h^power of two widths."""
    control, width = xr.DataArray([0.1, 1, 10, 100, 1000], dims="control"), xr.DataArray([50, 800], dims="width")
    coords = {
        "control": control.values,
        "width": width.values,
        "activation": ["tanh"],
        "f0": ["subtracted"],
        "seed": [0],
    }
    values = (width**power / control).expand_dims(activation=1, f0=1, seed=1)
    return xr.Dataset({"weights": values}).assign_coords(coords)


@pytest.mark.parametrize("power", [0.0, -0.5])
def test_measures_find_the_exponents_that_they_are_given(power):
    data = synthetic(power)
    assert exponent("weights", ("tanh",))(data).item() == pytest.approx(-1)
    assert spread("weights", "all", ("tanh",))(data).item() == pytest.approx(16 ** abs(power))
    assert spread("weights", "all", ("tanh",), at="α")(data).item() == pytest.approx(16 ** abs(power - 0.5))


def test_curves_at_equal_alpha_are_read_off_at_the_control_that_they_belong_to():
    shifted = at_equal_alpha(np.log(synthetic(0.0)["weights"]))
    expected = -np.log(shifted["alpha"] * shifted["width"] ** 0.5)
    xr.testing.assert_allclose(
        shifted.isel(activation=0, f0=0, seed=0, drop=True), expected.transpose("width", "alpha")
    )


def test_the_figure_shows_every_width_and_the_predicted_slopes(data):
    (figure,) = EXPERIMENT.figures(data)
    weights, kernel = ([series.name for series in c.views[0].series] for c in figure.charts[0].choices[:2])
    assert weights == ["width 20", "width 80", "width 320", "slope −1"]
    assert kernel == [*weights, "slope −2"]
    assert len(figure.charts) == 2


@pytest.mark.parametrize("control", [(0.1, 10, 1, 1000), (1.0, 10, 100, 1000), (0.1, 1, 10, 100)])
def test_scales_have_to_reach_both_regimes(control):
    with pytest.raises(ValidationError, match="must increase from a positive number"):
        EXPERIMENT.settings(control=control)
