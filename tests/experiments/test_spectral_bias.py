"""Spectra of layers at a small size."""

import numpy as np
import pytest

from learnscope import laboratory
from learnscope.experiments.spectral_bias import EXPERIMENT


@pytest.fixture(scope="module")
def data():
    return laboratory.simulate_all(EXPERIMENT, EXPERIMENT.settings(dims=(3, 10), grid_degree=14), seeds=4)


def test_the_claim_is_reproduced_and_every_control_fails(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
    assert all(judged.control.fails for judged in verdict.criteria if judged.control)


def test_shares_are_those_of_an_independent_computation(data):
    expected = [[0.263, 0.180, 0.099, 0.017], [0.398, 0.278, 0.159, 0.035]]
    np.testing.assert_allclose(data["high_share"].isel(seed=0).values, expected, atol=1e-3)


def test_the_read_out_falls_faster_by_the_square_of_the_degree(data):
    values = data["three_dimensional"].isel(seed=0)
    ratio = (values.sel(layer=4) / values.sel(layer=3)).sel(each_degree=[28, 29, 56, 57]).values
    assert (ratio[:2] / ratio[2:]).mean() == pytest.approx(4, rel=0.1)


def test_figures_are_drawn_from_the_data(data):
    assert [figure.name for figure in EXPERIMENT.figures(data)] == ["spectra", "shares"]
