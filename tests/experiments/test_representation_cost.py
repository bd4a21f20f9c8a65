"""L2 on the weights finds the shortest factors, and two layers solve the convex problem."""

import numpy as np
import pytest
import xarray as xr
from pydantic import ValidationError

from learnscope import laboratory
from learnscope.experiments.representation_cost import EXPERIMENT, SPECTRUM, coefficient, expansion, least


@pytest.fixture(scope="module")
def data():
    return laboratory.simulate_all(EXPERIMENT, EXPERIMENT.settings(size=20, n_train=140), seeds=3)


def test_the_claims_are_reproduced_and_every_control_fails(data):
    for verdict in laboratory.judge(EXPERIMENT, data):
        assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
        assert all(judged.control.fails for judged in verdict.criteria if judged.control)


def test_costs_are_those_of_the_formula_at_every_depth(data):
    exact = [least(depth) for depth in data["depth"].values.tolist()]
    assert data["cost"].mean("seed").values == pytest.approx(exact, rel=1e-3)


def test_the_expansion_comes_closer_with_depth():
    assert least(2) == pytest.approx(2 * float(SPECTRUM.sum()))
    errors = [abs(expansion(depth) - least(depth)) for depth in (4, 8, 16, 32)]
    assert np.all(np.diff(errors) < 0)


def test_coefficients_are_read_off_costs_that_follow_the_expansion():
    depths = np.array([2, 4, 6, 8])
    costs = xr.DataArray(
        (3.0 * depths + 0.8 + 2.0 / depths)[:, None], coords={"depth": depths, "seed": [0]}, dims=["depth", "seed"]
    )
    data = xr.Dataset({"cost": costs})
    assert coefficient(0)(data).values == pytest.approx([3.0])
    assert coefficient(1)(data).values == pytest.approx([0.8])


def test_the_figure_shows_the_cost_beside_the_formula(data):
    (figure,) = EXPERIMENT.figures(data)
    measured, formula, *_ = figure.charts[0].choices[0].views[0].series
    assert measured.y == pytest.approx(formula.y, rel=1e-3)


def test_three_large_depths_are_needed():
    with pytest.raises(ValidationError, match="three of them must be 4 or more"):
        EXPERIMENT.settings(depths=(2, 3, 4, 6))
