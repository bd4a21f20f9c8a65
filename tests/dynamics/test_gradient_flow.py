import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from learnscope.dynamics.gradient_flow import integrate
from learnscope.errors import InputError

TIMES = torch.tensor([0.0, 0.3, 1.0, 2.5, 7.0], dtype=torch.float64)


def lotka_volterra(x):
    prey, predator = x.unbind(-1)
    return torch.stack([prey * (1.5 - predator), predator * (prey - 3)], dim=-1)


@given(st.integers(1, 6), st.integers(0, 2**31), st.sampled_from([1e-4, 1e-6, 1e-9]))
@settings(deadline=None, max_examples=25)
def test_a_contracting_linear_flow_stays_within_the_accumulated_error(dim, seed, tolerance):
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    hessian, initial = factor @ factor.T, torch.randn(dim, generator=generator, dtype=torch.float64)
    flow = integrate(lambda x: -hessian @ x, initial, TIMES, relative_tolerance=tolerance, absolute_tolerance=1e-12)
    exact = torch.stack([torch.linalg.matrix_exp(-t * hessian) @ initial for t in TIMES])
    distance = (flow.states - exact).norm(dim=-1)
    assert bool(flow.converged)
    assert bool((distance <= flow.error + 1e-13).all())
    assert float(flow.error[-1]) <= int(flow.n_steps) * (tolerance * float(initial.norm()) + 1e-12)


def test_the_states_between_the_steps_equal_those_of_scipy():
    times = np.linspace(0, 10, 201)
    ours = integrate(lotka_volterra, torch.tensor([10.0, 5.0], dtype=torch.float64), times, relative_tolerance=1e-10)
    scipy = solve_ivp(
        lambda _, x: lotka_volterra(torch.from_numpy(x)).numpy(),
        (0, 10),
        [10.0, 5.0],
        "DOP853",
        times,
        rtol=1e-12,
        atol=1e-12,
    )
    assert ours.states.numpy() == pytest.approx(scipy.y.T, abs=1e-6)


@pytest.mark.parametrize("order_of", ["ends", "between"])
def test_the_method_has_the_orders_of_its_pair(order_of):
    def distance(tolerance):
        times = [2.0] if order_of == "ends" else np.linspace(0.05, 2, 39)
        flow = integrate(
            lambda x: x.flip(-1) * torch.tensor([1.0, -1.0], dtype=torch.float64),
            torch.tensor([0.0, 1.0], dtype=torch.float64),
            times,
            relative_tolerance=tolerance,
            absolute_tolerance=1e-14,
        )
        exact = torch.tensor(np.stack([np.sin(times), np.cos(times)], -1))
        return float((flow.states - exact).abs().max()), int(flow.n_steps)

    (coarse, few), (fine, many) = distance(1e-6), distance(1e-11)
    assert 4 < math.log(coarse / fine) / math.log(many / few) < 6


def test_members_of_a_batch_take_steps_of_their_own():
    rates = torch.tensor([[0.01, 1.0], [100.0, 3.0]], dtype=torch.float64)
    initial = torch.ones(2, 2, 1, dtype=torch.float64)
    together = integrate(lambda x: -rates[..., None] * x, initial, TIMES)
    assert together.states.shape == (5, 2, 2, 1)
    assert together.states[..., 0].numpy() == pytest.approx(torch.exp(-TIMES[:, None, None] * rates).numpy(), abs=1e-6)
    assert int(together.n_steps[1, 0]) > 10 * int(together.n_steps[0, 0])
    for k, rate in enumerate(rates.flatten()):
        alone = integrate(lambda x, rate=rate: -rate * x, torch.ones(1, dtype=torch.float64), TIMES)
        assert torch.equal(alone.states, together.states.flatten(1, 2)[:, k])
        assert int(alone.n_steps) == int(together.n_steps.flatten()[k])


def test_members_may_be_asked_for_at_times_of_their_own():
    times = torch.tensor([[1.0, 0.1], [2.0, 50.0]], dtype=torch.float64)
    flow = integrate(lambda x: -x, torch.ones(2, 1, dtype=torch.float64), times)
    assert flow.states[..., 0].numpy() == pytest.approx(torch.exp(-times).numpy(), abs=1e-7)


def test_a_matrix_is_one_state():
    flow = integrate(lambda a: a @ (torch.eye(2) - a), 0.1 * torch.eye(2), [5.0], state_dims=2, relative_tolerance=1e-5)
    logistic = 1 / (1 + 9 * math.exp(-5))
    assert flow.states[0].numpy() == pytest.approx(logistic * np.eye(2), abs=1e-4)
    assert flow.states.dtype == torch.float32
    assert flow.n_steps.shape == ()


def test_a_solution_that_blows_up_is_not_converged_and_spares_the_others():
    flow = integrate(lambda x: x.square(), torch.tensor([[1.0], [0.1]], dtype=torch.float64), [0.5, 2.0])
    assert flow.converged.tolist() == [False, True]
    assert flow.states[:, 1, 0].numpy() == pytest.approx([1 / 9.5, 1 / 8])
    assert float(flow.states[0, 0, 0]) == pytest.approx(2)
    assert bool(flow.states[1, 0].isnan().all())
    assert bool(flow.error[1, 0].isnan())


def test_too_many_steps_are_given_up():
    flow = integrate(lambda x: -1e6 * x, torch.ones(1, dtype=torch.float64), [1.0], max_steps=50)
    assert not bool(flow.converged)
    assert int(flow.n_steps) == 50


def test_a_field_that_is_nan_at_the_start_is_not_converged():
    flow = integrate(lambda x: x * torch.nan, torch.ones(1, dtype=torch.float64), [0.0, 1.0])
    assert not bool(flow.converged)
    assert flow.states[:, 0].isnan().tolist() == [False, True]


def test_a_fixed_point_stays():
    flow = integrate(lambda x: -x, torch.zeros(3, dtype=torch.float64), [0.0, 1e6])
    assert bool(flow.converged)
    assert not bool(flow.states.any())


def test_the_initial_state_is_not_changed():
    initial = torch.ones(2, dtype=torch.float64)
    integrate(lambda x: -x, initial, [1.0])
    assert torch.equal(initial, torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"times": [1.0, 1.0]}, "strictly increasing"),
        ({"times": [-1.0, 1.0]}, "non-negative"),
        ({"times": [0.0, math.inf]}, "finite"),
        ({"times": []}, r"\[T\]"),
        ({"times": torch.ones(3, 2)}, r"batch \[4\]"),
        ({"state_dims": 3}, "2 dimensions"),
        ({"initial": torch.ones(4, 2)}, "float64"),
        ({"initial": torch.ones(4, 2, dtype=torch.int64)}, "floating"),
        ({"absolute_tolerance": 0.0}, "positive"),
    ],
)
def test_bad_input_gets_one_sentence(arguments, says):
    usual = {"initial": torch.ones(4, 2, dtype=torch.float64), "times": [1.0], "relative_tolerance": 1e-8}
    with pytest.raises(InputError, match=says):
        integrate(lambda x: -x, **(usual | arguments))
