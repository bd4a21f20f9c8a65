import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import jacrev, vmap

from learnscope.errors import InputError
from learnscope.kernels.analytic import infinite_width
from learnscope.kernels.analytic.activations import moments

ACTIVATIONS = {"relu": torch.relu, "erf": torch.erf, "linear": lambda u: u}


@pytest.fixture
def x(generator):
    return torch.randn(6, 5, generator=generator, dtype=torch.float64)


def network_kernels(x, width, depth, activation, weight_variance, bias_variance, generator):
    """Return the tangent kernel of a network in this parametrisation, by brute force."""
    sizes = [x.shape[1], *[width] * (depth - 1), 1]
    parameters = {}
    for layer, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        parameters[f"w{layer}"] = torch.randn(n_out, n_in, generator=generator, dtype=torch.float64)
        parameters[f"b{layer}"] = torch.randn(n_out, generator=generator, dtype=torch.float64)

    def output(parameters, z):
        for layer, n_in in enumerate(sizes[:-1]):
            z = ACTIVATIONS[activation](z) if layer else z
            z = (weight_variance / n_in) ** 0.5 * z @ parameters[f"w{layer}"].T + bias_variance**0.5 * parameters[
                f"b{layer}"
            ]
        return z[0]

    jacobian = vmap(jacrev(output), (None, 0))(parameters, x)
    rows = torch.cat([part.flatten(1) for part in jacobian.values()], 1)
    return rows @ rows.T


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_moments_are_gaussian_expectations(activation):
    first, cross, second = 0.8, 0.5, 1.3
    nodes, weights = np.polynomial.hermite_e.hermegauss(180)
    u = math.sqrt(first) * nodes[:, None]
    v = cross / math.sqrt(first) * nodes[:, None] + math.sqrt(second - cross**2 / first) * nodes[None, :]
    measure = weights[:, None] * weights[None, :] / (2 * math.pi)
    function = ACTIVATIONS[activation]
    expected = (measure * (function(torch.tensor(u)) * function(torch.tensor(v))).numpy()).sum()
    value, _ = moments(activation)(*(torch.tensor(s, dtype=torch.float64) for s in (first, cross, second)))
    assert float(value) == pytest.approx(expected, rel=2e-3 if activation == "relu" else 1e-9)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_the_second_moment_is_the_derivative_of_the_first_with_respect_to_the_covariance(activation):
    """Price's theorem: d E[σ(u)σ(v)] / d cross = E[σ'(u)σ'(v)]."""
    cross = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    value, slope = moments(activation)(torch.tensor(0.9).double(), cross, torch.tensor(1.2).double())
    (gradient,) = torch.autograd.grad(value, cross)
    assert float(gradient) == pytest.approx(float(slope.detach()), rel=1e-12)


def test_a_linear_model_has_the_kernel_of_its_inputs(x):
    kernels = infinite_width(x, depth=1, weight_variance=1.5, bias_variance=0.3)
    torch.testing.assert_close(kernels.tangent, 1.5 * x @ x.T / 5 + 0.3)
    torch.testing.assert_close(kernels.nngp, kernels.tangent)


def test_two_relu_layers_have_the_arc_cosine_kernel(x):
    """Cho, Saul 2009, equation 6, with J_1 = sin t + (π - t) cos t."""
    kernels = infinite_width(x, depth=2)
    norms = x.norm(dim=1)
    cosine = (x @ x.T / (norms[:, None] * norms[None, :])).clamp(-1, 1)
    angle = torch.arccos(cosine)
    expected = norms[:, None] * norms[None, :] / (5 * math.pi) * 2 * (torch.sin(angle) + (math.pi - angle) * cosine)
    torch.testing.assert_close(kernels.nngp, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("activation", "depth"), [("relu", 3), ("erf", 3), ("linear", 4)])
def test_wide_networks_converge_to_it_as_one_over_the_root_of_the_width(activation, depth, x, generator):
    limit = infinite_width(x, depth=depth, activation=activation, weight_variance=1.6, bias_variance=0.2).tangent
    errors = []
    for width in (64, 1024):
        kernels = [network_kernels(x, width, depth, activation, 1.6, 0.2, generator) for _ in range(12)]
        errors.append(float(torch.stack([(k - limit).square().mean() for k in kernels]).mean().sqrt() / limit.norm()))
    slope = math.log(errors[1] / errors[0]) / math.log(1024 / 64)
    assert slope == pytest.approx(-0.5, abs=0.15)
    assert errors[1] < 0.02


def test_equal_inputs_at_float32_do_not_leave_the_domain_of_the_arccosine(generator):
    x = torch.randn(3, 700, generator=generator).repeat(2, 1)
    kernels = infinite_width(x, depth=6)
    assert torch.isfinite(kernels.tangent).all()
    torch.testing.assert_close(kernels.tangent[:3, :3], kernels.tangent[3:, :3], rtol=1e-4, atol=1e-4)


def test_an_input_of_zeros_has_no_covariance_with_anything():
    x = torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=torch.float64)
    kernels = infinite_width(x, depth=3)
    assert torch.isfinite(kernels.tangent).all()
    assert float(kernels.nngp[0, 1]) == 0.0


@settings(max_examples=25, deadline=None)
@given(
    depth=st.integers(1, 5),
    bias=st.floats(0, 1),
    activation=st.sampled_from(list(ACTIVATIONS)),
    seed=st.integers(0, 99),
)
def test_kernels_are_symmetric_positive_and_the_tangent_kernel_is_the_larger(depth, bias, activation, seed):
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    kernels = infinite_width(x, depth=depth, activation=activation, bias_variance=bias)
    for kernel in (kernels.nngp, kernels.tangent, kernels.tangent - kernels.nngp):
        torch.testing.assert_close(kernel, kernel.T)
        assert float(torch.linalg.eigvalsh(kernel).min()) > -1e-9 * max(float(kernel.trace()), 1.0)


def test_rectangular_kernels_are_blocks_of_the_square_one(x):
    whole, part = infinite_width(x, depth=4), infinite_width(x[:2], x[2:], depth=4)
    torch.testing.assert_close(part.tangent, whole.tangent[:2, 2:])


def test_wrong_arguments_are_one_sentence(x):
    with pytest.raises(InputError, match="depth is 0"):
        infinite_width(x, depth=0)
    with pytest.raises(InputError, match="x1 has 5 values an example and x2 has 3"):
        infinite_width(x, x[:, :3], depth=2)
    with pytest.raises(InputError, match="activation 'rellu' has no closed form here: choose 'relu'"):
        infinite_width(x, depth=2, activation="rellu")
