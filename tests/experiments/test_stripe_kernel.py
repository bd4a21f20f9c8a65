"""The tangent kernel knows the stripe after training: two kinds of eigenvectors, and the label in a few."""

import pytest
import torch

from learnscope import laboratory
from learnscope.distributions.interfaces import stripe
from learnscope.experiments.stripe_kernel import EXPERIMENT, first_share, stretched_kernel, two_kinds
from learnscope.kernels.one_hidden_layer import limit_kernels

SMALL = EXPERIMENT.settings(n_train=(64,), n_probe=400, n_test=500, width=100)


@pytest.fixture(scope="module")
def data():
    return laboratory.simulate_all(EXPERIMENT, SMALL, seeds=3)


def test_every_control_is_outside_of_its_band(data):
    for verdict in laboratory.judge(EXPERIMENT, data):
        for judged in verdict.criteria:
            low, high = judged.band
            assert not low <= float(judged.control.measured) <= high, judged.criterion.name


def test_training_aligns_the_kernel_and_collapses_what_the_layer_sees_while_laziness_keeps_both(data):
    assert float((data["alignment"].sel(kernel="after") / data["alignment"].sel(kernel="before")).min()) > 1.2
    assert data["alignment"].sel(kernel="lazy").values == pytest.approx(
        data["alignment"].sel(kernel="before").values, rel=0.05
    )
    assert float((data["line"].sel(moment="after") - data["line"].sel(moment="before")).min()) > 0.3


def test_each_kind_of_eigenvector_is_told_by_its_own_regression(generator):
    x, _ = stripe(2000, 4, generator)
    first, second = torch.cos(x[:, 0]), torch.cos(x[:, 0]) * (x[:, 1:] @ torch.tensor([1.0, -2.0, 0.5]).double())
    noise = torch.randn(2000, generator=generator, dtype=torch.float64)
    explained = two_kinds(torch.stack([first, second, noise], dim=1), x)
    assert explained[0, 0] > 0.97
    assert explained[1, 1] > 0.97
    assert explained[0, 1] < 0.2
    assert explained[1, 0] < 0.2
    assert float(explained[2].max()) < 0.1


def test_one_direction_has_all_of_a_line_and_one_in_three_of_a_ball(generator):
    line = torch.outer(torch.randn(50, generator=generator), torch.ones(6))
    assert first_share(line) == pytest.approx(1, abs=1e-5)
    assert first_share(torch.randn(20_000, 3, generator=generator)) == pytest.approx(1 / 3, abs=0.02)


def test_stretching_divides_all_directions_but_the_first(generator):
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    by_hand = x * torch.tensor([1.0, 0.25, 0.25])
    torch.testing.assert_close(stretched_kernel(4.0)(x, None), limit_kernels(by_hand).total)
    torch.testing.assert_close(stretched_kernel(4.0)(x[:2], x[2:]), limit_kernels(by_hand[:2], by_hand[2:]).total)


def test_the_figures_show_eigenvectors_components_and_errors(data):
    eigenvectors, components, errors = EXPERIMENT.figures(data)
    assert len(eigenvectors.charts) == 4
    assert len(components.charts[0].choices) == 2
    assert len(errors.charts[0].choices[0].views[0].series) == 5
