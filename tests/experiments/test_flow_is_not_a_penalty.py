import numpy as np
import pytest
import torch

from learnscope import laboratory
from learnscope.experiments.flow_is_not_a_penalty import EXPERIMENT, field


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(n_matrices=10, n_loops=20, n_angles=48)
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=3)


def test_the_claim_is_reproduced_and_every_control_fails(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
    assert all(judged.control.fails for judged in verdict.criteria)


def test_a_gradient_does_no_work_and_only_the_exception_joins_it(data):
    work = data["work"].max("seed")
    assert float(work.sel(depth=1).max()) < 1e-12
    assert float(work.sel(depth=2, outputs="one", inputs="white")) < 1e-6
    others = data["work"].min("seed").sel(depth=[2, 3, 5]).stack(case=["outputs", "inputs", "depth"])
    others = others.drop_sel(case=[("one", "white", 2)])
    assert float(others.min()) > 1e-3


def test_the_field_is_the_gradient_at_depth_one():
    matrix, target = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    covariance = torch.diag(torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64))
    matrix.requires_grad_()
    loss = torch.trace((matrix - target) @ covariance @ (matrix - target).mT) / 2
    (slope,) = torch.autograd.grad(loss, matrix)
    assert field(target, covariance, 1)(matrix.detach()).numpy() == pytest.approx(slope.numpy())


def test_the_free_entry_keeps_growing_only_from_a_positive_determinant(data):
    late = data["free_entry"].sel(time=[10, 20, 30])
    assert bool((late.sel(determinant="positive").diff("time") > 0.5).all())
    assert bool((abs(late.sel(determinant="negative").diff("time")) < 1e-3).all())
    assert bool((data["loss"].diff("time") <= 1e-12).all())


def test_the_figures_name_what_was_measured(data):
    loop, curl, completion = EXPERIMENT.figures(data)
    several = loop.charts[0].choices[0].views[0].series
    assert [series.name for series in several] == ["depth 1", "depth 2", "depth 3", "depth 5"]
    once = several[1].y[:48]
    assert several[1].y[48:96] == pytest.approx(once + several[1].y[48])
    assert several[1].y[48] == pytest.approx(float(data["path"].isel(outputs=0, inputs=0, depth=1, angle=-1, seed=0)))
    flat, bent = (choice.views[0].values for choice in curl.charts[0].choices[:2])
    assert np.nanmax(abs(flat)) < 1e-12
    assert np.nanmax(abs(bent)) > 0.5
    assert completion.charts[0].choices[0].views[0].series[2].name == "1/√(2 L), positive determinant"
