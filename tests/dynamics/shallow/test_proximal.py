"""Steps that are implicit in the hinge loss: what they fit, whose path they follow, and in how many steps."""

import threading

import numpy as np
import pytest
import torch

from learnscope.dynamics.margin_losses import MarginLoss
from learnscope.dynamics.shallow import Stop, flow, proximal, proximal_flow
from learnscope.dynamics.shallow.problem import problems
from learnscope.dynamics.shallow.proximal import REACHED
from learnscope.dynamics.shallow.proximal_step import Limits, Stepper
from learnscope.dynamics.shallow.reference import Reference
from learnscope.errors import InputError
from learnscope.kernels.one_hidden_layer import tangent_kernels
from learnscope.networks.activations import KINDS

from .conftest import largest_difference, network, problem, stripe

FROZEN = [(), ("weights",), ("biases",), ("outputs",), ("directions",), ("weights", "biases")]


def run_of(start, x, y, **options):
    (run,) = proximal_flow([start], x, y, **{"alpha": 0.01, **options})
    return run


def test_a_step_in_which_no_pull_changes_is_eulers():
    engine = Reference(problem())
    stepper = Stepper(engine, Limits(0.1, 0.02))
    step = stepper.step(stepper.start, 1e-3)
    velocity = engine.velocity(engine.start(), -engine.problem.y)
    assert step.taken
    assert float((step.end.parameters - engine.start() - 1e-3 * velocity).abs().max()) < 1e-15
    assert bool((step.end.pulls == 1).all())


@pytest.mark.parametrize("length", [0.3, 3.0, 30.0])
def test_pulls_fit_the_margins_at_the_end_of_the_step_in_the_linearised_network(length):
    made = problem(width=200, n=40, alpha=3.0)
    stepper = Stepper(Reference(made), Limits(0.1, 0.02))
    state = stepper.start
    while bool((made.y * state.predictions < 1).all()):
        state = stepper.step(state, 0.05).end
    pulls = stepper.step(state, length).end.pulls
    here = stepper.engine.network(state.parameters)
    kernel = tangent_kernels(here, made.x).total
    margins = made.y * (state.predictions + length * made.alpha / len(made.y) * kernel @ (made.y * pulls))
    solved = (pulls > 0) & (pulls < 1)
    assert bool(solved.any())
    assert float((margins[solved] - 1).abs().max()) < 1e-4
    # Examples that were not solved for may come out on the wrong side by C and what the network bends.
    assert float(margins[pulls == 1].max()) < 1.2
    assert float(margins[pulls == 0].min()) > 0.8


def test_the_path_comes_closer_to_that_of_the_flow_in_proportion_to_the_limits():
    x, y = stripe(30, 3, 2)
    start = network(60, 3)
    stop = Stop(max_time=30.0)
    (exact,) = flow([start], x, y, alpha=0.01, stop=stop, max_output_change=0.02, max_gradient_change=1e-5)
    assert exact.stopped_by == "time"
    assert 0.2 < float((exact.outputs * y >= 1).double().mean()) < 0.95  # some are at the kink
    gaps = [
        largest_difference(
            run_of(start, x, y, stop=stop, max_motion=motion, max_deviation=motion).network, exact.network
        )
        for motion in (0.08, 0.02, 0.005)
    ]
    assert gaps[2] < 0.02
    assert gaps[1] < gaps[0] / 2
    assert gaps[2] < gaps[1] / 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frozen", FROZEN)
def test_the_engines_agree(kind, frozen):
    x, y = stripe(25, 3, 1)
    options = {"frozen": frozen, "stop": Stop(max_steps=60), "max_motion": 0.1, "snapshots_per_decade": 2}
    slow, fast = (
        run_of(network(32, 3, kind=kind), x, y, engine=engine, **options) for engine in ("reference", "fused")
    )
    assert fast.n_steps == slow.n_steps
    assert fast.time == pytest.approx(slow.time, rel=1e-6)
    assert largest_difference(fast.network, slow.network) < 1e-6
    assert fast.times.tolist() == pytest.approx(slow.times.tolist(), rel=1e-6)


@pytest.mark.parametrize("frozen", FROZEN[1:])
def test_what_is_frozen_stays(frozen, engine):
    x, y = stripe(25, 3, 1)
    start = network(32, 3)
    run = run_of(start, x, y, frozen=frozen, engine=engine, stop=Stop(max_steps=80))
    for part in set(frozen) - {"directions"}:
        assert torch.equal(getattr(run.network, part), getattr(start, part))
    if "directions" in frozen:
        cosines = torch.nn.functional.cosine_similarity(run.network.weights, start.weights)
        assert float((cosines.abs() - 1).abs().max()) < 1e-12
    assert not torch.equal(run.network.biases, start.biases) or "biases" in frozen


def test_where_euler_with_the_original_rule_stalls_every_margin_is_reached():
    x, y = stripe(300, 10, 0)
    run = run_of(network(300, 10), x, y, alpha=1e-6)
    assert run.stopped_by == "margin"
    assert run.converged
    assert run.n_steps < 2000
    margins = run.outputs * y
    assert float(margins.min()) >= 1 - REACHED
    held = (margins - 1).abs() < 1e-2
    assert 5 < int(held.sum()) < 150  # the flow keeps some at the margin, and not all


def test_four_times_the_examples_do_not_take_twice_the_steps():
    steps = []
    for n in (256, 1024):
        x, y = stripe(n, 5, 0)
        steps.append(run_of(network(100, 5), x, y, alpha=1e-4).n_steps)
    assert steps[1] < 2 * steps[0]


def test_lazy_networks_take_few_steps_and_hardly_move():
    x, y = stripe(60, 3, 0)
    start = network(2000, 3)
    run = run_of(start, x, y, alpha=1e3)
    assert run.stopped_by == "margin"
    assert run.n_steps < 60
    assert largest_difference(run.network, start) < 0.05


def test_single_precision_ends_where_double_does():
    x, y = stripe(60, 3, 0)
    double = run_of(network(64, 3), x, y)
    single = run_of(network(64, 3, dtype=torch.float32), x.float(), y.float())
    assert single.stopped_by == "margin"
    assert single.network.weights.dtype == torch.float32
    unseen, labels = stripe(2000, 3, 9)
    errors = [float((run.predict(unseen.to(run.outputs)) * labels <= 0).double().mean()) for run in (double, single)]
    assert errors[0] == pytest.approx(errors[1], abs=0.03)


def test_equal_points_share_a_pull():
    x, y = stripe(20, 3, 0)
    run = run_of(network(64, 3), torch.cat([x, x]), torch.cat([y, y]))
    assert run.stopped_by == "margin"
    assert torch.allclose(run.outputs[:20], run.outputs[20:])


def test_points_with_both_labels_are_never_fitted_and_the_flow_comes_to_its_limit_of_steps():
    x, y = stripe(10, 3, 0)
    run = run_of(network(64, 3), torch.cat([x, x[:1]]), torch.cat([y, -y[:1]]), stop=Stop(max_steps=300))
    assert not run.converged
    assert np.isfinite(run.outputs.numpy()).all()


def test_ends_by_time_exactly_by_fraction_by_loss_and_by_steps():
    x, y = stripe(40, 3, 0)
    start = network(64, 3)
    assert run_of(start, x, y, stop=Stop(max_time=3.7)).time == 3.7
    half = run_of(start, x, y, stop=Stop(fraction=0.5))
    assert half.stopped_by == "fraction"
    assert half.first_margin is not None
    assert run_of(start, x, y, stop=Stop(loss=0.3)).stopped_by == "loss"
    assert run_of(start, x, y, stop=Stop(max_steps=7)).n_steps == 7


def test_a_network_that_cannot_move_is_stationary():
    x, y = stripe(10, 3, 0)
    assert run_of(network(8, 3), x, y, frozen=("weights", "biases", "outputs")).stopped_by == "stationary"


def test_outputs_that_overflow_are_told():
    x, y = stripe(10, 3, 0)
    run = run_of(network(8, 3, dtype=torch.float32), 1e38 * x.float(), y.float(), alpha=1.0)
    assert run.stopped_by == "diverged"
    assert "not finite" in run.note
    assert largest_difference(run.network, network(8, 3, dtype=torch.float32)) == 0  # left where it was


def test_near_the_end_margins_may_come_out_wrong_by_half_of_what_the_farthest_lacks():
    made = problem(width=200, n=40)
    stepper = Stepper(Reference(made), Limits(0.1, 0.02))
    lacking = torch.linspace(0, 1, 40, dtype=torch.float64)
    for farthest, most in ((1.0, 0.1), (0.2, 0.1), (0.02, 0.01), (1e-5, 5e-4)):
        state = stepper.start._replace(predictions=made.y * (1 - farthest * lacking))
        assert stepper._most_deviation(state) == pytest.approx(most)
        ahead, twice = stepper.step(state, 5.0), Stepper(Reference(made), Limits(most, 0.02)).step(state, 5.0)
        assert ahead.deviation == pytest.approx(twice.deviation)


def test_no_more_pulls_than_allowed_turn_unknown_in_a_step(monkeypatch):
    x, y = stripe(60, 3, 0)
    made = problem(width=64, n=60)
    monkeypatch.setattr("learnscope.dynamics.shallow.proximal_step.MOST", 3)
    stepper = Stepper(Reference(made), Limits(0.1, 0.02))
    assert not stepper.step(stepper.start, 1e3).taken
    assert run_of(network(64, 3), x, y).stopped_by == "margin"


def test_no_bit_hangs_on_the_number_of_threads():
    x, y = stripe(400, 3, 0)
    start, threads, found = network(600, 3), torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(run_of(start, x, y, stop=Stop(max_steps=150), engine="fused"))
    finally:
        torch.set_num_threads(threads)
    assert float((found[0].outputs * y).max()) >= 1  # pulls were solved for
    assert largest_difference(*(run.network for run in found)) == 0


def test_several_networks_of_several_sizes_come_back_in_their_order():
    tasks = [(network(width, 3, seed=width), *stripe(n, 3, n)) for width, n in ((20, 10), (30, 25), (16, 18))]
    starts, x, y = (list(each) for each in zip(*tasks, strict=True))
    together = proximal_flow(starts, x, y, alpha=[0.1, 0.01, 1.0])
    for run, start, each_x, each_y, alpha in zip(together, starts, x, y, (0.1, 0.01, 1.0), strict=True):
        assert largest_difference(run.network, run_of(start, each_x, each_y, alpha=alpha).network) == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"max_motion": 0.0}, "positive"),
        ({"max_deviation": -1.0}, "positive"),
        ({"alpha": 0.0}, "alpha"),
        ({"frozen": ("layers",)}, "frozen"),
        ({"engine": "quantum"}, "engine"),
        ({"engine": "triton"}, "auto"),
        ({"y": torch.full((10,), 0.5, dtype=torch.float64)}, "label"),
        ({"y": torch.ones(10, dtype=torch.float64)}, "all 10 labels"),
        ({"x": torch.full((10, 3), torch.nan, dtype=torch.float64)}, "NaN"),
    ],
)
def test_bad_input_is_told(change, told):
    x, y = stripe(10, 3, 0)
    options = {"x": x, "y": y, "alpha": 1.0, **change}
    with pytest.raises(InputError, match=told):
        proximal_flow([network(8, 3)], **options)


def test_an_interruption_ends_it_between_two_steps():
    x, y = stripe(10, 3, 0)
    (made,) = problems([network(8, 3)], x, y, 1.0, MarginLoss("hinge"), ())
    halt = threading.Event()
    halt.set()
    with pytest.raises(KeyboardInterrupt):
        proximal._follow(Reference(made), Stop(), Limits(0.1, 0.02), 0, halt)


def test_a_state_tells_its_speed_in_units_of_the_limit():
    made = problem(width=64, n=30)
    for motion in (0.1, 0.01):
        stepper = Stepper(Reference(made), Limits(0.1, motion))
        velocity = stepper.engine.network(stepper.engine.velocity(stepper.start.parameters, -made.y))
        whole = torch.cat([made.network.weights, made.network.biases[:, None], made.network.outputs[:, None]], 1)
        largest = max(
            float(moved.square().mean().sqrt() / max(part.square().mean().sqrt(), whole.square().mean().sqrt()))
            for moved, part in (
                (velocity.weights, made.network.weights),
                (velocity.biases, made.network.biases),
                (velocity.outputs, made.network.outputs),
            )
        )
        assert stepper.speed(stepper.start) == pytest.approx(largest / motion)
