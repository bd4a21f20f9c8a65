"""The engines give the same numbers: the reference against autograd, the compiled kernels against the reference."""

import itertools
from threading import Event

import pytest
import torch

from learnscope.dynamics.margin_losses import KINDS as LOSSES
from learnscope.dynamics.shallow import Stop, flow, loops
from learnscope.dynamics.shallow.batches import Descent
from learnscope.dynamics.shallow.compiled import engine as fused
from learnscope.dynamics.shallow.reference import Reference
from learnscope.dynamics.step_control import Limits
from learnscope.errors import InputError
from learnscope.networks.activations import KINDS

from .conftest import largest_difference, network, problem, stripe

FROZEN = [
    (),
    ("weights",),
    ("biases",),
    ("outputs",),
    ("directions",),
    ("directions", "outputs"),
    ("weights", "biases"),
]
NEVER = Event()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frozen", FROZEN)
def test_the_velocity_is_minus_h_times_the_gradient(kind, frozen):
    made = problem(kind=kind, loss="logistic", frozen=frozen)
    engine = Reference(made)
    parameters = engine.start().requires_grad_()
    outputs = engine.outputs(parameters)
    predictions = made.alpha * (outputs - made.network(made.x))
    loss = made.loss.of(predictions, made.y).mean() / made.alpha
    (gradient,) = torch.autograd.grad(loss, parameters)
    expected = -made.network.width * gradient
    weights = made.network.weights
    if "weights" in frozen:
        expected[:, :-2] = 0
    if "directions" in frozen:
        unit = weights / weights.norm(dim=1, keepdim=True)
        expected[:, :-2] = (expected[:, :-2] * unit).sum(1, keepdim=True) * unit
    for part, column in (("biases", -2), ("outputs", -1)):
        if part in frozen:
            expected[:, column] = 0
    velocity = engine.velocity(parameters.detach(), made.loss.pull(predictions.detach(), made.y))
    assert float((velocity - expected).abs().max()) < 1e-15
    assert float((outputs.detach() - made.network(made.x)).abs().max()) < 1e-15


@pytest.mark.parametrize(("kind", "loss"), [*itertools.product(KINDS, LOSSES)])
def test_the_fused_flow_is_that_of_the_reference_for_every_frozen_set(kind, loss):
    for frozen in FROZEN:
        made, stop, limits = problem(kind=kind, loss=loss, frozen=frozen), Stop(max_steps=30), Limits(0.1, 1e-4)
        slow, fast = loops.follow(Reference(made), stop, limits, 2), fused.follow(made, stop, limits, 2, NEVER)
        same_run(fast, slow, 1e-12)


@pytest.mark.parametrize(("kind", "loss"), [*itertools.product(KINDS, LOSSES)])
def test_the_fused_descent_is_that_of_the_reference(kind, loss):
    made, stop, descent = problem(kind=kind, loss=loss), Stop(max_steps=40), Descent(0.1, momentum=0.5)
    slow, fast = loops.descend(Reference(made), descent, stop, 2, None), fused.descend(made, descent, stop, 2, NEVER)
    same_run(fast, slow, 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_in_single_precision_they_agree_to_rounding(kind):
    made, stop, descent = problem(kind=kind, dtype=torch.float32), Stop(max_steps=40), Descent(0.1)
    slow, fast = loops.descend(Reference(made), descent, stop, 0, None), fused.descend(made, descent, stop, 0, NEVER)
    same_run(fast, slow, 2e-5)
    assert fast.outputs.dtype == fast.network.weights.dtype == torch.float32


@pytest.mark.parametrize(("width", "dim", "n"), [(1, 1, 1), (2, 1, 8), (7, 5, 9), (33, 2, 17), (16, 40, 3)])
def test_any_size_fits_into_panels_and_tiles(width, dim, n):
    for kind in KINDS:
        made = problem(width, dim, n, kind=kind, loss="logistic") if width % 2 == 0 else odd(width, dim, n, kind)
        stop, descent = Stop(max_steps=5), Descent(0.1)
        slow = loops.descend(Reference(made), descent, stop, 0, None)
        same_run(fused.descend(made, descent, stop, 0, NEVER), slow, 1e-12)


def odd(width, dim, n, kind):
    from learnscope.dynamics.margin_losses import MarginLoss
    from learnscope.dynamics.shallow.problem import Problem

    x, _ = stripe(n, dim, 1)
    y = torch.where(torch.arange(n) % 2 == 0, 1.0, -1.0).double()
    return Problem(network(width, dim, kind=kind, mirrored=False), x, y, 0.5, MarginLoss("logistic"), frozenset())


def test_a_whole_training_agrees_up_to_its_end():
    x, y = stripe(30, 2, 3)
    start = network(20, 2, kind="softplus")
    arguments = {"alpha": 0.1, "loss": "soft_hinge", "max_gradient_change": 1e-2}
    (slow,), (fast,) = (flow([start], x, y, engine=name, **arguments) for name in ("reference", "fused"))
    same_run(fast, slow, 1e-9)  # rounding grows along hundreds of steps
    assert slow.stopped_by == "margin"
    assert slow.n_steps > 100


def test_networks_on_two_threads_are_bit_identical_to_networks_on_one():
    starts = [network(10, 2, seed) for seed in range(4)]
    x, y = stripe(20, 2, 0)
    torch.set_num_threads(2)
    try:
        together = flow(starts, x, y, alpha=1.0, stop=Stop(max_steps=50))
    finally:
        torch.set_num_threads(1)
    alone = flow(starts, x, y, alpha=1.0, stop=Stop(max_steps=50))
    assert all(torch.equal(a.network.weights, b.network.weights) for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize(("name", "says"), [("fsued", "'fused'"), ("triton", "choose")])
def test_an_engine_that_is_not_there_gets_one_sentence(name, says):
    x, y = stripe(5, 2, 0)
    with pytest.raises(InputError, match=says):
        flow([network(4, 2)], x, y, alpha=1.0, engine=name)


def same_run(ours, theirs, tolerance):
    assert (ours.n_steps, ours.stopped_by) == (theirs.n_steps, theirs.stopped_by)
    assert ours.time == pytest.approx(theirs.time, rel=tolerance)
    assert ours.accumulated_error == pytest.approx(theirs.accumulated_error, rel=1e3 * tolerance, abs=tolerance)
    assert largest_difference(ours.network, theirs.network) < tolerance
    assert ours.outputs.tolist() == pytest.approx(theirs.outputs.tolist(), rel=tolerance, abs=20 * tolerance)
    assert ours.times.tolist() == pytest.approx(theirs.times.tolist(), rel=tolerance)
    assert largest_difference(ours.snapshots, theirs.snapshots) < tolerance
    assert (ours.first_margin is None) == (theirs.first_margin is None)
    if ours.first_margin is not None:
        assert largest_difference(ours.first_margin, theirs.first_margin) < tolerance
