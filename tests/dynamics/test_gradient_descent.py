"""A stack descends as each network would by itself, in plain PyTorch."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnscope.dynamics import stack
from learnscope.dynamics.end_to_end import two_layer_mode
from learnscope.dynamics.gradient_descent import (
    GroupRMSprop,
    SquaredError,
    descend,
    descend_on_entries,
    log_spaced_steps,
)
from learnscope.networks.deep_linear import balanced_factors, gaussian_factors, product
from learnscope.randomness import generator

MEMBERS = 5
RATES = torch.tensor([0.02, 0.05, 0.01, 0.03, 0.04], dtype=torch.float64)
PENALTIES = torch.tensor([0.0, 0.1, 0.2, 0.0, 0.05], dtype=torch.float64)


def problem(depth, members=MEMBERS):
    factors = gaussian_factors((4, *(5,) * (depth - 1), 3), 0.8, generator("start", depth), (members,))
    target = torch.randn(3, 4, generator=generator("target"), dtype=torch.float64)
    weight = torch.rand(members, 3, 4, generator=generator("weight"), dtype=torch.float64)
    return factors, SquaredError(target, weight)


def by_autograd(factors, loss, rate, penalty, n_steps, rule=None):
    """One network in plain PyTorch."""
    weights = [factor.clone().requires_grad_() for factor in factors]
    moment = 0.0
    for step in range(1, n_steps + 1):
        value = loss.value(product(weights)) + penalty * sum(weight.square().sum() for weight in weights)
        gradients = torch.autograd.grad(value, weights)
        moment = 0.99 * moment + 0.01 * float(sum(gradient.square().sum() for gradient in gradients))
        size = rate if rule is None else rate / ((moment / (1 - 0.99**step)) ** 0.5 + 1e-4)
        weights = [(w - size * g).detach().requires_grad_() for w, g in zip(weights, gradients, strict=True)]
    return [weight.detach() for weight in weights]


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("rule", [None, GroupRMSprop])
def test_every_member_descends_as_autograd_would(depth, rule):
    factors, loss = problem(depth)
    before = [factor.clone() for factor in factors]
    run = descend(factors, loss, RATES, n_steps=30, penalty=PENALTIES, rule=rule and rule())
    assert all(torch.equal(factor, old) for factor, old in zip(factors, before, strict=True))
    assert run.n_steps.tolist() == [30] * MEMBERS
    for k in range(MEMBERS):
        alone = SquaredError(loss.target, loss.weight[k])
        expected = by_autograd([factor[k] for factor in factors], alone, RATES[k], PENALTIES[k], 30, rule)
        for factor, exact in zip(run.factors, expected, strict=True):
            torch.testing.assert_close(factor[k], exact)


@pytest.mark.parametrize("rule", [None, GroupRMSprop])
def test_members_that_leave_do_not_disturb_the_others(rule):
    factors, loss = problem(3)
    given_rule = {"rule": rule and rule()}
    together = descend(factors, loss, RATES, n_steps=300, tolerance=0.05, **given_rule)
    assert len(set(together.n_steps.tolist())) > 2
    for k in range(MEMBERS):
        alone = descend(
            [factor[k : k + 1] for factor in factors],
            SquaredError(loss.target, loss.weight[k]),
            RATES[k],
            n_steps=300,
            tolerance=0.05,
            rule=rule and rule(),
        )
        assert alone.n_steps.item() == together.n_steps[k].item()
        assert alone.converged.item() == together.converged[k].item()
        for factor, other in zip(alone.factors, together.factors, strict=True):
            torch.testing.assert_close(factor[0], other[k])


@pytest.mark.parametrize("rule", [None, GroupRMSprop])
def test_blocks_make_no_difference(monkeypatch, rule):
    factors, loss = problem(3)
    settings = {"n_steps": 200, "tolerance": 0.05, "observers": {"a": product}, "observed_steps": [0, 50, 199]}
    whole = descend(factors, loss, RATES, rule=rule and rule(), **settings)
    monkeypatch.setattr(stack, "FAST_MEMORY", 2 * stack.COPIES * sum(factor[0].nbytes for factor in factors))
    split = descend(factors, loss, RATES, rule=rule and rule(), **settings)
    assert split.n_steps.tolist() == whole.n_steps.tolist()
    torch.testing.assert_close(split.observed["a"], whole.observed["a"])
    torch.testing.assert_close(product(split.factors), product(whole.factors))


def test_a_run_ends_at_the_first_step_within_the_tolerance():
    factors, loss = problem(2)
    tolerance = 0.1
    run = descend(factors, loss, RATES, n_steps=2000, tolerance=tolerance)
    assert bool(run.converged.all())
    assert bool((loss.value(product(run.factors)) <= tolerance).all())
    last = int(run.n_steps.argmax())
    earlier = descend(factors, loss, RATES, n_steps=int(run.n_steps[last]) - 1)
    assert float(loss.value(product(earlier.factors))[last]) > tolerance


def test_a_member_that_diverges_leaves_and_did_not_converge():
    factors, loss = problem(3)
    rates = RATES.clone()
    rates[2] = 1e3
    run = descend(factors, loss, rates, n_steps=500, tolerance=0.05)
    assert not run.converged[2]
    assert run.n_steps[2] < 50
    assert run.converged[1]


def test_nothing_happens_in_no_steps():
    factors, loss = problem(2)
    run = descend(factors, loss, RATES, n_steps=0, tolerance=1e9, observers={"a": product}, observed_steps=[0])
    assert bool(run.converged.all())
    assert torch.equal(run.observed["a"][0], product(factors))


def test_observers_see_the_state_after_that_many_steps():
    factors, loss = problem(2)
    steps = [0, 1, 7, 20, 90]
    run = descend(
        factors, loss, RATES, n_steps=40, tolerance=0.2, observers={"product": product}, observed_steps=[*steps, 1]
    )
    assert run.steps.tolist() == [0, 1, 7, 20]
    for step, seen in zip(run.steps.tolist(), run.observed["product"], strict=True):
        torch.testing.assert_close(seen, product(descend(factors, loss, RATES, n_steps=step, tolerance=0.2).factors))


def test_small_steps_follow_the_logistic_curve_of_a_balanced_mode():
    strength = torch.tensor([[[0.01]], [[0.1]]], dtype=torch.float64)
    loss = SquaredError(torch.tensor([[2.0]], dtype=torch.float64), torch.tensor([[0.5]], dtype=torch.float64))
    rate, steps = 1e-3, [500, 1500, 3000]
    run = descend(
        balanced_factors(strength, 2),
        loss,
        rate,
        n_steps=3000,
        observers={"a": lambda factors: product(factors)[:, 0, 0]},
        observed_steps=steps,
    )
    times = rate * torch.tensor(steps, dtype=torch.float64)[:, None]
    exact = two_layer_mode(strength[:, 0, 0], torch.tensor(2.0, dtype=torch.float64), times)
    torch.testing.assert_close(run.observed["a"], exact, rtol=0.02, atol=0)


def test_one_layer_contracts_by_the_closed_form():
    start, loss = problem(1)
    run = descend(start, loss, 0.1, n_steps=12)
    shrunk = loss.target + (start[0] - loss.target) * (1 - 0.2 * loss.weight) ** 12
    torch.testing.assert_close(run.factors[0], shrunk)


def test_a_single_entry_is_gradient_descent_on_it():
    factors, loss = problem(3)
    one = torch.zeros(3, 4, dtype=torch.float64)
    one[1, 2] = 0.7
    loss = SquaredError(loss.target, one)
    expected = descend(factors, loss, RATES, n_steps=40, penalty=PENALTIES)
    run = descend_on_entries(factors, loss, RATES, generator("entries"), n_steps=40, penalty=PENALTIES)
    for factor, exact in zip(run.factors, expected.factors, strict=True):
        torch.testing.assert_close(factor, exact)


def test_random_entries_descend_the_loss_on_average():
    depth, members = 2, 4000
    single, loss = problem(depth, 1)
    factors = [factor.expand(members, -1, -1) for factor in single]
    loss = SquaredError(loss.target, loss.weight[0])
    step = descend_on_entries(factors, loss, 0.01, generator("average"), n_steps=1)
    exact = descend(single, loss, 0.01, n_steps=1)
    for factor, start, end in zip(step.factors, single, exact.factors, strict=True):
        moves = factor - start
        error = 5 * moves.std(0) / members**0.5
        assert bool(((moves.mean(0) - (end - start)[0]).abs() <= error + 1e-12).all())


def test_entries_are_the_same_for_the_same_generator_and_differ_between_members():
    factors, loss = problem(2, 1)
    factors = [factor.expand(3, -1, -1) for factor in factors]
    loss = SquaredError(loss.target, loss.weight[0])
    runs = [descend_on_entries(factors, loss, 0.005, generator("same"), n_steps=1200).factors for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    assert not torch.isclose(runs[0][0][0], runs[0][0][1]).all()


@given(st.integers(0, 10**6), st.integers(1, 20))
@settings(max_examples=50, deadline=None)
def test_log_spaced_steps_rise_from_zero_to_the_last(last, per_decade):
    steps = log_spaced_steps(last, per_decade)
    assert steps[0] == 0
    assert steps[-1] == last
    assert all(a < b for a, b in itertools.pairwise(steps))
    assert all(b <= (a + 0.5) * 10 ** (1 / per_decade) + 0.5 for a, b in itertools.pairwise(steps[1:]))
