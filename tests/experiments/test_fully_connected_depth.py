"""Depth of fully connected networks at a small size."""

import pytest
import torch

from learnscope import laboratory
from learnscope.experiments.fully_connected_depth import EXPERIMENT, product_target, tent_target


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(kernel_depths=(1, 3, 10), depths=(1, 4), n_test=400, n_timed=60)
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=3)


def test_the_claim_is_reproduced_and_every_control_fails(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
    assert all(judged.control.fails for judged in verdict.criteria if judged.control)


def test_targets_are_balanced_and_the_tents_have_eight_pieces(generator):
    for target in (product_target, tent_target):
        assert float(target(4000, generator)[1].double().mean()) == pytest.approx(0.5, abs=0.05)
    x, y = tent_target(4000, generator)
    assert int((y[x[:, 0].argsort()].diff() != 0).sum()) == 8
    assert torch.equal(x[:, 1], torch.ones(4000))


def test_smaller_weights_never_train_the_deepest(data):
    assert bool((data["steps"].sel(start="smaller weights", timed_depth=16) == 500).all())


def test_figures_are_drawn_from_the_data(data):
    assert [figure.name for figure in EXPERIMENT.figures(data)] == ["errors", "steps"]
