"""Eigenvalues on spheres against closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.special import eval_gegenbauer, gammaln, iv, roots_jacobi

from learnscope.distributions.harmonics import legendre, n_harmonics
from learnscope.errors import InputError
from learnscope.kernels.analytic import funk_hecke


@pytest.mark.parametrize("dim", [3, 5, 10])
def test_the_exponential_kernel_has_bessel_functions(dim):
    sharpness, half = 1.7, dim / 2
    expected = [math.gamma(half) * (2 / sharpness) ** (half - 1) * iv(k + half - 1, sharpness) for k in range(8)]
    found = funk_hecke(lambda t: (sharpness * t).exp(), dim, 7)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("dim", [2, 3, 6])
def test_the_poisson_kernel_has_powers(dim):
    r = 0.4
    found = funk_hecke(lambda t: (1 - r**2) / (1 - 2 * r * t + r**2) ** (dim / 2), dim, 10)
    torch.testing.assert_close(found, r ** torch.arange(11, dtype=torch.float64), rtol=1e-9, atol=1e-14)


def step_eigenvalue(k, dim):
    """Return the eigenvalue of [t > 0], k odd, from Rodrigues' formula integrated once."""
    exponent, m = k + (dim - 3) / 2, (k - 1) // 2
    binomial = math.exp(gammaln(exponent + 1) - gammaln(m + 1) - gammaln(exponent - m + 1))
    derivative = binomial * (-1) ** m * math.factorial(2 * m)  # of order k - 1 at 0 of (1 - t²)^exponent
    rodrigues = 0.5**k * math.exp(gammaln((dim - 1) / 2) - gammaln(k + (dim - 1) / 2))
    total = math.sqrt(math.pi) * math.exp(gammaln((dim - 1) / 2) - gammaln(dim / 2))
    return rodrigues * derivative / total


@pytest.mark.parametrize("dim", [3, 4, 10])
def test_the_arc_cosine_kernel_has_squares_of_the_eigenvalues_of_a_step(dim):
    found = funk_hecke(lambda t: (math.pi - torch.arccos(t)) / math.pi, dim, 9)  # 2 E [w · x > 0][w · x' > 0]
    assert float(found[0]) == pytest.approx(0.5)
    assert found[2::2].tolist() == pytest.approx([0.0] * 4, abs=1e-14)
    assert found[1::2].tolist() == pytest.approx([2 * step_eigenvalue(k, dim) ** 2 for k in (1, 3, 5, 7, 9)], rel=1e-8)


def test_smooth_kernels_agree_with_gauss_and_jacobi():
    dim, index = 7, 2.5
    place, weight = roots_jacobi(200, 2.0, 2.0)
    values = 1 / (1.5 - place)
    expected = [
        float(weight @ (values * eval_gegenbauer(k, index, place))) / eval_gegenbauer(k, index, 1.0) / weight.sum()
        for k in range(10)
    ]
    np.testing.assert_allclose(funk_hecke(lambda t: 1 / (1.5 - t), dim, 9).numpy(), expected, rtol=1e-10)


def test_the_series_of_harmonics_is_the_kernel():
    eigenvalues = funk_hecke(lambda t: (2 * t).exp(), 4, 30)
    counts = torch.tensor([n_harmonics(k, 4) for k in range(31)])
    t = torch.linspace(-1, 1, 9, dtype=torch.float64)
    torch.testing.assert_close((eigenvalues * counts) @ legendre(t, 4, 30), (2 * t).exp())


def test_several_kernels_are_decomposed_at_once():
    found = funk_hecke(lambda t: torch.stack([torch.ones_like(t), t, t**2]), 3, 2)
    expected = torch.tensor([[1, 0, 0], [0, 1 / 3, 0], [1 / 3, 0, 2 / 15]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, atol=1e-14, rtol=0)


def test_wrong_arguments_are_one_sentence():
    with pytest.raises(InputError, match="do not resolve degree 50"):
        funk_hecke(torch.exp, 3, 50, nodes=50)
    with pytest.raises(InputError, match="dimension is 1"):
        funk_hecke(torch.exp, 1, 5)
