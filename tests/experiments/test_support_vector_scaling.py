import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.spatial.distance import cdist

from learnscope import laboratory
from learnscope.experiments.support_vector_scaling import EXPERIMENT, THEORY, _geometry, _kernel, _nearest, beta
from learnscope.kernels.hard_margin import hard_margin

SMALL = EXPERIMENT.settings(dim=(2, 5), n_train=(256, 512, 1024), n_test=1000)


@pytest.fixture(scope="module")
def data():
    return laboratory.simulate_all(EXPERIMENT, SMALL, seeds=4)


def test_every_control_fails_and_no_criterion_does(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert all(judged.control.fails for judged in verdict.criteria)
    assert "not reproduced" not in {judged.verdict for judged in verdict.criteria}
    assert verdict.criteria[-1].verdict == "reproduced"


def test_the_exponents_are_those_of_the_literature():
    assert [beta(d) for d in (2, 5, 10)] == pytest.approx([1 / 2, 5 / 13, 10 / 28])
    assert THEORY["number"][1](5) == pytest.approx(8 / 13)
    assert THEORY["neighbour"][1](5) == pytest.approx(-2 / 13)
    assert THEORY["opposite"][1](5) == -1 / 5


def test_distances_are_those_of_brute_force(generator):
    x, other = torch.randn(2, 30, 4, generator=generator, dtype=torch.float64)
    assert _nearest(x, other, itself=False).numpy() == pytest.approx(cdist(x, other).min(1))
    pairs = cdist(x, x) + np.diag(np.full(30, np.inf))
    assert _nearest(x, x, itself=True).numpy() == pytest.approx(pairs.min(1))


def test_support_vectors_hold_the_margin_and_are_measured_alone():
    x = torch.tensor([[-3.0, 0], [-0.4, 0], [0.0, 0], [0.9, 3]], dtype=torch.float64)
    y = torch.tensor([-1.0, -1, 1, 1]).double()
    machine = hard_margin(lambda a, b: a @ (a if b is None else b).T + 1, x, y)
    found = _geometry(machine, y)
    assert machine.support.tolist() == [1, 2]
    assert found["number"] == 2
    assert found["opposite"] == found["neighbour"] == pytest.approx(0.4)
    assert found["band"] == pytest.approx((0.1 + 0.3) / 2)


def test_with_random_labels_nearly_every_example_holds_the_margin(data):
    share = data["number"].sel(labels="random") / data["n_train"]
    assert float(share.sel(dim=5).min()) > 0.9


def test_the_kernel_is_that_of_rectifiers_with_biases():
    x = torch.zeros(1, 3, dtype=torch.float64)
    assert float(_kernel(x, None)) == pytest.approx(1 / 2 + 1 / 2)


def test_the_figures_show_support_vectors_and_every_dimension(data):
    plane, scaling, local = EXPERIMENT.figures(data)
    views = plane.charts[0].choices[0].views
    assert len(views) == 3
    shown = np.isfinite(views[-1].places[:, 0]).sum()
    assert shown == pytest.approx(float(data["number"].isel(seed=0).sel(dim=2, n_train=1024, labels="stripe")))
    for figure in (scaling, local):
        assert [choice.name for choice in figure.charts[0].choices] == ["d = 2", "d = 5"]
    exponents = local.charts[0].choices[1].views[0].series
    assert all(math.isfinite(value) for line in exponents for value in line.y)


@pytest.mark.parametrize("dim", [(2, 3), (1, 5)])
def test_the_judged_dimension_is_needed_and_one_alone_has_no_neighbours(dim):
    with pytest.raises(ValidationError, match="there must be 5 among them, and none below 2"):
        EXPERIMENT.settings(dim=dim)
