"""The two ways of training, gradient flow and gradient descent, around any engine that gives outputs and velocities."""

from __future__ import annotations

import itertools
import math
from typing import Protocol

import torch
from torch import Tensor

from learnscope.dynamics.shallow.batches import Descent, batches
from learnscope.dynamics.shallow.problem import Problem
from learnscope.dynamics.shallow.recorder import Recorder, descent_diverged, flow_diverged
from learnscope.dynamics.shallow.run import Run, Stop, StoppedBy
from learnscope.dynamics.step_control import CROSSED, REFUSED, Change, Limits, change, judge, next_factor, too_short
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
    problem, state = engine.problem, engine.start()
    first = output = engine.outputs(state)
    predictions = torch.zeros_like(output)
    velocity = engine.velocity(state, problem.loss.pull(predictions, problem.y))
    recorder = Recorder(engine.network(state), per_decade)
    time, step, tried, error = 0.0, 1.0, 0, 0.0
    while True:
        ended = _ended(problem, predictions, stop, time, tried, _square(velocity))
        _record(recorder, time, engine, state, predictions, stop)
        if ended is None and too_short(step, time):
            ended = "diverged"
        if ended is not None:
            break
        tried += 1
        length = min(step, stop.max_time - time)
        new = state + length * velocity
        new_output = engine.outputs(new)
        moved = problem.alpha * float((new_output - output).abs().max())
        made = Change(moved, 0.0, 0.0, 0.0)
        if moved < limits.output:
            new_predictions = problem.alpha * (new_output - first)
            new_velocity = engine.velocity(new, problem.loss.pull(new_predictions, problem.y))
            sizes = (_square(v) for v in (new_velocity - velocity, velocity, new_velocity, state))
            made = change(moved, length, *sizes)
            verdict = judge(made, limits)
            if verdict != REFUSED:
                time = time + length if length == step else stop.max_time
                error += made.error if verdict == CROSSED else 0.0
                state, output, predictions, velocity = new, new_output, new_predictions, new_velocity
        step = length * next_factor(made, limits)
    note = flow_diverged(tried, step, time) if ended == "diverged" else ""
    return recorder.run(problem, engine.network(state), predictions, time, tried, ended, error, note)


def descend(engine: Engine, descent: Descent, stop: Stop, per_decade: int, generator: torch.Generator | None) -> Run:
    """Train one network by gradient descent, or by stochastic gradient descent where the descent has batches.

    With batches, the outputs on all points, which decide on the end, are computed once in ⌈p / batch_size⌉ steps.
    """
    problem, state = engine.problem, engine.start()
    first, impulse, ended = engine.outputs(state), torch.zeros_like(state), None
    predictions = torch.zeros_like(first)
    recorder = Recorder(engine.network(state), per_decade)
    n, rate, done = len(first), descent.learning_rate, 0
    rows = itertools.repeat(None) if descent.batch_size is None else batches(n, descent, generator)
    period = 1 if descent.batch_size is None else math.ceil(n / descent.batch_size)
    while True:
        if done % period == 0 or done == stop.max_steps:
            predictions = problem.alpha * (engine.outputs(state) - first)
            ended = _ended(problem, predictions, stop, rate * done, done)
        if ended != "diverged":
            _record(recorder, rate * done, engine, state, predictions, stop)
        if ended is not None:
            break
        batch = next(rows)
        seen = predictions if batch is None else problem.alpha * (engine.outputs(state, batch) - first[batch])
        if not bool(torch.isfinite(seen).all()):
            ended = "diverged"
            break
        labels = problem.y if batch is None else problem.y[batch]
        impulse = descent.momentum * impulse + engine.velocity(state, problem.loss.pull(seen, labels), batch)
        state = state + rate * impulse
        done += 1
    note = descent_diverged(done, rate) if ended == "diverged" else ""
    return recorder.run(problem, engine.network(state), predictions, rate * done, done, ended, note=note)


def _ended(
    problem: Problem, predictions: Tensor, stop: Stop, time: float, tried: int, squared_speed: float = 1.0
) -> StoppedBy | None:
    """Return the rule that ends the training now, if one does."""
    if not bool(torch.isfinite(predictions).all()):
        return "diverged"
    fitted = _fitted(problem, predictions, stop)
    if fitted == len(predictions):
        return "margin"
    if fitted > stop.fraction * len(predictions):
        return "fraction"
    if stop.loss > 0 and float(problem.loss.of(predictions, problem.y).mean()) <= stop.loss:
        return "loss"
    if squared_speed == 0.0:
        return "stationary"
    if time >= stop.max_time:
        return "time"
    return "steps" if tried >= stop.max_steps else None


def _fitted(problem: Problem, predictions: Tensor, stop: Stop) -> int:
    return int((predictions * problem.y > stop.margin).sum()) if problem.has_margins else 0


def _record(recorder: Recorder, time: float, engine: Engine, state: Tensor, predictions: Tensor, stop: Stop) -> None:
    if time >= recorder.due:
        recorder.keep(time, engine.network(state))
    if recorder.first_margin is None and _fitted(engine.problem, predictions, stop) > 0:
        recorder.first_margin = engine.network(state)


def _square(tensor: Tensor) -> float:
    return float(tensor.square().sum(dtype=torch.float64))
