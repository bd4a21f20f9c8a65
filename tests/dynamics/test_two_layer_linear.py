import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from learnscope.dynamics.two_layer_linear import (
    ReducedNetwork,
    direct_step,
    gradient_step,
    random_factors,
    random_network,
    reduced,
)
from learnscope.errors import InputError
from learnscope.randomness import generator as named

SIZES = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 30))


def many(width, outputs=3, inputs=2, variance=0.5, n=20_000):
    """Draw X Xᵀ of many networks from the reduction, as matrices [n, 5, 5]."""
    product, input_gram, output_gram = random_network(outputs, inputs, width, variance, named("many", width), (n,))
    return torch.cat([torch.cat([input_gram, product.mT], -1), torch.cat([product, output_gram], -1)], -2)


@given(SIZES, st.integers(0, 99), st.floats(0, 0.02))
@settings(deadline=None, max_examples=40)
def test_steps_equal_those_of_the_weights_at_any_size(sizes, seed, learning_rate):
    # a saddle of curvature s on the way makes differences of rounding grow by e^(200 η s), about e^16 for s = 4
    follow_both(sizes, seed, learning_rate, 1e-8)


def test_hundred_steps_equal_those_of_the_weights_to_twelve_digits():
    for seed in range(5):
        follow_both((6, 5, 200), seed, 0.02, 1e-12)


def follow_both(sizes, seed, learning_rate, tolerance):
    draws = named("steps", seed)
    factors = random_factors(*sizes, 1 / sizes[2], draws)
    target = torch.randn(sizes[:2], generator=draws, dtype=torch.float64)
    network = reduced(factors)
    for _ in range(100):
        factors = direct_step(factors, factors.second @ factors.first - target, learning_rate)
        network = gradient_step(network, network.product - target, learning_rate)
    for ours, direct in zip(network, reduced(factors), strict=True):
        torch.testing.assert_close(ours, direct, rtol=0, atol=tolerance * max(1.0, float(direct.abs().max())))


def test_a_step_is_gradient_descent_on_each_weight_in_turn():
    factors = random_factors(3, 2, 4, 1.0, named("autograd"))
    target = torch.eye(3, 2, dtype=torch.float64)
    first, second = (weight.clone().requires_grad_() for weight in factors)
    gradient = (second @ first).detach() - target
    (slope,) = torch.autograd.grad((gradient * (second @ first)).sum(), first)
    moved = first.detach() - 0.1 * slope
    (slope,) = torch.autograd.grad((gradient * (second @ moved)).sum(), second)
    after = direct_step(factors, gradient, 0.1)
    torch.testing.assert_close(after.first, moved)
    torch.testing.assert_close(after.second, second.detach() - 0.1 * slope)


def test_networks_of_a_batch_have_learning_rates_of_their_own():
    network = random_network(3, 2, 7, 0.3, named("batch"), (4,))
    rates = torch.tensor([0.0, 0.1, 0.2, 0.3])
    together = gradient_step(network, network.product - 1, rates)
    for k, rate in enumerate(rates.tolist()):
        alone = gradient_step(ReducedNetwork(*(part[k] for part in network)), network.product[k] - 1, rate)
        for ours, single in zip(together, alone, strict=True):
            torch.testing.assert_close(ours[k], single, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("width", [1, 3, 5, 8, 1000])
def test_the_start_has_the_moments_of_a_wishart_matrix(width):
    drawn = many(width) / 0.5
    mean = drawn.mean(0)
    torch.testing.assert_close(mean, width * torch.eye(5).double(), rtol=0, atol=6 * (2 * width / 20_000) ** 0.5)
    variance = drawn.var(0)
    expected = width * (torch.ones(5, 5) + torch.eye(5)).double()
    torch.testing.assert_close(variance, expected, rtol=0.3 if width < 5 else 0.1, atol=0)


@pytest.mark.parametrize("width", [1, 2, 4])
def test_below_the_dimensions_the_start_has_the_rank_of_the_width(width):
    values = torch.linalg.eigvalsh(many(width, n=50))
    assert bool((values[:, : 5 - width].abs() < 1e-12).all())
    assert bool((values[:, 5 - width :] > 1e-6).all())


@pytest.mark.parametrize("width", [2, 5, 40])
def test_the_start_has_the_law_of_drawn_weights(width):
    drawn, factors = many(width, n=4000), random_factors(3, 2, width, 0.5, named("law", width), (4000,))
    product, input_gram, output_gram = reduced(factors)
    for direction in (torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0]), torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0])):
        x, y = direction[:2].double(), direction[2:].double()
        ours = torch.einsum("i,nij,j->n", direction.double(), drawn, direction.double())
        direct = x @ (input_gram @ x).mT + y @ (output_gram @ y).mT + 2 * (product @ x) @ y
        assert stats.ks_2samp(ours, direct).pvalue > 1e-3
        exact = stats.chi2(width, scale=0.5 * float(direction.square().sum()))
        assert stats.kstest(ours.numpy(), exact.cdf).pvalue > 1e-3
    largest = torch.linalg.matrix_norm(product, ord=2)
    assert stats.ks_2samp(torch.linalg.matrix_norm(drawn[:, 2:, :2], ord=2), largest).pvalue > 1e-3


def test_widths_that_no_memory_holds_are_drawn_exactly():
    width = 10**12
    diagonal = random_network(1, 1, width, 1.0, named("wide"), (2000,)).input_gram.flatten()
    standardised = (diagonal - width) / (2 * width) ** 0.5
    assert stats.kstest(standardised.numpy(), "norm").pvalue > 1e-3


def test_gram_matrices_stay_symmetric_and_inputs_are_left_alone():
    network = random_network(4, 3, 9, 0.2, named("symmetric"), dtype=torch.float32)
    before = [part.clone() for part in network]
    after = gradient_step(network, network.product, 0.3)
    assert all(torch.equal(part, kept) for part, kept in zip(network, before, strict=True))
    assert all(part.dtype == torch.float32 for part in after)
    assert torch.equal(after.input_gram, after.input_gram.mT)
    assert torch.equal(after.output_gram, after.output_gram.mT)


def test_single_precision_follows_double_over_a_hundred_steps():
    network = random_network(20, 20, 4000, 1e-3, named("precision"))
    target = torch.randn(20, 20, generator=named("target"), dtype=torch.float64)
    single = ReducedNetwork(*(part.float() for part in network))
    for _ in range(100):
        network = gradient_step(network, network.product - target, 0.02)
        single = gradient_step(single, single.product - target.float(), 0.02)
    error = (single.product - network.product).abs().max() / network.product.abs().max()
    assert float(error) < 1e-5


def test_the_same_generator_gives_the_same_network():
    first, second = (random_network(3, 3, 50, 0.1, named("again")) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_an_empty_batch_and_no_variance_are_fine():
    assert random_network(2, 3, 4, 1.0, named("none"), (0,)).product.shape == (0, 2, 3)
    still = random_network(2, 3, 4, 0.0, named("still"))
    assert np.abs(still.product.numpy()).max() == 0


@pytest.mark.parametrize("draw", [random_network, random_factors])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [((2, 2, 0, 1.0), "width is 0"), ((0, 2, 3, 1.0), "outputs is 0"), ((2, 2, 3, -1.0), "variance is -1")],
)
def test_says_in_a_sentence_what_cannot_be_drawn(draw, arguments, said):
    with pytest.raises(InputError, match=said):
        draw(*arguments, named("wrong"))


def test_says_in_a_sentence_that_a_gradient_has_another_shape():
    factors = random_factors(3, 2, 4, 1.0, named("shape"))
    with pytest.raises(InputError, match=r"shape \[2, 3\], but the network computes matrices of 3 × 2"):
        gradient_step(reduced(factors), torch.zeros(2, 3).double(), 0.1)
    with pytest.raises(InputError, match="3 × 2"):
        direct_step(factors, torch.zeros(2, 3).double(), 0.1)
