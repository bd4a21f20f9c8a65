"""Components of a kernel: their shares of the label sum to one, and their information is that of a posterior."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnscope.errors import InputError
from learnscope.observables.label_components import (
    component_information,
    label_components,
    label_shares,
    nth_distance,
)
from learnscope.observables.reference import alignment as reference
from learnscope.randomness import generator

random = generator("test label components")


def gram(n: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    x = torch.randn(n, n, generator=random, dtype=torch.float64)
    return (x @ x.T).to(dtype)


@pytest.mark.parametrize(
    "y", [torch.arange(12) % 2, torch.arange(12) % 4, torch.randn(12, 3, generator=random).double(), torch.ones(12)]
)
def test_shares_are_those_of_the_definition_and_sum_to_one(y):
    kernel = gram(12)
    found = label_components(kernel, y, 12)
    np.testing.assert_allclose(found.shares, reference.label_shares(kernel.numpy(), y.numpy()), atol=1e-12)
    assert float(found.cumulative[-1]) == pytest.approx(1)


def test_shares_of_plus_and_minus_one_are_squared_projections():
    y = torch.tensor([1.0, -1, -1, 1, -1])
    found = label_components(gram(5), y, 3)
    expected = (found.components.T @ y.double()).square() / 25
    torch.testing.assert_close(found.shares, expected)
    torch.testing.assert_close(label_shares(found.components, ((y + 1) / 2).long()), expected)


def test_how_many_components_hold_the_label():
    y = torch.tensor([1.0, 1, -1, -1])
    a, b = torch.tensor([1.0, -1, 0, 0]), torch.tensor([0.0, 0, 1, -1])
    kernel = 9 * torch.outer(a, a) + 4 * torch.outer(b, b) + torch.outer(y, y)
    assert label_components(kernel, y, 3).needed_for(0.9) == 3
    assert label_components(kernel, y, 2).needed_for(0.9) is None
    assert label_components(kernel, a, 2).needed_for(0.99) == 1


def test_a_kernel_in_single_precision_with_its_rounding():
    x = torch.randn(60, 200, generator=random)
    kernel, y = x @ x.T, torch.arange(60) % 3
    found = label_components(kernel, y, 10)
    np.testing.assert_allclose(found.shares, reference.label_shares(kernel.double().numpy(), y.numpy())[:10], atol=1e-4)


def test_one_class_has_no_shares():
    assert bool(label_components(gram(6), torch.zeros(6, dtype=torch.int64), 2).shares.isnan().all())


@pytest.mark.parametrize(("classes", "k"), [(2, 5), (2, 1), (3, 2), (5, 3)])
def test_information_equals_the_definition(classes, k):
    n = 41
    y = torch.arange(n) % classes
    columns = torch.randn(n, 3, generator=random, dtype=torch.float64) + torch.outer(y, torch.tensor([0.0, 0.5, 3.0]))
    found = component_information(columns, y, neighbours=k)
    expected = [reference.component_information(columns[:, r].numpy(), y.numpy(), k) for r in range(3)]
    np.testing.assert_allclose(found.value, expected)


def test_information_of_known_distributions():
    """Two unit Gaussians μ apart: H(y) − E H(posterior), by quadrature."""
    n, shift = 4000, 2.0
    y = torch.arange(n) % 2
    x = torch.randn(n, generator=random, dtype=torch.float64) + shift * y
    grid = torch.linspace(-8, 10, 20001, dtype=torch.float64)
    densities = torch.stack([(-((grid - c) ** 2) / 2).exp() / math.sqrt(2 * math.pi) for c in (0, shift)])
    mixture = densities.mean(0)
    posterior = densities / densities.sum(0)
    truth = 1 - float(torch.trapezoid(mixture * torch.special.entr(posterior).sum(0), grid)) / math.log(2)
    bias = 0.5 / (2 * 5 * math.log(2))  # of a component that knows nothing; less of one that knows
    found = component_information(x, y)
    assert bool(found.converged)
    assert truth - 3 * float(found.standard_error) < float(found) < truth + bias + 3 * float(found.standard_error)


def test_a_component_that_knows_nothing_reads_the_bias_that_is_written_down():
    for classes in (2, 10):
        y = torch.arange(2000) % classes
        columns = torch.randn(2000, 20, generator=random, dtype=torch.float64)
        found = component_information(columns, y)
        bias = (1 - 1 / classes) / (2 * 5 * math.log(2))
        assert float(found.value.mean()) == pytest.approx(bias, rel=0.15)


@given(st.integers(0, 2**31), st.floats(0.01, 100))
@settings(max_examples=30, deadline=None)
def test_scale_order_and_names_of_classes_do_not_matter(seed, scale):
    draws = torch.Generator().manual_seed(seed)
    x, y = torch.randn(30, generator=draws, dtype=torch.float64), torch.arange(30) % 2
    order = torch.randperm(30, generator=draws)
    value = component_information(x, y).value
    torch.testing.assert_close(component_information(-scale * x[order], 2.0 * y[order] - 1).value, value)


def test_equal_values_of_one_class_only_are_certain():
    y = torch.arange(40) % 2
    assert float(component_information(y.double(), y)) == pytest.approx(1)
    assert float(component_information(torch.zeros(40), y)) == pytest.approx(0)


def test_doubt_is_told():
    y = torch.arange(60) % 2
    x = torch.randn(60, generator=random)
    assert bool(component_information(x, y).converged)
    assert not bool(component_information(x[:30], y[:30]).converged)
    assert bool(component_information(x, 0 * y).value.isnan())
    x[3] = torch.nan
    both = component_information(torch.stack([x, y.float()], 1), y)
    assert both.value.isnan().tolist() == [True, False]


def test_information_refuses_what_it_cannot_use():
    with pytest.raises(InputError, match="has 5 examples, but more than neighbours=5"):
        component_information(torch.randn(30, generator=random), (torch.arange(30) < 5).long())
    with pytest.raises(InputError, match="classes must be integers"):
        component_information(torch.ones(3), torch.tensor([0.1, 0.2, 0.3]))


@given(st.integers(1, 8), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_distances_on_a_line(k, seed):
    draws = torch.Generator().manual_seed(seed)
    members = torch.randint(10, (8,), generator=draws).double()
    values = torch.randint(12, (5,), generator=draws).double() - 1
    expected = (values[:, None] - members).abs().sort(1).values[:, k - 1]
    assert nth_distance(values, members, k).tolist() == expected.tolist()
    both = nth_distance(torch.stack([values, -values]), torch.stack([members, -members]), k)
    assert both.tolist() == [expected.tolist()] * 2
