"""Products and gradients in memory that is used again equal those of ``networks.deep_linear`` and of autograd."""

import pytest
import torch

from learnscope.dynamics.chain_rule import ChainRule
from learnscope.networks.deep_linear import factor_gradients, gaussian_factors, product
from learnscope.randomness import generator

DIMS = (4, 5, 2, 6, 3)


def problem(depth, members):
    dims = (*DIMS[:depth], DIMS[-1])
    factors = gaussian_factors(dims, 0.8, generator("factors", depth), (members,))
    target = torch.randn(members, dims[-1], dims[0], generator=generator("target"), dtype=torch.float64)
    return factors, target


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("members", [0, 1, 7])
def test_it_is_the_chain_rule(depth, members):
    factors, target = problem(depth, members)
    chain = ChainRule(factors)
    difference = chain.difference(target)
    torch.testing.assert_close(difference, product(factors) - target)
    gradient = torch.sin(difference)
    for found, expected in zip(chain.gradients(gradient), factor_gradients(factors, gradient), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("depth", [1, 3])
def test_it_is_what_autograd_finds_for_one_target(depth):
    factors, target = problem(depth, 3)
    chain = ChainRule(factors)
    weights = [factor.clone().requires_grad_() for factor in factors]
    expected = torch.autograd.grad((product(weights) - target[0]).pow(3).sum(), weights)
    found = chain.gradients(3 * chain.difference(target[0]).square())
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_it_follows_factors_that_change_in_place_and_leaves_them_and_the_target_alone(depth):
    factors, target = problem(depth, 2)
    chain = ChainRule(factors)
    chain.gradients(chain.difference(target))
    before = [factor.mul_(2).clone() for factor in (*factors, target)]
    chain.gradients(difference := chain.difference(target))
    torch.testing.assert_close(difference, product(before[:-1]) - before[-1])
    for now, then in zip((*factors, target), before, strict=True):
        assert torch.equal(now, then)
