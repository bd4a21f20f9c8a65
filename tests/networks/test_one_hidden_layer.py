import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import grad

from learnscope.errors import InputError
from learnscope.networks.activations import KINDS, Activation, activation
from learnscope.networks.one_hidden_layer import OneHiddenLayer, one_hidden_layer


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.sampled_from(KINDS), st.integers(0, 2**31))
@settings(deadline=None, max_examples=30)
def test_the_outputs_are_the_sum_over_neurons(width, dim, n, kind, seed):
    network = one_hidden_layer(width, dim, seeded(seed), activation=Activation(kind, 3.0, 1.5), mirrored=False)
    x = torch.randn(n, dim, generator=seeded(seed + 1), dtype=torch.float64)
    by_hand = torch.zeros(n, dtype=torch.float64)
    for k in range(width):
        u = x @ network.weights[k] / math.sqrt(dim) + network.biases[k]
        by_hand += network.outputs[k] * network.activation.value(u) / width
    assert network(x).tolist() == pytest.approx(by_hand.tolist(), abs=1e-14)
    assert network.preactivations(x).shape == (n, width)


def test_leading_dimensions_are_networks_of_their_own():
    one, other = (one_hidden_layer(4, 2, seeded(k)) for k in (0, 1))
    both = OneHiddenLayer(
        torch.stack([one.weights, other.weights]),
        torch.stack([one.biases, other.biases]),
        torch.stack([one.outputs, other.outputs]),
        one.activation,
    )
    x = torch.randn(3, 2, generator=seeded(2), dtype=torch.float64)
    assert torch.equal(both(x), torch.stack([one(x), other(x)]))
    assert torch.equal(both[1].weights, other.weights)


@pytest.mark.parametrize("n", [0, 1, 5, 23])
@pytest.mark.parametrize("moments", [(), (3,)])
def test_examples_some_at_a_time_give_what_all_at_once_do(n, moments, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    weights, biases, outputs = (torch.randn(*moments, 6, *more, generator=generator) for more in ((2,), (), ()))
    network = OneHiddenLayer(weights, biases, outputs, Activation("tanh"))
    x = torch.randn(n, 2, generator=generator)
    whole = network(x)
    monkeypatch.setattr("learnscope.networks.one_hidden_layer.CHUNK", 40)
    assert whole.shape == (*moments, n)
    assert torch.allclose(network(x), whole, atol=1e-6)


def test_a_mirrored_network_starts_at_zero_and_a_plain_one_does_not():
    x = torch.randn(50, 3, generator=seeded(1), dtype=torch.float64)
    assert float(one_hidden_layer(100, 3, seeded())(x).abs().max()) < 1e-15
    assert float(one_hidden_layer(100, 3, seeded(), mirrored=False)(x).abs().max()) > 1e-2


def test_the_parameters_have_the_scales_that_were_asked_for():
    network = one_hidden_layer(20000, 2, seeded(), bias_scale=0.5, mirrored=False)
    assert float(network.weights.std()) == pytest.approx(1, abs=0.02)
    assert float(network.outputs.std()) == pytest.approx(1, abs=0.03)
    assert float(network.biases.std()) == pytest.approx(0.5, abs=0.015)
    assert not bool(one_hidden_layer(4, 2, seeded(), bias_scale=0.0).biases.any())


@pytest.mark.parametrize("kind", KINDS)
def test_the_slope_is_the_derivative(kind):
    sigma = Activation(kind, sharpness=4.0, scale=0.7)
    u = torch.tensor([-30.0, -2.0, -0.3, 0.2, 1.0, 40.0], dtype=torch.float64)
    expected = torch.stack([grad(sigma.value)(each) for each in u])
    assert sigma.slope(u).tolist() == pytest.approx(expected.tolist(), abs=1e-14)


def test_the_softplus_is_exact_where_the_library_gives_the_identity():
    u = torch.tensor([3.0], dtype=torch.float64)
    exact = 3 + math.log1p(math.exp(-30)) / 10
    assert float(Activation("softplus", 10.0).value(u)) == pytest.approx(exact, rel=1e-16)


@pytest.mark.parametrize("kind", KINDS)
def test_a_normalised_activation_has_mean_square_one(kind):
    u = torch.linspace(-9, 9, 200_001, dtype=torch.float64)
    density = torch.exp(-u.square() / 2) / math.sqrt(2 * math.pi)
    mean = torch.trapezoid(activation(f"normalised_{kind}", 5.0).value(u).square() * density, u)
    assert float(mean) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: one_hidden_layer(3, 2, seeded()), "odd"),
        (lambda: one_hidden_layer(0, 2, seeded()), "at least one neuron"),
        (lambda: activation("rleu"), "'relu'"),
        (lambda: activation("normalised_tan"), "'normalised_tanh'"),
        (lambda: Activation("softplus", sharpness=0.0), "positive"),
        (lambda: OneHiddenLayer(torch.ones(3, 2), torch.ones(2), torch.ones(3), Activation("relu")), r"\[..., h\]"),
    ],
)
def test_bad_input_gets_one_sentence(make, says):
    with pytest.raises(InputError, match=says):
        make()
