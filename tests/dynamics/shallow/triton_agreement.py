"""What :mod:`test_triton` runs in a process of its own: on a GPU, or interpreted, slowly, on the CPU."""

import itertools
import os
from dataclasses import replace

import pytest
import torch

from learnscope.dynamics.margin_losses import KINDS as LOSSES
from learnscope.dynamics.margin_losses import MarginLoss
from learnscope.dynamics.shallow import Stop, descend, flow, loops
from learnscope.dynamics.shallow.batches import Descent
from learnscope.dynamics.shallow.problem import problems
from learnscope.dynamics.shallow.reference import Reference
from learnscope.dynamics.shallow.triton import control, layout
from learnscope.dynamics.shallow.triton import engine as together
from learnscope.dynamics.step_control import Limits
from learnscope.errors import InputError
from learnscope.networks.activations import KINDS

from . import conftest
from .test_engines import FROZEN, same_run

DEVICE = torch.device("cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda")

# each activation with each loss, and with them all frozen sets in turn
CASES = [(*case, FROZEN[k % len(FROZEN)]) for k, case in enumerate(itertools.product(KINDS, LOSSES))]


ONE, RAGGED = ((6, 5),), ((6, 5), (36, 40))  # widths and numbers of points: within a tile, and beyond


def network(*sizes, **options):
    drawn = conftest.network(*sizes, **options)
    parts = {name: getattr(drawn, name).to(DEVICE) for name in ("weights", "biases", "outputs")}
    return replace(drawn, **parts)


def stripe(*arguments):
    return tuple(tensor.to(DEVICE) for tensor in conftest.stripe(*arguments))


def made_of(sizes, kind="relu", loss="hinge", frozen=(), dtype=torch.float64):
    """Networks that are not mirrored, so that their outputs do not cancel, with an α of their own."""
    started = [
        network(width, 2, seed, kind=kind, sharpness=2.3, mirrored=False, dtype=dtype)
        for seed, (width, _) in enumerate(sizes)
    ]
    xs, ys = zip(*(stripe(n, 2, n, dtype) for _, n in sizes), strict=True)
    return problems(started, xs, ys, [0.3, 0.7][: len(sizes)], MarginLoss(loss, 7.7), frozen)


@pytest.mark.parametrize(("kind", "loss", "frozen"), CASES)
def test_a_flow_is_that_of_the_reference(kind, loss, frozen):
    made, stop, limits = made_of(ONE, kind, loss, frozen), Stop(max_steps=2), Limits(0.3, 1e-4)
    (ours,) = together.follow(made, stop, limits, 2)
    same_run(ours, loops.follow(Reference(made[0]), stop, limits, 2), 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "loss", "frozen"), [*itertools.product(KINDS, LOSSES, FROZEN)])
def test_a_flow_is_that_of_the_reference_for_every_frozen_set(kind, loss, frozen):
    made, stop, limits = made_of(ONE, kind, loss, frozen), Stop(max_steps=12), Limits(0.1, 1e-4)
    (ours,) = together.follow(made, stop, limits, 2)
    same_run(ours, loops.follow(Reference(made[0]), stop, limits, 2), 1e-12)


@pytest.mark.parametrize("kind", ["relu", "softplus"])
def test_networks_of_different_sizes_keep_apart(kind):
    made, stop, limits = made_of(RAGGED, kind, "logistic"), Stop(max_steps=2), Limits(0.3, 1e-4)
    for ours, each in zip(together.follow(made, stop, limits, 0), made, strict=True):
        same_run(ours, loops.follow(Reference(each), stop, limits, 0), 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_descent_is_that_of_the_reference(kind):
    made, descent, stop = made_of(ONE, kind, "squared"), Descent(0.1, momentum=0.5), Stop(max_steps=4)
    (ours,) = together.descend(made, [descent], stop, 2)
    same_run(ours, loops.descend(Reference(made[0]), descent, stop, 2, None), 1e-12)


def test_sums_split_between_programs_are_those_of_one(monkeypatch):
    made = made_of(((70, 5), (6, 40)), "tanh", "logistic")
    whole = layout.Layout(made)
    monkeypatch.setattr(layout, "PROGRAMS", 2)
    alone = layout.Layout(made)
    assert [grid[-1] for grid in whole.grids + alone.grids] == [3, 2, 1, 1]
    everyone, parameters = torch.ones(2, dtype=torch.bool, device=DEVICE), whole.start()
    predictions = whole.outputs(parameters, everyone)
    assert float((predictions - alone.outputs(parameters, everyone)).abs().max()) < 1e-15
    difference = whole.velocity(parameters, predictions, everyone) - alone.velocity(parameters, predictions, everyone)
    assert float(difference.abs().max()) < 1e-14


def test_in_single_precision_they_agree_to_rounding():
    made, stop = made_of(ONE, "softplus", "logistic", dtype=torch.float32), Stop(max_steps=4)
    (ours,) = together.descend(made, [Descent(0.1)], stop, 0)
    same_run(ours, loops.descend(Reference(made[0]), Descent(0.1), stop, 0, None), 2e-5)
    assert ours.outputs.dtype == ours.network.weights.dtype == torch.float32


def test_members_end_when_they_end_alone_with_what_was_to_be_recorded():
    x, y = stripe(6, 2, 0)
    starts = [network(8, 2, seed, kind="tanh") for seed in range(2)]
    ends = {"alpha": [0.1, 1.0], "learning_rate": [5.0, 1.0], "n_steps": 9, "stop": Stop(fraction=0.3)}
    ours, theirs = (
        descend(starts, x, y, loss="squared", snapshots_per_decade=3, engine=name, **ends)
        for name in ("triton", "reference")
    )
    assert len({run.n_steps for run in theirs}) == 2
    assert all(len(run.times) > 3 for run in theirs)
    assert any(run.stopped_by == "fraction" and run.first_margin is not None for run in theirs)
    for one, other in zip(ours, theirs, strict=True):
        same_run(one, other, 1e-11)


@pytest.mark.parametrize(
    ("rule", "ends"),
    [
        ({"max_time": 1e-6}, "time"),
        ({"loss": 100.0}, "loss"),
        ({"margin": -1.0}, "margin"),
        ({"max_steps": 1}, "steps"),
    ],
)
def test_every_stop_says_what_it_was(rule, ends):
    x, y = stripe(6, 2, 0)
    (run,) = flow([network(4, 2)], x, y, alpha=1.0, stop=Stop(**rule), engine="triton")
    assert (run.stopped_by, run.converged) == (ends, ends != "steps")


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")  # by the interpreter
def test_what_cannot_move_and_what_is_infinite_are_told(monkeypatch):
    monkeypatch.setattr(control, "too_short", lambda step, time: step < 1e-3)  # some hundred tries otherwise
    x, y = stripe(6, 2, 0)
    start = network(4, 2)
    dead = replace(start, biases=start.biases - 100)
    huge = replace(start, weights=start.weights * 1e200, outputs=start.outputs * 1e200)
    still, lost = flow([dead, huge], x, y, alpha=1.0, engine="triton")
    assert (still.stopped_by, still.n_steps) == ("stationary", 0)
    assert lost.stopped_by == "diverged"
    assert "not finite" in lost.note
    (wild,) = descend([start], x, y, alpha=1.0, learning_rate=1e9, n_steps=50, loss="squared", engine="triton")
    assert wild.stopped_by == "diverged"
    assert f"after step {wild.n_steps} with learning rate 1e+09" in wild.note


def test_batches_are_left_to_the_reference():
    x, y = stripe(6, 2, 0)
    arguments = {"alpha": 1.0, "learning_rate": 0.1, "n_steps": 3, "batch_size": 2}
    ours, theirs = (
        descend([network(4, 2)], x, y, generators=[torch.Generator().manual_seed(0)], engine=name, **arguments)[0]
        for name in ("triton", "reference")
    )
    assert torch.equal(ours.network.weights, theirs.network.weights)


def test_networks_of_different_kinds_get_one_sentence():
    with pytest.raises(InputError, match="dim, dtype or device"):
        layout.Layout([conftest.problem(dim=2), conftest.problem(dim=3)])
