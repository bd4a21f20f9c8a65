"""The tangent kernel tells where a small step moves the predictions of any network."""

import pytest
import torch
from torch import nn

from learnscope import laboratory
from learnscope.experiments.kernel_flow import EXPERIMENT, LOSSES, RATES, missed_by_kernels, networks
from learnscope.randomness import generator


@pytest.fixture(scope="module")
def data():
    return laboratory.simulate_all(EXPERIMENT, EXPERIMENT.settings(n_train=8, n_test=8, width=8), seeds=3)


def test_the_claim_is_reproduced_and_every_control_fails(data):
    (verdict,) = laboratory.judge(EXPERIMENT, data)
    assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)
    assert all(judged.control.fails for judged in verdict.criteria)


def test_longer_training_does_not_end_where_only_rounding_moves():
    settings = EXPERIMENT.settings(n_train=8, n_test=8, width=8, n_steps=5000)
    (verdict,) = laboratory.judge(EXPERIMENT, laboratory.simulate_all(EXPERIMENT, settings, seeds=3))
    assert [judged.verdict for judged in verdict.criteria] == ["reproduced"] * len(verdict.criteria)


def test_lengths_at_which_only_rounding_is_missed_do_not_count(data):
    spoiled = data.copy(deep=True)
    spoiled["missed"][{"rate": 0}] = 0.5 * data["rounding"].isel(rate=0)
    measure = EXPERIMENT.claims[0].criteria[0].measured
    assert measure(spoiled).values == pytest.approx(measure(data).values, abs=0.01)
    spoiled["rounding"][{"rate": 1}] = 2 * data["missed"].isel(rate=1, kernel=0)
    assert measure(spoiled).values.tolist() == [float("inf")] * 3  # two are left


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_a_linear_model_is_missed_by_rounding_only(loss):
    random = generator("linear model")
    x = torch.randn(6, 3, generator=random, dtype=torch.float64)
    y = torch.randn(4, generator=random, dtype=torch.float64).sign()
    model = nn.Linear(3, 1, dtype=torch.float64)
    missed, rounding = missed_by_kernels(model, torch.zeros(6, 4, dtype=torch.float64), LOSSES[loss], x, y)
    assert missed.shape == (2, len(RATES))
    assert bool((missed[0] < rounding).all())
    assert float(missed[0].max()) < 1e-9
    assert missed[1].tolist() == pytest.approx([1.0] * len(RATES))  # the kernel zero misses everything


def test_networks_follow_their_generator_and_keep_examples_apart():
    first, again = (networks(4, 3, 8, generator("networks")) for _ in range(2))
    x = torch.randn(5, 4, 3, generator=generator("x"), dtype=torch.float64)
    for kind, network in first.items():
        outputs = network(x)
        assert outputs.shape == (5, 1)
        torch.testing.assert_close(outputs, again[kind](x))
        torch.testing.assert_close(outputs[2:3], network(x[2:3]))


def test_the_figure_shows_both_kernels_of_every_network(data):
    (figure,) = EXPERIMENT.figures(data)
    assert len(figure.charts[0].choices) == 4
    assert len(figure.charts[0].choices[0].views[0].series) == 6
