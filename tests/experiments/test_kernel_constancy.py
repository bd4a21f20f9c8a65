"""Wide networks start at the kernel of infinite width and keep it."""

import pytest

from learnscope import laboratory
from learnscope.experiments.kernel_constancy import EXPERIMENT


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(widths=(32, 64, 128), n_train=12)
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=4)


def test_every_control_fails_and_no_criterion_does(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert "not reproduced" not in [judged.verdict for judged in verdict.criteria]
    assert all(judged.control.fails for judged in verdict.criteria)


def test_runs_converge(data):
    assert bool((data["converged"] == 1).all())


def test_kernels_are_the_same_at_first_in_both_parametrisations(data):
    first = data["initial"]
    assert first.sel(parametrisation="mean field").values == pytest.approx(
        first.sel(parametrisation="tangent kernel").values
    )


def test_the_mean_field_moves_more_at_every_width(data):
    moved = data["kernel"]
    assert bool((moved.sel(parametrisation="mean field") > 3 * moved.sel(parametrisation="tangent kernel")).all())


def test_the_figure_has_the_predicted_slope_in_every_panel(data):
    (figure,) = EXPERIMENT.figures(data)
    names = [[series.name for series in choice.views[0].series] for choice in figure.charts[0].choices]
    assert [each[-1] for each in names] == [
        *["slope -0.5"] * 4,
        *["slope -1"] * 2,
        "slope -0.5",
        "slope -1",
    ]
