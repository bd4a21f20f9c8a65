import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnscope.dynamics import step_control
from learnscope.dynamics.shallow import Stop, descend, flow
from learnscope.networks.activations import Activation
from learnscope.networks.one_hidden_layer import OneHiddenLayer, one_hidden_layer

from .conftest import network, stripe


def test_outputs_alone_follow_the_exponential_of_a_linear_model(engine):
    x, y = torch.ones(1, 1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    start = network(6, 1)
    (run,) = flow(
        [start],
        x,
        y,
        alpha=2.0,
        loss="squared",
        frozen=("weights", "biases"),
        stop=Stop(margin=math.inf, max_time=1.5),
        max_output_change=1e-3,
        engine=engine,
    )
    hidden = start.activation.value(start.preactivations(x))[0]
    rate = 2.0 * float(hidden.square().sum()) / 6
    assert run.stopped_by == "time"
    assert run.time == 1.5
    assert float(run.outputs) == pytest.approx(1 - math.exp(-1.5 * rate), abs=1e-3)


def test_the_flow_is_the_limit_of_small_steps_of_descent(engine):
    x, y = stripe(12, 2, 0)
    start, common = network(16, 2, kind="tanh"), {"alpha": 0.5, "loss": "logistic", "engine": engine}
    (exact,) = flow([start], x, y, stop=Stop(max_time=1.0), max_gradient_change=1e-8, **common)
    errors = []
    for steps in (20, 40):
        (euler,) = descend([start], x, y, learning_rate=1.0 / steps, n_steps=steps, **common)
        errors.append(float((euler.network.weights - exact.network.weights).abs().max()))
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.2)


@given(st.floats(1e-6, 1e6), st.integers(0, 1000))
@settings(deadline=None, max_examples=8)
def test_a_predictor_is_alpha_times_what_the_outputs_moved_by(alpha, seed):
    x, y = stripe(9, 2, seed)
    y[0], y[1] = 1.0, -1.0
    (run,) = flow([network(8, 2, seed, mirrored=False)], x, y, alpha=alpha, stop=Stop(max_steps=20))
    moved = run.network(x) - run.initial(x)
    noise = 1e-14 * alpha * (1 + float(run.network(x).abs().max()))
    assert run.predict(x).tolist() == pytest.approx((alpha * moved).tolist(), abs=noise)
    assert run.outputs.tolist() == pytest.approx((alpha * moved).tolist(), abs=noise)


def test_a_larger_alpha_moves_the_weights_less():
    x, y = stripe(20, 2, 0)
    runs = flow([network(50, 2)] * 3, x, y, alpha=[0.01, 1.0, 100.0], stop=Stop(fraction=0.8))
    moved = [float((run.network.weights - run.initial.weights).norm()) for run in runs]
    assert moved[0] > 5 * moved[1] > 25 * moved[2]


def test_every_stop_says_what_it_was(engine):
    x, y = stripe(20, 2, 0)

    def stopped(**rule):
        (run,) = flow([network(30, 2)], x, y, alpha=1.0, loss="logistic", stop=Stop(**rule), engine=engine)
        return run

    fitted = stopped(max_steps=20_000)
    assert (fitted.stopped_by, fitted.converged) == ("margin", True)
    assert bool((fitted.outputs * y > 1).all())
    half = stopped(fraction=0.5)
    assert half.stopped_by == "fraction"
    assert int((half.outputs * y > 1).sum()) > 10
    assert half.time < fitted.time
    by_loss = stopped(loss=0.6)
    assert by_loss.stopped_by == "loss"
    assert float(torch.nn.functional.softplus(-by_loss.outputs * y).mean()) <= 0.6
    timed, counted = stopped(max_time=0.01), stopped(max_steps=3)
    assert (timed.stopped_by, timed.time, timed.converged) == ("time", 0.01, True)
    assert (counted.stopped_by, counted.n_steps, counted.converged) == ("steps", 3, False)


def test_a_network_that_cannot_move_is_stationary(engine):
    x, y = stripe(20, 2, 0)
    dead = network(4, 2)
    dead = OneHiddenLayer(dead.weights, dead.biases - 100, dead.outputs, dead.activation)
    (run,) = flow([dead], x, y, alpha=1.0, engine=engine)
    assert (run.stopped_by, run.converged, run.n_steps) == ("stationary", False, 0)


def test_a_flow_into_the_infinite_is_given_up_with_a_reason(engine):
    x, y = stripe(20, 2, 0)
    huge = network(4, 2)
    huge = OneHiddenLayer(huge.weights * 1e200, huge.biases, huge.outputs * 1e200, huge.activation)
    (run,) = flow([huge], x, y, alpha=1.0, engine=engine)
    assert run.stopped_by == "diverged"
    assert "not finite" in run.note


def test_members_are_trained_as_if_alone():
    starts = [network(10, 2, 0), network(24, 2, 1), network(4, 2, 2)]
    data = [stripe(n, 2, n) for n in (11, 30, 8)]
    xs, ys = [x for x, _ in data], [y for _, y in data]
    alphas = [0.1, 1.0, 10.0]
    together = flow(starts, xs, ys, alpha=alphas, stop=Stop(fraction=0.3, max_steps=5000))
    assert len({run.n_steps for run in together}) > 1
    for start, x, y, alpha, run in zip(starts, xs, ys, alphas, together, strict=True):
        (alone,) = flow([start], x, y, alpha=alpha, stop=Stop(fraction=0.3, max_steps=5000))
        assert torch.equal(alone.network.weights, run.network.weights)
        assert alone.n_steps == run.n_steps


def test_snapshots_are_spaced_evenly_in_the_logarithm_of_time(engine):
    x, y = stripe(20, 2, 0)
    (run,) = flow([network(20, 2)], x, y, alpha=0.01, snapshots_per_decade=5, engine=engine)
    marks = torch.floor(5 * torch.log10(run.times[1:-1]))
    assert bool((marks.diff() >= 1).all())
    assert run.times[0] == 0
    assert float(run.times[-1]) == run.time
    assert len(run.times) > 6
    assert torch.equal(run.snapshots[0].weights, run.initial.weights)
    assert torch.equal(run.snapshots[-1].weights, run.network.weights)
    assert run.snapshots(x).shape == (len(run.times), 20)
    plain = flow([network(20, 2)], x, y, alpha=0.01, engine=engine)[0]
    assert torch.equal(plain.network.weights, run.network.weights)  # looking changes nothing
    assert len(plain.times) == 2


def test_the_state_at_the_first_fitted_point_is_kept(engine):
    x, y = stripe(20, 2, 0)
    (run,) = flow([network(20, 2)], x, y, alpha=0.1, engine=engine)
    assert run.first_margin is not None
    margins = 0.1 * (run.first_margin(x) - run.initial(x)) * y
    assert 1 <= int((margins > 1).sum()) < 20
    (early,) = flow([network(20, 2)], x, y, alpha=0.1, stop=Stop(max_steps=2), engine=engine)
    assert early.first_margin is None


@pytest.mark.parametrize("part", ["weights", "biases", "outputs", "directions"])
def test_what_is_frozen_stays_and_the_rest_moves(part, engine):
    x, y = stripe(20, 2, 0)
    (run,) = flow([network(20, 2)], x, y, alpha=0.1, frozen=[part], stop=Stop(max_steps=50), engine=engine)
    for name in ("weights", "biases", "outputs"):
        assert torch.equal(getattr(run.network, name), getattr(run.initial, name)) == (name == part)
    if part == "directions":
        before, after = run.initial.weights, run.network.weights
        cosines = torch.nn.functional.cosine_similarity(before, after)
        assert cosines.abs().tolist() == pytest.approx([1.0] * 20, abs=1e-12)


def test_nothing_that_was_handed_over_is_changed(engine):
    x, y = stripe(20, 2, 0)
    start = network(10, 2)
    kept = [tensor.clone() for tensor in (x, y, start.weights, start.biases, start.outputs)]
    flow([start], x, y, alpha=1.0, stop=Stop(max_steps=20), engine=engine)
    assert all(torch.equal(a, b) for a, b in zip(kept, (x, y, start.weights, start.biases, start.outputs), strict=True))


def relu_with_hinge(size, dim=10, **options):
    x, y = stripe(size, dim, 0)
    relu = Activation("relu").normalised()
    start = one_hidden_layer(size, dim, torch.Generator().manual_seed(1), activation=relu)
    return flow([start], x, y, alpha=1e-6, **options)[0], y


def test_a_rectifier_with_a_hinge_reaches_every_margin():
    run, y = relu_with_hinge(60)
    assert run.stopped_by == "margin"
    assert bool((run.outputs * y > 1).all())
    assert 0 < run.accumulated_error < math.inf


def test_without_its_floor_the_step_shrinks_and_the_flow_stalls(monkeypatch):
    monkeypatch.setattr(step_control, "FLOOR_ERROR", 1e-300)
    run, _ = relu_with_hinge(60, stop=Stop(max_steps=3000), engine="reference")
    reached, _ = relu_with_hinge(60)
    assert not run.converged
    assert run.time < reached.time / 2


@pytest.mark.slow
def test_a_rectifier_with_a_hinge_reaches_every_margin_at_the_width_where_the_original_stalls():
    run, y = relu_with_hinge(300, stop=Stop(max_steps=5_000_000))
    assert run.stopped_by == "margin"
    assert bool((run.outputs * y > 1).all())
