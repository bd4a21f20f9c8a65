"""The problem of a module: pieces of the examples, and leaving out what does not count, change nothing but time."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from learnscope.dynamics import module_flow, module_run
from learnscope.dynamics.margin_losses import margin_loss
from learnscope.dynamics.module_flow import Stop, flow
from learnscope.dynamics.module_run import problem_of, rows_that_count


@pytest.fixture
def network(generator):
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(27, 1, bias=False)
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 3)
    return model


@pytest.fixture
def images(generator):
    x = torch.randn(11, 1, 7, 7, generator=generator, dtype=torch.float64)
    return x, torch.where(x.mean((1, 2, 3)) > 0, 1.0, -1.0).double()


def in_pieces(monkeypatch, network, images, cached):
    monkeypatch.setattr(module_run, "CACHED", cached)
    return problem_of(network, *images, 0.5, margin_loss("hinge"))


def test_outputs_and_velocity_are_those_of_autograd_whatever_the_pieces(monkeypatch, network, images):
    x, y = images
    outputs = network(x).flatten()
    loss = torch.relu(1 - 0.5 * y * (outputs - outputs.detach())).mean() / 0.5
    truth = -torch.cat([each.flatten() for each in torch.autograd.grad(loss, list(network.parameters()))])
    sizes = []
    for cached in (1, 3000, 2**23):
        problem = in_pieces(monkeypatch, network, images, cached)
        sizes.append(problem.piece)
        state, found = problem.at(problem.start())
        torch.testing.assert_close(found, outputs)
        torch.testing.assert_close(problem.outputs(problem.start()), outputs)
        torch.testing.assert_close(problem.velocity(state, found, problem.pulls(0 * found.detach())), truth)
    assert sizes[0] == 1 < sizes[1] < 11 < sizes[2]


def test_predictions_are_those_of_all_examples_at_once(monkeypatch, network, images):
    run = flow(network, *images, alpha=0.5, stop=Stop(max_steps=5))
    whole = run.predict(images[0])
    torch.testing.assert_close(whole, 0.5 * (run.network(images[0]) - run.initial(images[0])).flatten().detach())
    monkeypatch.setattr(module_run, "PREDICTED", 4)
    torch.testing.assert_close(run.predict(images[0]), whole)


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40), st.sampled_from([torch.float32, torch.float64]))
def test_what_does_not_count_is_lost_in_rounding_and_no_more_could_be_left_out(values, dtype):
    pulls = torch.tensor(values, dtype=dtype)
    rows = rows_that_count(pulls)
    sizes, limit = pulls.double().abs(), torch.finfo(dtype).eps / 2 * float(pulls.double().abs().sum())
    left_out = float(sizes.sum() - sizes[rows].sum())
    assert left_out <= limit + 1e-15 * len(values)
    assert len(rows) == 1 or left_out + float(sizes[rows].min()) > limit
    assert rows.tolist() == sorted(set(rows.tolist()))


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_all_pulls_count_if_one_is_not_finite(odd):
    assert rows_that_count(torch.tensor([1.0, odd, 0.0])).tolist() == [0, 1, 2]


@pytest.mark.parametrize("loss", ["hinge", "soft_hinge", "squared"])
def test_the_flow_is_the_same_whether_examples_without_pull_are_left_out_or_not(monkeypatch, network, images, loss):
    monkeypatch.setattr(module_run, "CACHED", 1)
    runs, examples = [], []
    network.register_forward_hook(lambda module, inputs, output: examples.append(len(output) * torch.is_grad_enabled()))
    with_graph = []
    for backward in (-1.0, 2.0):
        monkeypatch.setattr(module_flow, "BACKWARD", backward)
        examples.clear()
        runs.append(flow(network, *images, alpha=0.1, loss=loss, stop=Stop(max_steps=120)))
        with_graph.append(sum(examples))
    torch.testing.assert_close(runs[0].outputs, runs[1].outputs, rtol=1e-9, atol=1e-9)
    assert runs[0].n_steps == runs[1].n_steps
    # steps that are refused have no graph then
    least, most = (0, 0.8) if loss == "hinge" else (0.9, 1)
    assert least <= with_graph[1] / with_graph[0] <= most
