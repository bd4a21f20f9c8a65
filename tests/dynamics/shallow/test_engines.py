"""The engines give the same numbers: the reference against autograd, the compiled kernels against the reference."""

import itertools
import threading
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
PARTS = ("weights", "biases", "outputs")


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
@pytest.mark.parametrize(("replacement", "momentum"), [(False, 0.0), (False, 0.7), (True, 0.0), (True, 0.7)])
@pytest.mark.parametrize(("batch_size", "n"), [(1, 3), (5, 13), (8, 40), (13, 13), (20, 13)])
def test_the_fused_descent_on_batches_is_that_of_the_reference(kind, replacement, momentum, batch_size, n):
    made, stop = problem(kind=kind, loss="soft_hinge", n=n), Stop(max_steps=37)
    descent = Descent(0.1, momentum, batch_size, replacement)
    theirs, ours = (torch.Generator().manual_seed(4) for _ in range(2))
    slow = loops.descend(Reference(made), descent, stop, 2, theirs)
    same_run(fused.descend(made, descent, stop, 2, NEVER, generator=ours), slow, 1e-12)
    assert torch.equal(ours.get_state(), theirs.get_state())  # no more was drawn than was used


@pytest.mark.parametrize("stop", [Stop(fraction=0.6), Stop(loss=0.7), Stop(max_time=1.0), Stop(max_steps=7)])
def test_on_batches_both_end_at_the_same_step_by_the_same_rule(stop):
    made, descent = problem(n=13), Descent(0.2, 0.0, 4)
    slow = loops.descend(Reference(made), descent, stop, 3, torch.Generator().manual_seed(0))
    fast = fused.descend(made, descent, stop, 3, NEVER, generator=torch.Generator().manual_seed(0))
    same_run(fast, slow, 1e-10)


def test_on_batches_both_diverge_at_the_same_step():
    made, descent = problem(loss="squared", n=13), Descent(1e4, 0.0, 2)
    slow = loops.descend(Reference(made), descent, Stop(), 0, torch.Generator().manual_seed(0))
    fast = fused.descend(made, descent, Stop(), 0, NEVER, generator=torch.Generator().manual_seed(0))
    assert (fast.stopped_by, fast.n_steps, fast.note) == ("diverged", slow.n_steps, slow.note)


@pytest.mark.parametrize("kind", KINDS)
def test_in_single_precision_they_agree_to_rounding(kind):
    made, stop, descent = problem(kind=kind, dtype=torch.float32), Stop(max_steps=40), Descent(0.1)
    slow, fast = loops.descend(Reference(made), descent, stop, 0, None), fused.descend(made, descent, stop, 0, NEVER)
    same_run(fast, slow, 2e-5)
    assert fast.outputs.dtype == fast.network.weights.dtype == torch.float32


@pytest.mark.parametrize(
    ("width", "dim", "n"), [(1, 1, 1), (2, 1, 8), (7, 5, 9), (33, 2, 17), (9, 3, 20), (20, 4, 8), (16, 40, 3)]
)
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
    return Problem(network(width, dim, kind=kind, mirrored=False), x, y, 0.5, MarginLoss("logistic"), frozenset(), True)


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


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_a_network_spread_over_threads_is_bit_identical_to_one_on_a_single_thread(threads, monkeypatch):
    monkeypatch.setattr(fused, "PAIRS_FOR_A_TEAM", 0)
    made, limits = problem(width=40, n=50, frozen=("directions",)), Limits(0.1, 1e-4)
    one, few = (fused.follow(made, Stop(max_steps=60), limits, 2, NEVER, count) for count in (1, threads))
    assert all(torch.equal(getattr(one.snapshots, part), getattr(few.snapshots, part)) for part in PARTS)
    assert torch.equal(one.outputs, few.outputs)
    assert one.n_steps == few.n_steps
    descent = Descent(0.1, 0.5)
    one, few = (fused.descend(made, descent, Stop(max_steps=60), 0, NEVER, count) for count in (1, threads))
    assert all(torch.equal(getattr(one.network, part), getattr(few.network, part)) for part in PARTS)


def test_threads_that_help_are_gone_afterwards_also_when_the_training_is_interrupted(monkeypatch):
    monkeypatch.setattr(fused, "PAIRS_FOR_A_TEAM", 0)
    monkeypatch.setattr(fused, "PAIRS_BETWEEN_PAUSES", 1)
    before, halt = threading.active_count(), Event()
    fused.follow(problem(), Stop(max_steps=5), Limits(0.1, 1e-4), 0, halt, 3)
    assert threading.active_count() == before
    halt.set()
    with pytest.raises(KeyboardInterrupt):
        fused.follow(problem(), Stop(max_steps=5), Limits(0.1, 1e-4), 0, halt, 3)
    assert threading.active_count() == before


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
