import math

import pytest
import torch

from learnscope.dynamics.shallow import Stop, descend
from learnscope.dynamics.shallow.batches import Batches, Descent, batches
from learnscope.dynamics.shallow.reference import Reference

from .conftest import network, problem, stripe


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_steps_are_those_of_the_heavy_ball_by_hand(momentum, engine):
    made = problem(loss="logistic", kind="softplus")
    reference = Reference(made)
    state, impulse = reference.start(), torch.zeros(22, 5, dtype=torch.float64)
    for _ in range(6):
        predictions = made.alpha * (reference.outputs(state) - made.network(made.x))
        impulse = momentum * impulse + reference.velocity(state, made.loss.pull(predictions, made.y))
        state = state + 0.2 * impulse
    (run,) = descend(
        [made.network],
        made.x,
        made.y,
        alpha=made.alpha,
        learning_rate=0.2,
        n_steps=6,
        loss="logistic",
        momentum=momentum,
        engine=engine,
    )
    assert (run.n_steps, run.stopped_by) == (6, "steps")
    assert run.time == pytest.approx(1.2)
    assert float((run.network.weights - state[:, :3]).abs().max()) < 1e-13


def test_a_batch_of_all_points_without_replacement_is_gradient_descent():
    x, y = stripe(12, 2, 0)
    common = {"alpha": 0.3, "learning_rate": 0.1, "n_steps": 5, "loss": "logistic"}
    (whole,) = descend([network(8, 2)], x, y, **common)
    (batch,) = descend([network(8, 2)], x, y, batch_size=12, generators=[seeded()], **common)
    assert float((batch.network.weights - whole.network.weights).abs().max()) < 1e-14


def test_single_points_are_seen_one_after_another(engine):
    x, y = stripe(5, 2, 2)
    made = problem(loss="squared")
    order = torch.cat(
        [rows for rows, _ in zip(batches(5, Descent(1.0, batch_size=1), seeded(3)), range(7), strict=False)]
    )
    start = network(6, 2, kind="tanh")
    weights, biases, outputs = (t.clone().requires_grad_() for t in (start.weights, start.biases, start.outputs))
    for k in order.tolist():
        hidden = start.activation.value(x[k] / math.sqrt(2) @ weights.T + biases)
        prediction = 0.5 * (hidden @ outputs / 6 - start(x[k : k + 1])[0])
        loss = made.loss.of(prediction, y[k]) / 0.5
        for tensor, gradient in zip(
            (weights, biases, outputs), torch.autograd.grad(loss, (weights, biases, outputs)), strict=True
        ):
            tensor.data -= 0.1 * 6 * gradient
    (run,) = descend(
        [start],
        x,
        y,
        alpha=0.5,
        learning_rate=0.1,
        n_steps=7,
        loss="squared",
        batch_size=1,
        generators=[seeded(3)],
        engine=engine,
    )
    assert float((run.network.weights - weights.detach()).abs().max()) < 1e-13


def test_with_replacement_a_point_may_come_twice_and_without_it_may_not():
    again = batches(6, Descent(1.0, batch_size=6, replacement=True), seeded())
    assert any(len(next(again).unique()) < 6 for _ in range(5))
    once = batches(6, Descent(1.0, batch_size=4), seeded())
    rows = torch.cat([next(once) for _ in range(3)])
    assert [sorted(part.tolist()) for part in rows.split(6)] == [list(range(6))] * 2


@pytest.mark.parametrize("replacement", [False, True])
def test_batches_are_the_same_however_many_are_taken_at_a_time(replacement):
    descent = Descent(1.0, batch_size=5, replacement=replacement)
    together, alone = Batches(12, descent, seeded()), batches(12, descent, seeded())
    taken = torch.cat([together.take(count) for count in (1, 6, 2)])
    assert torch.equal(taken, torch.stack([next(alone) for _ in range(9)]))


def test_the_generator_decides_on_the_batches_and_nothing_else_does():
    x, y = stripe(30, 2, 0)
    common = {"alpha": 1.0, "learning_rate": 0.1, "n_steps": 20, "batch_size": 4}
    first, same, other = (
        descend([network(8, 2)], x, y, generators=[seeded(seed)], **common)[0].network.weights for seed in (1, 1, 2)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_learning_rates_may_differ_between_the_members():
    x, y = stripe(10, 2, 0)
    common = {"alpha": 1.0, "n_steps": 10}
    slow, fast = descend([network(8, 2)] * 2, x, y, learning_rate=[0.01, 0.1], **common)
    (alone,) = descend([network(8, 2)], x, y, learning_rate=0.1, **common)
    assert torch.equal(fast.network.weights, alone.network.weights)
    assert (slow.time, fast.time) == (pytest.approx(0.1), pytest.approx(1.0))


def test_a_rule_may_end_it_early(engine):
    x, y = stripe(20, 2, 0)
    common = {"alpha": 1.0, "learning_rate": 0.1, "n_steps": 20_000, "engine": engine}
    (run,) = descend([network(40, 2)], x, y, stop=Stop(fraction=0.9), **common)
    assert run.stopped_by == "fraction"
    assert run.n_steps < 20_000
    assert int((run.outputs * y > 1).sum()) > 18
    assert run.first_margin is not None


def test_divergence_ends_at_the_first_infinity_and_names_step_and_rate(engine):
    x, y = stripe(20, 2, 0)
    (run,) = descend([network(10, 2)], x, y, alpha=1.0, learning_rate=1e4, n_steps=1000, loss="squared", engine=engine)
    assert run.stopped_by == "diverged"
    assert not run.converged
    assert f"after step {run.n_steps} with learning rate 10000" in run.note
    assert run.n_steps < 50
    (before,) = descend(
        [network(10, 2)], x, y, alpha=1.0, learning_rate=1e4, n_steps=run.n_steps - 1, loss="squared", engine=engine
    )
    assert before.stopped_by == "steps"
    assert bool(torch.isfinite(before.outputs).all())
