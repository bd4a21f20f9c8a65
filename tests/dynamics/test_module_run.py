"""The problem of a module: pieces of the examples change nothing but memory and time."""

import pytest
import torch
from torch import nn

from learnscope.dynamics import module_run
from learnscope.dynamics.margin_losses import margin_loss
from learnscope.dynamics.module_flow import Stop, flow
from learnscope.dynamics.module_run import problem_of


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
        torch.testing.assert_close(problem.velocity(state, found, torch.zeros(11, dtype=torch.float64)), truth)
    assert sizes[0] == 1 < sizes[1] < 11 < sizes[2]


def test_predictions_are_those_of_all_examples_at_once(monkeypatch, network, images):
    run = flow(network, *images, alpha=0.5, stop=Stop(max_steps=5))
    whole = run.predict(images[0])
    torch.testing.assert_close(whole, 0.5 * (run.network(images[0]) - run.initial(images[0])).flatten().detach())
    monkeypatch.setattr(module_run, "PREDICTED", 4)
    torch.testing.assert_close(run.predict(images[0]), whole)
