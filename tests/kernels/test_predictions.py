import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from learnscope.errors import InputError
from learnscope.kernels import (
    gradient_descent_prediction,
    gradient_flow_prediction,
    linearize,
    max_learning_rate,
    tangent_kernel,
)


def mlp(outputs=1):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, outputs)).double()


@pytest.fixture
def data(generator):
    draw = torch.randn(13, 3, generator=generator, dtype=torch.float64)
    return draw[:8], draw[8:], torch.randn(8, 2, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("outputs", [1, 2])
def test_gradient_descent_follows_the_prediction_to_rounding(outputs, data):
    x, x_test, y = data
    y, model = y[:, :outputs], mlp(outputs)
    kernel, cross = tangent_kernel(model, x), tangent_kernel(model, x_test, x)
    linearised = linearize(model)
    rate = 0.9 * float(max_learning_rate(kernel))
    optimiser = torch.optim.SGD(linearised.parameters(), lr=rate)
    found = []
    for _ in range(60):
        loss = (linearised(x) - y).square().sum() / (2 * len(x))
        found.append((linearised(x).detach(), linearised(x_test).detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        start, start_test = model(x), model(x_test)
    predicted = gradient_descent_prediction(kernel, cross, y, start, start_test, rate, torch.arange(60))
    torch.testing.assert_close(predicted.train, torch.stack([train for train, _ in found]), rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(predicted.test, torch.stack([test for _, test in found]), rtol=1e-9, atol=1e-10)


def test_gradient_flow_is_gradient_descent_with_small_steps(data):
    x, x_test, y = data
    model = mlp(2)
    kernel, cross = tangent_kernel(model, x), tangent_kernel(model, x_test, x)
    start, start_test = model(x).detach(), model(x_test).detach()
    flow = gradient_flow_prediction(kernel, cross, y, start, start_test, 2.0)
    gaps = []
    for steps in (1000, 2000):
        descent = gradient_descent_prediction(kernel, cross, y, start, start_test, 2.0 / steps, steps)
        gaps.append([float((a - b).norm()) for a, b in zip(descent, flow, strict=True)])
    for wide, narrow in zip(*gaps, strict=True):
        assert wide / narrow == pytest.approx(2, abs=0.05)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), time=st.floats(0, 50), rank=st.integers(1, 5))
def test_flow_solves_its_equation_on_singular_kernels(seed, time, rank):
    """Against the matrix exponential; the outputs on the null space of K stay where they are."""
    generator = torch.Generator().manual_seed(seed)
    features, test_features = torch.randn(2, 5, rank, generator=generator, dtype=torch.float64)
    y, f, f_test = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    kernel, cross = features @ features.T, test_features @ features.T
    found = gradient_flow_prediction(kernel, cross, y, f, f_test, time)
    decay = torch.linalg.matrix_exp(-kernel * time / 5)
    torch.testing.assert_close(found.train, y + decay @ (f - y), rtol=1e-8, atol=1e-8)
    moved_by = torch.linalg.pinv(features, rtol=1e-10) @ (found.train - f)  # the least movement of the parameters
    torch.testing.assert_close(found.test, f_test + test_features @ moved_by, rtol=1e-5, atol=1e-5)


def test_at_infinite_time_it_is_the_solution_of_least_norm(data):
    x, x_test, y = data
    model = mlp(2)
    kernel, cross = (tangent_kernel(model, a, b, outputs=0) for a, b in ((x, x), (x_test, x)))
    start, start_test = model(x).detach(), model(x_test).detach()
    found = gradient_flow_prediction(kernel, cross, y, start, start_test, math.inf)
    torch.testing.assert_close(found.train, y)
    torch.testing.assert_close(found.test, start_test + cross @ torch.linalg.solve(kernel, y - start))


def test_directions_of_eigenvalue_zero_do_not_move_even_in_single_precision():
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # two equal examples with different targets
    y, zero = torch.tensor([1.0, -1.0, 2.0]), torch.zeros(3)
    for time in (10.0, 1e30, math.inf):
        found = gradient_flow_prediction(x @ x.T, x @ x.T, y, zero, zero, time)
        torch.testing.assert_close(found.train[:2], torch.zeros(2), atol=1e-6, rtol=0)
        torch.testing.assert_close(found.test, found.train, atol=1e-5, rtol=0)


def test_one_kernel_serves_every_output_alike(data):
    x, x_test, y = data
    model = mlp()
    kernel, cross = tangent_kernel(model, x, outputs=0), tangent_kernel(model, x_test, x, outputs=0)
    start, start_test = torch.zeros(8, 2), torch.zeros(5, 2)
    both = gradient_flow_prediction(kernel, cross, y, start, start_test, torch.tensor([0.0, 1.0, 3.0]))
    assert both.train.shape == (3, 8, 2)
    assert both.test.shape == (3, 5, 2)
    for k in range(2):
        one = gradient_flow_prediction(kernel, cross, y[:, k], start[:, k], start_test[:, k], 3.0)
        torch.testing.assert_close(both.train[2, :, k], one.train)
        torch.testing.assert_close(both.test[2, :, k], one.test)


def test_above_the_largest_learning_rate_gradient_descent_diverges(data):
    x, _, y = data
    kernel = tangent_kernel(mlp(), x, outputs=0)
    zero, rate = torch.zeros(8), float(max_learning_rate(kernel))
    for factor, grows in ((0.99, False), (1.01, True)):
        found = gradient_descent_prediction(
            kernel, kernel, y[:, 0], zero, zero, factor * rate, torch.tensor([50, 2000])
        )
        errors = (found.train - y[:, 0]).norm(dim=1)
        assert bool(errors[1] > errors[0]) == grows
    assert float(max_learning_rate(torch.zeros(2, 2))) == math.inf


def test_wrong_arguments_are_one_sentence():
    eye, zero = torch.eye(3), torch.zeros(3)
    for bad, message in (
        (eye * torch.nan, "9 entries that are NaN"),
        (-eye, "eigenvalue -1"),
        (eye[:, :2], r"the shape \[3, 2\]"),
        (torch.ones(3, 3).triu(), "not symmetric"),
        (eye.half(), "torch.float16"),
    ):
        with pytest.raises(InputError, match=message):
            gradient_flow_prediction(bad, eye, zero, zero, zero, 1.0)
    with pytest.raises(InputError, match="do not fit"):
        gradient_flow_prediction(eye, eye, zero, zero[:2], zero, 1.0)
    with pytest.raises(InputError, match="do not fit"):
        gradient_flow_prediction(eye, eye, zero, zero, zero[:2], 1.0)
    with pytest.raises(InputError, match="do not fit"):
        gradient_flow_prediction(torch.ones(3, 3, 2, 2), torch.ones(1, 3, 2, 2), zero, zero, zero[:1], 1.0)
    with pytest.raises(InputError, match="least time is -1"):
        gradient_flow_prediction(eye, eye, zero, zero, zero, torch.tensor([0.0, -1.0]))
    with pytest.raises(InputError, match="learning rate is 0"):
        gradient_descent_prediction(eye, eye, zero, zero, zero, 0.0, 3)
    with pytest.raises(InputError, match="whole numbers"):
        gradient_descent_prediction(eye, eye, zero, zero, zero, 0.1, torch.tensor([0.5]))
