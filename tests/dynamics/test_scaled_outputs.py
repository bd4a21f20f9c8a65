"""A stack descends on scaled outputs as each network would by itself, in plain PyTorch."""

import math

import pytest
import torch

from learnscope.dynamics.scaled_outputs import descend
from learnscope.errors import InputError
from learnscope.kernels import gradient_descent_prediction, max_learning_rate
from learnscope.networks.activations import activation
from learnscope.networks.ntk_parametrised import NTKParametrised, unit_weights
from learnscope.randomness import generator

ALPHA = torch.tensor([0.3, 1.0, 20.0], dtype=torch.float64)
RATES = torch.tensor([0.05, 0.1, 0.2], dtype=torch.float64)
TANH = NTKParametrised(activation("tanh"))


def problem(width=6, depth=2, members=3, n=4):
    random = generator("problem")
    x = torch.randn(n, 3, generator=random, dtype=torch.float64)
    y = torch.randn(n, generator=random, dtype=torch.float64)
    one = unit_weights((3, *[width] * (depth - 1), 1), random)
    return [W.expand(members, -1, -1) for W in one], x, y


def by_autograd(weights, x, y, alpha, rate, n_steps, start):
    """One network in plain PyTorch, with the loss written out."""
    for _ in range(n_steps):
        leaves = [W.clone().requires_grad_() for W in weights]
        loss = (alpha * (TANH.outputs(leaves, x) - start) - y).square().sum() / (2 * len(x) * alpha**2)
        gradients = torch.autograd.grad(loss, leaves)
        weights = [W - rate * g for W, g in zip(weights, gradients, strict=True)]
    return weights


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("centred", [True, False])
def test_every_member_descends_as_autograd_would(depth, centred):
    weights, x, y = problem(depth=depth)
    before = [W.clone() for W in weights]
    start = TANH.outputs(weights, x) if centred else torch.zeros(3, 4, dtype=torch.float64)
    run = descend(TANH, weights, x, y, alpha=ALPHA, learning_rate=RATES, n_steps=20, start=None if centred else 0.0)
    assert all(torch.equal(W, old) for W, old in zip(weights, before, strict=True))
    for k in range(3):
        alone = by_autograd([W[k] for W in weights], x, y, ALPHA[k], RATES[k], 20, start[k])
        for W, expected in zip(run.factors, alone, strict=True):
            torch.testing.assert_close(W[k], expected)


def test_members_leave_at_the_tolerance_and_do_not_disturb_the_others():
    weights, x, y = problem(width=40)
    run = descend(TANH, weights, x, y, alpha=ALPHA, learning_rate=RATES, n_steps=5000, tolerance=1e-3)
    assert run.converged.all()
    assert len(set(run.n_steps.tolist())) > 1
    outputs = ALPHA[:, None] * (TANH.outputs(run.factors, x) - TANH.outputs(weights, x))
    errors = (outputs - y).square().mean(-1)
    assert (errors <= 1e-3).all()
    assert (errors > 0.9e-3).all()
    for k in range(3):
        alone = descend(
            TANH,
            [W[k : k + 1] for W in weights],
            x,
            y,
            alpha=float(ALPHA[k]),
            learning_rate=float(RATES[k]),
            n_steps=5000,
            tolerance=1e-3,
        )
        assert alone.n_steps.item() == run.n_steps[k].item()
        for W, other in zip(alone.factors, run.factors, strict=True):
            torch.testing.assert_close(W[0], other[k])


def test_a_linear_model_follows_its_prediction_exactly():
    weights, x, y = problem(depth=1, members=1)
    kernel, zero = TANH.tangent_kernel(weights, x)[0], torch.zeros(4, dtype=torch.float64)
    rate = 0.5 * float(max_learning_rate(kernel))
    steps = [0, 1, 10, 100]
    run = descend(
        TANH,
        weights,
        x,
        y,
        alpha=7.0,
        learning_rate=rate,
        n_steps=100,
        observers={"outputs": lambda now: 7.0 * (TANH.outputs(now, x) - TANH.outputs(weights, x))},
        observed_steps=steps,
    )
    expected = gradient_descent_prediction(kernel, kernel, y, zero, zero, rate, torch.tensor(steps)).train
    torch.testing.assert_close(run.observed["outputs"][:, 0], expected)


def test_large_scales_follow_the_linearisation_with_an_error_of_one_over_alpha():
    weights, x, y = problem(width=50)
    kernel, zero = TANH.tangent_kernel(weights, x)[0], torch.zeros(4, dtype=torch.float64)
    rate = 0.5 * float(max_learning_rate(kernel))
    run = descend(TANH, weights, x, y, alpha=10.0 ** torch.arange(2, 5), learning_rate=rate, n_steps=50)
    outputs = 10.0 ** torch.arange(2, 5)[:, None] * (TANH.outputs(run.factors, x) - TANH.outputs(weights, x))
    linear = gradient_descent_prediction(kernel, kernel, y, zero, zero, rate, 50).train
    errors = (outputs - linear).norm(dim=-1)
    assert (errors[:-1] / errors[1:]).tolist() == pytest.approx([10, 10], rel=0.1)


def test_a_member_that_diverges_leaves_unconverged_and_the_others_go_on():
    weights, x, y = problem(members=2)
    run = descend(
        NTKParametrised(),
        weights,
        x,
        y,
        alpha=1.0,
        learning_rate=torch.tensor([1e6, 0.1], dtype=torch.float64),
        n_steps=30,
    )
    assert run.n_steps[0] < 30
    assert run.n_steps[1] == 30
    assert run.converged.tolist() == [False, False]
    assert all(math.isfinite(float(W[1].sum())) for W in run.factors)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 0.0}, "alpha is 0.0 and"),
        ({"alpha": torch.ones(2)}, "each of the 3 members"),
        ({"alpha": math.nan}, "give a positive α"),
        ({"learning_rate": torch.ones(2)}, "the learning rate tensor"),
        ({"y": torch.zeros(5)}, "give one target for each"),
        ({"weights": [torch.ones(2, 3)]}, "with 1 for one network"),
    ],
)
def test_bad_arguments_are_refused(changes, message):
    weights, x, y = problem()
    arguments = {"weights": weights, "x": x, "y": y, "alpha": 1.0, "learning_rate": 0.1, "n_steps": 1}
    with pytest.raises(InputError, match=message):
        descend(TANH, **arguments | changes)
