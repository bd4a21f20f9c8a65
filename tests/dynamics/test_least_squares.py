import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learnscope.dynamics.gradient_flow import integrate
from learnscope.dynamics.least_squares import least_squares_flow

TIMES = torch.tensor([0.0, 0.1, 1.0, 4.0], dtype=torch.float64)


def problem(outputs, inputs, n_train, seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((inputs, n_train), (outputs, n_train), (outputs, inputs))
    X, Y, initial = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return X, Y, initial, X @ X.T / n_train, Y @ X.T / n_train


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 8), st.integers(0, 2**31))
@settings(deadline=None, max_examples=20)
def test_the_closed_form_is_the_integral_of_the_flow(outputs, inputs, n_train, seed):
    _, _, initial, C, B = problem(outputs, inputs, n_train, seed)
    flow = integrate(lambda A: B - A @ C, initial, TIMES, state_dims=2, relative_tolerance=1e-10)
    assert least_squares_flow(C, B, initial, TIMES).numpy() == pytest.approx(flow.states.numpy(), abs=1e-7)


def test_with_fewer_examples_than_inputs_zero_flows_to_the_solution_of_minimum_norm():
    X, Y, initial, C, B = problem(2, 7, 4, seed=0)
    late = torch.tensor([1e4], dtype=torch.float64)
    end = least_squares_flow(C, B, torch.zeros_like(initial), late)[0]
    assert end.numpy() == pytest.approx((Y @ torch.linalg.pinv(X)).numpy(), abs=1e-8)
    unseen = torch.linalg.svd(X).U[:, 4:]
    elsewhere = least_squares_flow(C, B, initial, late)[0]
    assert (elsewhere @ unseen).numpy() == pytest.approx((initial @ unseen).numpy(), abs=1e-8)


def test_a_batch_gives_the_same_as_one_at_a_time():
    problems = [problem(2, 3, 5, seed)[2:] for seed in (1, 2)]
    initial, C, B = (torch.stack(parts) for parts in zip(*problems, strict=True))
    together = least_squares_flow(C, B, initial, TIMES)
    assert together.shape == (4, 2, 2, 3)
    assert together[:, 1].numpy() == pytest.approx(least_squares_flow(C[1], B[1], initial[1], TIMES).numpy())


def test_the_dtype_is_kept_and_a_zero_design_moves_nothing():
    initial = torch.ones(2, 3)
    still = least_squares_flow(torch.zeros(3, 3), torch.zeros(2, 3), initial, TIMES)
    assert still.dtype == torch.float32
    assert torch.equal(still[-1], initial)
