"""The two ways of training, gradient flow and gradient descent, around any engine that gives outputs and velocities."""

from __future__ import annotations

import itertools
import math
from typing import Protocol

import torch
from torch import Tensor

from learnscope.dynamics.euler import Moment, trajectory, until
from learnscope.dynamics.shallow.batches import Descent, batches
from learnscope.dynamics.shallow.problem import Problem
from learnscope.dynamics.shallow.recorder import Recorder, descent_diverged, flow_diverged
from learnscope.dynamics.shallow.run import Run, Stop, StoppedBy
from learnscope.dynamics.shallow.stopping import ended, fitted
from learnscope.dynamics.step_control import Limits
from learnscope.networks.one_hidden_layer import OneHiddenLayer


class Engine(Protocol):
    """What a loop needs: parameters are one tensor of any layout, of which the engine knows the meaning."""

    problem: Problem

    def start(self) -> Tensor:
        """Return the parameters of the network before training."""
        ...

    def outputs(self, parameters: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return f at the points, or at some rows of them."""
        ...

    def velocity(self, parameters: Tensor, pull: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return −h ∂L/∂θ for the derivatives of the loss in each prediction, zero for what is frozen."""
        ...

    def network(self, parameters: Tensor) -> OneHiddenLayer:
        """Return the network with some parameters, as tensors of its own."""
        ...


def follow(engine: Engine, stop: Stop, limits: Limits, per_decade: int) -> Run:
    """Follow the gradient flow of one network by Euler's method under :mod:`learnscope.dynamics.step_control`."""
    problem, start = engine.problem, engine.start()
    recorder = Recorder(engine.network(start), per_decade)

    def end(now: Moment) -> StoppedBy | None:
        _record(recorder, now.time, engine, now.state, now.predictions, stop)
        return ended(problem, now.predictions, stop, now.time, now.tried, now.squared_speed)

    moments = trajectory(_Flow(engine), start, problem.alpha, limits, stop.max_time)
    now, rule = until(moments, end)
    rule, network = rule or "diverged", engine.network(now.state)
    note = flow_diverged(now.tried, now.step, now.time) if rule == "diverged" else ""
    return recorder.run(problem, network, now.predictions, now.time, now.tried, rule, now.error, note)


class _Flow:
    """An engine as a system whose velocity is asked for by predictions."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def outputs(self, state: Tensor) -> Tensor:
        return self.engine.outputs(state)

    def velocity(self, state: Tensor, predictions: Tensor) -> Tensor:
        problem = self.engine.problem
        return self.engine.velocity(state, problem.loss.pull(predictions, problem.y))


def descend(engine: Engine, descent: Descent, stop: Stop, per_decade: int, generator: torch.Generator | None) -> Run:
    """Train one network by gradient descent, or by stochastic gradient descent where the descent has batches.

    With batches, the outputs on all points, which decide on the end, are computed once in ⌈p / batch_size⌉ steps.
    """
    problem, state = engine.problem, engine.start()
    first, impulse, rule = engine.outputs(state), torch.zeros_like(state), None
    predictions = torch.zeros_like(first)
    recorder = Recorder(engine.network(state), per_decade)
    n, rate, done = len(first), descent.learning_rate, 0
    rows = itertools.repeat(None) if descent.batch_size is None else batches(n, descent, generator)
    period = 1 if descent.batch_size is None else math.ceil(n / descent.batch_size)
    while True:
        if done % period == 0 or done == stop.max_steps:
            predictions = problem.alpha * (engine.outputs(state) - first)
            rule = ended(problem, predictions, stop, rate * done, done)
        if rule != "diverged":
            _record(recorder, rate * done, engine, state, predictions, stop)
        if rule is not None:
            break
        batch = next(rows)
        seen = predictions if batch is None else problem.alpha * (engine.outputs(state, batch) - first[batch])
        if not bool(torch.isfinite(seen).all()):
            rule = "diverged"
            break
        labels = problem.y if batch is None else problem.y[batch]
        impulse = descent.momentum * impulse + engine.velocity(state, problem.loss.pull(seen, labels), batch)
        state = state + rate * impulse
        done += 1
    note = descent_diverged(done, rate) if rule == "diverged" else ""
    return recorder.run(problem, engine.network(state), predictions, rate * done, done, rule, note=note)


def _record(recorder: Recorder, time: float, engine: Engine, state: Tensor, predictions: Tensor, stop: Stop) -> None:
    if time >= recorder.due:
        recorder.keep(time, engine.network(state))
    if recorder.first_margin is None and fitted(engine.problem, predictions, stop) > 0:
        recorder.first_margin = engine.network(state)
