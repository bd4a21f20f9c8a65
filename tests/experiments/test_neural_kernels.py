"""Kernels and networks on few digits."""

import pytest
import torch

from learnscope import laboratory
from learnscope.distributions.images import digits
from learnscope.experiments.neural_kernels import EXPERIMENT, MYRTLE, drawn, machine_error, network_error
from learnscope.networks import FullyConnected


@pytest.fixture(scope="module")
def data():
    settings = EXPERIMENT.settings(n_train=(40, 100), n_test=100)
    return laboratory.simulate_all(EXPERIMENT, settings, seeds=4)


@pytest.mark.slow
def test_the_claim_is_reproduced_and_every_control_fails():
    (verdict,) = laboratory.judge(EXPERIMENT, laboratory.simulate_all(EXPERIMENT, EXPERIMENT.settings(), seeds=10))
    assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
    assert all(judged.control.fails for judged in verdict.criteria)


def test_permuted_pixels_cost_the_composed_kernel_its_lead(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    composed, _ = verdict.criteria
    assert composed.control.fails
    assert composed.measured.value > composed.control.measured.value + 0.01


def test_the_network_fares_better_against_its_kernel_on_the_bent_target(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    _, network = verdict.criteria
    assert network.measured.value > network.control.measured.value + 0.01
    assert network.control.measured.value < 0


def test_the_myrtle_kernel_joins_where_it_is_asked_for():
    settings = EXPERIMENT.settings(n_train=(12,), n_test=10, myrtle=5, n_steps=2)
    small = laboratory.simulate_all(EXPERIMENT, settings, seeds=1)
    assert MYRTLE in small["model"].values
    errors, bent = EXPERIMENT.figures(small)
    assert [len(chart.choices[0].views[0].series) for chart in errors.charts] == [6, 4]
    assert bent.name == "bent"


def test_images_are_drawn_without_return(generator):
    x, y = drawn(digits(), 1797, generator)
    assert x.shape == (1797, 1, 8, 8)
    assert y.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_machines_and_networks_learn_what_is_easy(generator):
    x = torch.randn(80, 3, generator=generator)
    y = (x[:, 0] > 0).long()
    x[:, 0] += 3 * (2 * y - 1)
    assert machine_error(x.double() @ x[:40].double().mT + 1, y, 20, 40) == 0
    network = FullyConnected(3, (20,), 2, generator=generator)
    assert network_error(network, x, y, 40, 40, 200) == 0
