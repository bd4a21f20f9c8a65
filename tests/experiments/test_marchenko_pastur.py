"""The three regimes at a small size, the speed of descent, and what a mean does."""

import numpy as np
import pytest

from learnscope import laboratory
from learnscope.errors import InputError
from learnscope.experiments.marchenko_pastur import EXPERIMENT


@pytest.fixture(scope="module")
def data():
    return laboratory.simulate_all(EXPERIMENT, EXPERIMENT.settings(dim=240), seeds=3)


def test_claims_are_reproduced_and_every_control_fails(data):
    for verdict in laboratory.judge(EXPERIMENT, data):
        assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
        assert all(judged.control.fails for judged in verdict.criteria if judged.control)


def test_predictions_are_those_of_the_law(data):
    kappa = data["condition_number"].sel(law="predicted").isel(seed=0)
    assert kappa.sel(rows_per_column=2.0) == pytest.approx(((1 + 0.5**0.5) / (1 - 0.5**0.5)) ** 2)
    assert np.isinf(kappa.sel(rows_per_column=1.0))
    mean = data["kappa"].sel(treatment="predicted", mean=10.0, rows_per_column=2.0)
    assert mean.values == pytest.approx(10 * (480 * 240) ** 0.5 / (480**0.5 - 240**0.5))


def test_histograms_hold_all_positive_eigenvalues(data):
    width = float(data["place"].diff("place").mean())
    shares = data["density"].sel(law=["gaussian", "predicted"]).sum("place") * width
    expected = data["rows_per_column"].clip(max=1).values
    assert shares.sel(law="gaussian").mean("seed").values == pytest.approx(expected, rel=0.02)
    assert shares.sel(law="predicted").isel(seed=0).values == pytest.approx(expected)


def test_error_falls_to_the_level_at_the_steps_that_are_counted(data):
    part = data.sel(rows_per_column=2.0, law="gaussian")
    for seed in range(3):
        one = part.isel(seed=seed)
        logarithm = np.interp(np.log(one["steps"]), np.log(one["step"]), np.log(one["error"].clip(min=1e-30)))
        assert logarithm == pytest.approx(np.log(1e-6), rel=0.05)


@pytest.mark.parametrize("rows", [(1.0, 2.0), (0.5, 1.0, 2.0, -1.0)])
def test_the_regimes_that_claims_compare_must_be_there(rows):
    with pytest.raises(InputError, match="1 and 2 among them"):
        EXPERIMENT.at_scale("quick", {"rows_per_column": rows})


def test_figures_are_drawn_from_the_data(data):
    assert [figure.name for figure in EXPERIMENT.figures(data)] == ["regimes", "conditioning"]
