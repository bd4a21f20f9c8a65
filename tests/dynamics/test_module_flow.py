"""Training of modules follows closed forms, torch's own optimisers, and the flow of one hidden layer."""

import copy
import itertools

import pytest
import torch
from torch import nn

from learnscope.dynamics import shallow
from learnscope.dynamics.margin_losses import margin_loss
from learnscope.dynamics.module_flow import Descent, Stop, descend, flow
from learnscope.dynamics.shallow.batches import batches
from learnscope.errors import InputError
from learnscope.networks.one_hidden_layer import one_hidden_layer


class AsModule(nn.Module):
    """A network of one hidden layer as a module."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.weights, self.biases, self.outputs = (
            nn.Parameter(each.clone()) for each in (network.weights, network.biases, network.outputs)
        )

    def forward(self, x):
        u = x @ self.weights.T / x.shape[1] ** 0.5 + self.biases
        return self.network.activation.value(u) @ self.outputs / len(self.outputs)


def line(dim=3, dtype=torch.float64):
    return nn.Linear(dim, 1, bias=False, dtype=dtype)


def perceptron(generator, dim=4, width=20):
    model = nn.Sequential(nn.Linear(dim, width), nn.Tanh(), nn.Linear(width, 1)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 2)
    return model


def examples(generator, n=12, dim=4):
    x = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    return x, torch.where(x[:, 0] * x[:, 1] > 0, 1.0, -1.0).double()


def test_the_flow_of_a_linear_module_is_that_of_its_kernel(generator):
    # dF/dt = −(α/p) K (F − y) for f = w · x
    x, y = torch.randn(5, 3, generator=generator, dtype=torch.float64), torch.arange(5.0, dtype=torch.float64)
    run = flow(line(), x, y, alpha=0.5, loss="squared", stop=Stop(max_time=3.0), max_output_change=4e-3)
    decay = torch.linalg.matrix_exp(-0.5 * 3.0 / 5 * x @ x.T)
    torch.testing.assert_close(run.outputs, y - decay @ y, rtol=0, atol=8e-3)
    assert run.stopped_by == "time"
    assert run.time == pytest.approx(3.0)


def test_it_is_the_flow_of_one_hidden_layer_in_its_own_time(generator):
    network = one_hidden_layer(20, 4, generator, activation="tanh")
    x, y = examples(generator)
    tight = {"max_output_change": 0.01, "max_gradient_change": 1e-5}
    ours = flow(AsModule(network), x, y, alpha=0.1, loss="logistic", stop=Stop(max_time=200.0), **tight)
    (theirs,) = shallow.flow([network], x, y, alpha=0.1, loss="logistic", stop=Stop(max_time=200.0 / 20), **tight)
    torch.testing.assert_close(ours.outputs, theirs.outputs, rtol=0.01, atol=0.003)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("batch_size", [None, 5])
def test_descent_is_that_of_torch(momentum, batch_size, generator):
    model, (x, y) = perceptron(generator), examples(generator)
    alpha, loss, descent = 0.3, margin_loss("soft_hinge"), Descent(0.2, momentum=momentum, batch_size=batch_size)
    run = descend(
        model, x, y, alpha=alpha, descent=descent, loss=loss, stop=Stop(max_steps=9), generator=_drawn(batch_size)
    )
    theirs = copy.deepcopy(model)
    optimiser = torch.optim.SGD(theirs.parameters(), lr=0.2, momentum=momentum)
    rows = itertools.repeat(slice(None)) if batch_size is None else batches(len(x), descent, _drawn(batch_size))
    for batch in itertools.islice(rows, 9):
        optimiser.zero_grad()
        predictions = alpha * (theirs(x[batch]) - model(x[batch]).detach())[:, 0]
        (loss.of(predictions, y[batch]).mean() / alpha).backward()
        optimiser.step()
    for ours, other in zip(run.network.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-10, atol=1e-12)


def _drawn(batch_size):
    return torch.Generator().manual_seed(3) if batch_size else None


@pytest.mark.parametrize("alpha", [0.03, 1.0, 1e3])
@pytest.mark.parametrize("loss", ["hinge", "soft_hinge", "quadratic_hinge"])
def test_all_margins_are_reached_in_every_regime(alpha, loss, generator):
    model, (x, y) = perceptron(generator), examples(generator, n=8)
    stop = Stop(margin=0.9, max_steps=20_000)
    run = flow(model, x, y, alpha=alpha, loss=loss, stop=stop)
    assert run.stopped_by == "margin"
    assert bool((run.outputs * y > 0.9).all())
    torch.testing.assert_close(run.predict(x), run.outputs, rtol=1e-6, atol=1e-6)


def test_parameters_hardly_move_in_the_lazy_regime_as_one_over_alpha(generator):
    model, (x, y) = perceptron(generator, width=60), examples(generator)
    moved = [flow(model, x, y, alpha=alpha, loss="hinge").weight_change() for alpha in (1e3, 1e4)]
    assert moved[0] / moved[1] == pytest.approx(10, rel=0.05)


def test_the_module_that_is_given_does_not_change_and_frozen_parameters_stay(generator):
    model, (x, y) = perceptron(generator), examples(generator)
    model[0].weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    run = flow(model, x, y, alpha=1.0, stop=Stop(max_steps=50))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(run.network[0].weight, model[0].weight)
    assert not torch.equal(run.network[2].weight, model[2].weight)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_module_in_two_places_is_trained_as_one_and_the_one_given_does_not_change(generator):
    twice, (x, y) = perceptron(generator, dim=4, width=4)[0], examples(generator)
    model = nn.Sequential(twice, nn.Tanh(), twice, line(4))
    before = copy.deepcopy(model.state_dict())
    run = flow(model, x, y, alpha=1.0, stop=Stop(max_steps=50))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model[0].weight is model[2].weight is twice.weight
    assert run.network[0].weight is run.network[2].weight
    assert not torch.equal(run.network[0].weight, twice.weight)


def test_snapshots_are_taken_at_levels_of_the_loss(generator):
    model, (x, y) = perceptron(generator), examples(generator)
    levels = (0.8, 0.4, 0.2, 1e-9)
    run = flow(model, x, y, alpha=1.0, loss="logistic", stop=Stop(loss=0.1), loss_levels=levels)
    with torch.no_grad():
        losses = [float(margin_loss("logistic").of((m(x) - model(x))[:, 0], y).mean()) for m in run.snapshots]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)
    assert [loss <= level for loss, level in zip(losses[1:4], levels[:3], strict=True)] == [True] * 3
    assert losses[2] > 0.35  # the first step at or below 0.4, not a later one
    assert list(run.times) == sorted(run.times)
    assert run.times[-2:] == (run.time, run.time)  # the level that was not reached, and the end


def test_what_ends_a_training_is_told(generator):
    model, (x, y) = perceptron(generator), examples(generator)
    assert flow(model, x, y, alpha=1.0, stop=Stop(fraction=0.5)).stopped_by == "fraction"
    assert flow(model, x, y, alpha=1.0, stop=Stop(max_steps=3)).n_steps == 3
    wild = descend(model, x, y, alpha=1.0, descent=Descent(1e200), loss="squared", stop=Stop(max_steps=20))
    assert wild.stopped_by == "diverged"
    assert not wild.converged
    dead = line(4)
    with torch.no_grad():
        dead.weight.zero_()
    assert flow(dead, torch.zeros_like(x), y, alpha=1.0).stopped_by == "stationary"


def test_what_cannot_be_trained_is_refused(generator):
    model, (x, y) = perceptron(generator), examples(generator)
    cases = [
        ((model, x, y), {"alpha": 0.0}, "alpha is 0"),
        ((model, x, 2 * y), {}, "takes −1 and \\+1"),
        ((model, x[:3], y), {}, "give \\[p, ...\\] and \\[p\\]"),
        ((model, x[:0], y[:0]), {}, "at least one example"),
        ((model, x * torch.nan, y), {}, "NaN or infinite"),
        ((nn.Linear(4, 2).double(), x, y), {}, "a single one"),
        ((nn.Sequential(model, nn.Dropout(0.5)), x, y), {}, "training mode"),
        ((model.requires_grad_(False), x, y), {}, "nothing to train"),
    ]
    for given, changes, message in cases:
        with pytest.raises(InputError, match=message):
            flow(*given, **({"alpha": 1.0} | changes))
    with pytest.raises(InputError, match="descending"):
        flow(perceptron(generator), x, y, alpha=1.0, loss_levels=(0.1, 0.2))
