"""Chains of maps against products that still fit into floating point."""

import math

import pytest
import torch

from learnscope.networks.chains import (
    log_norms,
    log_singular_range,
    tanh_fixed_point,
    tanh_gradient_growth,
    tanh_jacobians,
)
from learnscope.networks.deep_linear import product
from learnscope.randomness import generator


def chain(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator("test chains", *shape), dtype=torch.float64)


def test_norms_along_the_chain_are_those_of_the_partial_products():
    maps, vector = chain(2, 5, 3, 3), chain(2, 3)
    logs = log_norms(maps, vector)
    for k in range(6):
        ahead = vector if k == 0 else (product(maps[:, :k].unbind(1)) @ vector[..., None])[..., 0]
        torch.testing.assert_close(logs[:, k], ahead.norm(dim=-1).log())


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_the_range_of_singular_values_is_that_of_the_product(depth):
    maps = chain(3, depth, 4, 4)
    values = torch.linalg.svdvals(product(maps.unbind(-3)))
    least, largest = log_singular_range(maps)
    torch.testing.assert_close(least, values[:, -1].log())
    torch.testing.assert_close(largest, values[:, 0].log())


def test_the_range_goes_beyond_what_the_product_can_hold():
    turn = torch.linalg.qr(chain(2, 2)).Q
    maps = (turn @ torch.tensor([[1e-4, 0.0], [0.0, 1e4]]).double() @ turn.mT).expand(300, 2, 2)
    least, largest = log_singular_range(maps)
    assert float(largest) == pytest.approx(1200 * math.log(10), rel=1e-9)
    assert float(least) == pytest.approx(-1200 * math.log(10), rel=1e-6)


def test_float32_stays_and_maps_are_left_alone():
    maps = chain(3, 2, 2).float()
    before = maps.clone()
    outcomes = (log_norms(maps, maps[0, 0]), *log_singular_range(maps))
    assert {outcome.dtype for outcome in outcomes} == {torch.float32}
    assert torch.equal(maps, before)


@pytest.mark.parametrize(("weight_std", "bias_std"), [(0.7, 0.3), (1.5, 0.3), (3.0, 1.0)])
def test_a_wide_random_layer_keeps_the_fixed_point_and_stretches_as_predicted(weight_std, bias_std):
    width, random = 4000, generator("test fixed point", weight_std)
    q = tanh_fixed_point(weight_std, bias_std)
    hidden = q**0.5 * torch.randn(width, generator=random, dtype=torch.float64)
    after = weight_std**2 * hidden.tanh().square().mean() + bias_std**2
    slopes = 1 - hidden.tanh().square()
    assert float(after) == pytest.approx(q, rel=0.1)  # five standard errors of a mean of 4000
    growth = math.log(weight_std) + 0.5 * float(slopes.square().mean().log())
    assert growth == pytest.approx(tanh_gradient_growth(weight_std, bias_std), abs=0.05)


def test_without_biases_small_weights_have_no_signal_and_the_growth_of_a_linear_network():
    assert tanh_fixed_point(0.9, 0.0) < 1e-12
    assert tanh_gradient_growth(0.9, 0.0) == pytest.approx(math.log(0.9))
    assert tanh_gradient_growth(1.5, 0.0) > 0


@pytest.mark.parametrize("skip", [0.0, 1.0])
def test_jacobians_of_tanh_layers_multiply_to_that_of_the_network(skip):
    weights, biases, start = chain(2, 3, 4, 4), chain(2, 3, 4), chain(2, 4)

    def network(signal: torch.Tensor) -> torch.Tensor:
        for k in range(3):
            signal = weights[1, k] @ signal.tanh() + biases[1, k] + skip * signal
        return signal

    jacobian = torch.autograd.functional.jacobian(network, start[1])
    product_of_layers = product(tanh_jacobians(weights, biases, start, skip).unbind(-3))
    torch.testing.assert_close(product_of_layers[1], jacobian)


def test_the_growth_of_gradients_is_that_of_simulated_networks_at_small_width():
    width, layers, copies, random = 30, 40, 60, generator("test gradient growth")
    weights = 1.5 * width**-0.5 * torch.randn(copies, layers, width, width, generator=random, dtype=torch.float64)
    biases = 0.3 * torch.randn(copies, layers, width, generator=random, dtype=torch.float64)
    start = tanh_fixed_point(1.5, 0.3) ** 0.5 * torch.randn(copies, width, generator=random, dtype=torch.float64)
    ends = torch.randn(copies, width, generator=random, dtype=torch.float64)
    logs = log_norms(tanh_jacobians(weights, biases, start).flip(-3).mT, ends)
    growth = (logs[:, -1] - logs[:, 0]) / layers
    slack = 4 * float(growth.std()) / copies**0.5 + 2 / width**2
    assert float(growth.mean()) == pytest.approx(tanh_gradient_growth(1.5, 0.3, width), abs=slack)
    assert float(growth.mean()) < tanh_gradient_growth(1.5, 0.3) - slack
