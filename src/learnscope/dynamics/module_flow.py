"""Training of any module with one output between the regimes of features and of laziness.

The predictor is F = α (f − f₀), with f₀ the module before training, and the loss L = (1/p) Σ_μ ℓ(y_μ F(x_μ)) / α on p
examples. Small α makes the parameters move far (the feature regime), large α hardly at all (the lazy regime). Time is
that of dθ/dt = −∂L/∂θ, in which F moves at a rate proportional to α as long as the parameters hardly do.

:func:`flow` follows the gradient flow by Euler's method under :mod:`learnscope.dynamics.step_control`, with the
guarantees that are written down there; :func:`descend` takes steps of a fixed learning rate, on all examples or on
batches, with momentum. Both end as a :class:`~learnscope.dynamics.shallow.Stop` says.

Sources: L. Chizat, E. Oyallon, F. Bach (2019), On lazy training in differentiable programming; M. Geiger, S. Spigler,
A. Jacot, M. Wyart (2020), Disentangling feature and lazy training in deep neural networks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from learnscope.dynamics.euler import Moment, trajectory, until
from learnscope.dynamics.margin_losses import MarginLoss, margin_loss
from learnscope.dynamics.module_run import ModuleProblem, ModuleRun, Recorder, problem_of, rows_that_count
from learnscope.dynamics.shallow.batches import Descent, batches
from learnscope.dynamics.shallow.run import Stop, StoppedBy
from learnscope.dynamics.shallow.stopping import ended
from learnscope.dynamics.step_control import Limits

# What going backward is of the work of going forward and backward.
BACKWARD = 2 / 3
# Pieces of the examples whose passes a second one for some has to save: it takes some work of its own.
LEAST_SPARED = 1 / 4

__all__ = ["Descent", "ModuleRun", "Stop", "descend", "flow"]


def flow(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    alpha: float,
    loss: str | MarginLoss = "hinge",
    stop: Stop | None = None,
    loss_levels: Sequence[float] = (),
    max_output_change: float = 0.1,
    max_gradient_change: float = 1e-3,
) -> ModuleRun:
    """Train a module by gradient flow on L = (1/p) Σ_μ ℓ(y_μ F(x_μ)) / α with F = α (f − f₀).

    Args:
        model: f, which maps [p, ...] to [p] or [p, 1]; not changed. Parameters that do not require gradients stay.
        x: [p, ...] examples, on the model's device.
        y: [p] labels, −1 and +1; any numbers for the squared loss.
        alpha: α.
        loss: ℓ, by name or as a :class:`~learnscope.dynamics.margin_losses.MarginLoss`.
        stop: when it ends; by default when all margins y F exceed 1.
        loss_levels: descending values of the mean of ℓ at which snapshots are taken, on the first step at or below.
        max_output_change: what a step may change any F by.
        max_gradient_change: what a step may change the velocity v by, as |Δv|² / (|v'| |v|).

    Raises:
        InputError: for an α that is not positive, shapes that do not fit, labels that the loss does not take, a module
            that couples examples or has several outputs, or levels that do not descend.

    Cost: a forward and a backward pass over all examples for each step, or a forward pass, and both over the examples
        whose pulls are not lost in the rounding of the sum of all, where these are few; memory for one such pass, and
        for the parameters of each snapshot.

    Examples:
        A linear module, f = w x, under the squared loss is F = α (w − w₀) x, which tends to the label:

        >>> line = nn.Linear(1, 1, bias=False)
        >>> run = flow(line, torch.ones(1, 1), torch.ones(1), alpha=2.0, loss="squared", stop=Stop(loss=1e-4))
        >>> run.stopped_by, round(float(run.predict(torch.ones(1, 1))), 1)
        ('loss', 1.0)
    """
    problem = problem_of(model, x, y, alpha, margin_loss(loss))
    stop, limits = stop or Stop(), Limits(max_output_change, max_gradient_change)
    recorder = Recorder(problem, loss_levels)

    def end(now: Moment) -> StoppedBy | None:
        if now.moved and now.tried:
            recorder.see(now.time, now.state, now.predictions)
        return ended(problem, now.predictions, stop, now.time, now.tried, now.squared_speed)

    moments = trajectory(_Flow(problem), problem.start(), alpha, limits, stop.max_time)
    now, rule = until(moments, end)
    return recorder.run(now.state, now.predictions, now.time, now.tried, rule or "diverged", now.error)


class _Flow:
    """A module as a system.

    Between outputs and velocity it keeps the graph that leads from one to the other; but once the pulls of few examples
    count, as margin losses have it late in a training, those few pass through the module again instead.
    """

    def __init__(self, problem: ModuleProblem) -> None:
        self.problem = problem
        self.graph: tuple[Tensor, Tensor] | None = None
        self.share = 1.0  # of the examples whose pulls counted last

    def outputs(self, state: Tensor) -> Tensor:
        spared = (BACKWARD - self.share) * len(self.problem.y)
        self.graph = None if spared >= LEAST_SPARED * self.problem.piece else self.problem.at(state)
        return self.problem.outputs(state) if self.graph is None else self.graph[1].detach()

    def velocity(self, state: Tensor, predictions: Tensor) -> Tensor:
        pulls = self.problem.pulls(predictions)
        rows = rows_that_count(pulls)
        self.share = len(rows) / len(pulls)
        if self.graph is not None:
            return self.problem.velocity(*self.graph, pulls)
        return self.problem.velocity(*self.problem.at(state, rows), pulls[rows])


def descend(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    alpha: float,
    descent: Descent,
    loss: str | MarginLoss = "hinge",
    stop: Stop | None = None,
    loss_levels: Sequence[float] = (),
    generator: torch.Generator | None = None,
) -> ModuleRun:
    """Train a module by gradient descent with momentum on the loss of :func:`flow`, on all examples or on batches.

    With batches the outputs on all examples, which decide on the end and on snapshots, are computed once in
    ⌈p / batch_size⌉ steps.

    Args:
        model: as in :func:`flow`.
        x: as there.
        y: as there.
        alpha: as there.
        descent: learning rate, momentum and batches.
        loss: as in :func:`flow`.
        stop: as there.
        loss_levels: as there.
        generator: source of the batches.

    Raises:
        InputError: as :func:`flow`, and for batches without a generator.

    Cost: a forward and a backward pass over a batch for each step.

    Examples:
        >>> line, x, y = nn.Linear(1, 1, bias=False), torch.ones(1, 1), torch.ones(1)
        >>> run = descend(line, x, y, alpha=1.0, descent=Descent(0.5), loss="squared", stop=Stop(max_steps=3))
        >>> round(float(run.outputs), 4)  # 1 − ½³
        0.875
    """
    problem, stop = problem_of(model, x, y, alpha, margin_loss(loss)), stop or Stop()
    state = problem.start()
    first, impulse = problem.outputs(state), torch.zeros_like(state)
    predictions, recorder = torch.zeros_like(first), Recorder(problem, loss_levels)
    period = 1 if descent.batch_size is None else math.ceil(len(x) / descent.batch_size)
    rows = itertools.repeat(None) if descent.batch_size is None else batches(len(x), descent, generator)
    rate, done = descent.learning_rate, 0
    while True:
        if done % period == 0 or done == stop.max_steps:
            predictions = alpha * (problem.outputs(state) - first)
            recorder.see(rate * done, state, predictions)
            if (rule := ended(problem, predictions, stop, rate * done, done)) is not None:
                return recorder.run(state, predictions, rate * done, done, rule)
        batch = next(rows)
        parameters, output = problem.at(state, batch)
        before = first if batch is None else first[batch]
        velocity = problem.velocity(parameters, output, problem.pulls(alpha * (output.detach() - before), batch))
        impulse = descent.momentum * impulse + velocity
        state = state + rate * impulse
        done += 1
