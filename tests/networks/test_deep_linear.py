"""Products of matrices, their gradients, and their usual initial weights."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnscope.errors import InputError
from learnscope.networks.deep_linear import (
    DeepLinear,
    balanced_factors,
    factor_gradients,
    gaussian_factors,
    prefix_products,
    product,
)
from learnscope.randomness import generator

DIMS = st.lists(st.integers(1, 5), min_size=2, max_size=6)


def drawn(dims, batch=(), seed=0):
    return gaussian_factors(dims, 1.0, generator("deep linear", seed), batch)


@given(DIMS, st.sampled_from([(), (3,), (2, 3)]))
@settings(max_examples=30, deadline=None)
def test_products_are_those_of_numpy(dims, batch):
    factors = drawn(dims, batch)
    expected = factors[0].numpy()
    prefixes = prefix_products(factors)
    for prefix, factor in zip(prefixes, [None, *factors[1:]], strict=True):
        expected = expected if factor is None else np.matmul(factor.numpy(), expected)
        np.testing.assert_allclose(prefix.numpy(), expected, atol=1e-12)
    assert torch.equal(product(factors), prefixes[-1])


@given(DIMS, st.sampled_from([(), (3,)]))
@settings(max_examples=30, deadline=None)
def test_gradients_are_those_of_autograd(dims, batch):
    factors = [factor.requires_grad_() for factor in drawn(dims, batch)]
    direction = torch.randn(product(factors).shape, generator=generator("direction"), dtype=torch.float64)
    expected = torch.autograd.grad((direction * product(factors)).sum(), factors)
    with torch.no_grad():
        for prefixes in (None, prefix_products(factors)):
            for gradient, exact in zip(factor_gradients(factors, direction, prefixes=prefixes), expected, strict=True):
                torch.testing.assert_close(gradient, exact)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (2, 6), (2, 3, 4)])
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_balanced_factors_have_the_product_and_are_balanced(shape, depth):
    matrix = torch.randn(shape, generator=generator("matrix"), dtype=torch.float64)
    factors = balanced_factors(matrix, depth)
    assert len(factors) == depth
    torch.testing.assert_close(product(factors), matrix)
    for before, after in itertools.pairwise(factors):
        torch.testing.assert_close(after.mT @ after, before @ before.mT)


def test_balanced_factors_are_the_shortest():
    matrix = torch.randn(4, 4, generator=generator("matrix"), dtype=torch.float64)
    factors = balanced_factors(matrix, 3)
    least = sum(float(factor.square().sum()) for factor in factors)
    for seed in range(20):
        left, right = torch.randn(2, 4, 4, generator=generator("gauge", seed), dtype=torch.float64)
        other = [left @ factors[0], right @ factors[1] @ left.inverse(), factors[2] @ right.inverse()]
        torch.testing.assert_close(product(other), matrix)
        assert sum(float(factor.square().sum()) for factor in other) > least


def test_gaussian_factors_have_the_variance_that_is_asked_for():
    scales = torch.tensor([1.0, 0.1], dtype=torch.float64)
    factors = gaussian_factors((300, 200, 400), scales, generator("law"), (2,))
    assert [factor.shape for factor in factors] == [(2, 200, 300), (2, 400, 200)]
    for factor in factors:
        variance = factor.square().mean((-2, -1)) * factor.shape[-1] / scales.square()
        assert variance.tolist() == pytest.approx([1, 1], abs=5 * (2 / (200 * 300)) ** 0.5)


def test_a_product_of_square_factors_has_the_size_of_the_scale():
    factors = gaussian_factors((100,) * 4, 1e-3 ** (1 / 3), generator("size"), (20,))
    norm = product(factors).square().sum((-2, -1)).mean().sqrt()
    assert float(norm) == pytest.approx(1e-3 * 100**0.5, rel=0.02)


def test_global_randomness_is_neither_used_nor_changed():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, second = drawn((3, 4, 2)), drawn((3, 4, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes_are_kept(dtype):
    factors = gaussian_factors((3, 4, 2), 1.0, generator("dtype"), dtype=dtype)
    matrix = product(factors)
    made = [matrix, *factors, *factor_gradients(factors, matrix), *balanced_factors(matrix, 3)]
    assert {tensor.dtype for tensor in made} == {dtype}


def test_the_module_is_the_product_and_its_gradients():
    network = DeepLinear((5, 8, 8, 3), 0.7, generator=generator("module")).double()
    x = torch.randn(10, 5, generator=generator("x"), dtype=torch.float64)
    torch.testing.assert_close(network(x), x @ product(network.factors).mT)
    network(x).square().sum().backward()
    with torch.no_grad():
        exact = factor_gradients(network.factors, 2 * product(network.factors) @ x.mT @ x)
    for factor, gradient in zip(network.factors, exact, strict=True):
        torch.testing.assert_close(factor.grad, gradient)


def test_the_module_names_its_layers_and_has_no_biases():
    network = DeepLinear((5, 8, 3), generator=generator("module"))
    assert [name for name, _ in network.named_parameters()] == ["fc1.weight", "output.weight"]
    assert len(DeepLinear((5, 3), generator=generator("module")).factors) == 1


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: product([]), "factors is empty"),
        (lambda: product([torch.ones(3, 2), torch.ones(2, 2)]), "factor 2 has 2 columns but factor 1 has 3 rows"),
        (lambda: balanced_factors(torch.eye(2), 0), "depth is 0"),
        (lambda: gaussian_factors((3,), 1.0, generator()), r"dims is \(3,\)"),
        (lambda: gaussian_factors((3, 0), 1.0, generator()), r"dims\[1\] is 0"),
        (lambda: DeepLinear((3,), generator=generator()), r"dims is \(3,\)"),
    ],
)
def test_bad_input_is_told(call, told):
    with pytest.raises(InputError, match=told):
        call()
