"""Training of a problem by the compiled loops: arrays, and what is recorded between two calls of the compiled code."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import cast

import numpy as np
import torch

from learnscope.dynamics.shallow.batches import Descent
from learnscope.dynamics.shallow.compiled import entries, losses, passes, training
from learnscope.dynamics.shallow.compiled.layout import Layout
from learnscope.dynamics.shallow.problem import Problem
from learnscope.dynamics.shallow.recorder import Recorder, descent_diverged, flow_diverged
from learnscope.dynamics.shallow.run import Run, Stop, StoppedBy
from learnscope.dynamics.step_control import Limits

PAIRS_BETWEEN_PAUSES = 10**9  # examples times neurons, about a second, after which an interruption is noticed


def follow(problem: Problem, stop: Stop, limits: Limits, per_decade: int, halt: Event) -> Run:
    """Return what :func:`learnscope.dynamics.shallow.loops.follow` returns for the reference, up to rounding."""
    layout = Layout(problem)
    rules = _rules(layout, stop)._replace(max_output_change=limits.output, max_gradient_change=limits.gradient)
    return _train(layout, rules, per_decade, entries.follow, halt)


def descend(problem: Problem, descent: Descent, stop: Stop, per_decade: int, halt: Event) -> Run:
    """Return what :func:`learnscope.dynamics.shallow.loops.descend` returns on all points at once, up to rounding."""
    layout = Layout(problem)
    rules = _rules(layout, stop)._replace(learning_rate=descent.learning_rate, momentum=descent.momentum)
    return _train(layout, rules, per_decade, entries.descend, halt)


def _train(layout: Layout, rules: training.Rules, per_decade: int, advance: Callable[..., int], halt: Event) -> Run:
    problem, arrays = layout.problem, _arrays(layout)
    entries.begin(arrays, rules)
    recorder = Recorder(problem.network, per_decade)
    clock, counts = np.array([0.0, 1.0, 0.0, recorder.due]), np.zeros(3, dtype=np.int64)
    budget = max(1, PAIRS_BETWEEN_PAUSES // (len(problem.x) * layout.width))
    state = torch.from_numpy(arrays.parameters)
    while (reason := advance(arrays, rules, clock, counts, budget)) in (training.RECORD, training.PAUSED):
        if halt.is_set():
            raise KeyboardInterrupt
        if clock[training.TIME_NOW] >= recorder.due:
            recorder.keep(float(clock[training.TIME_NOW]), layout.network(state))
            clock[training.DUE] = recorder.due
        if counts[training.FITTED] and not counts[training.FIRST_FITTED]:
            recorder.first_margin = layout.network(state)
            counts[training.FIRST_FITTED] = 1
    time, step, error, _ = (float(number) for number in clock)
    tried, stopped_by = int(counts[training.TRIED]), cast(StoppedBy, training.NAMES[reason])
    predictions = torch.from_numpy(arrays.predictions[: len(problem.x)])
    note = ""
    if stopped_by == "diverged":
        rate = rules.learning_rate
        note = descent_diverged(tried, rate) if rate > 0 else flow_diverged(tried, step, time)
    return recorder.run(problem, layout.network(state), predictions, time, tried, stopped_by, error, note)


def _arrays(layout: Layout) -> training.Arrays:
    problem, parameters = layout.problem, layout.start().numpy()
    empty = [np.zeros_like(parameters) for _ in range(3)]
    labels = layout.padded(problem.y)
    return training.Arrays(
        layout.tiles(problem.x),
        labels,
        layout.mask.numpy(),
        layout.directions.reshape(-1).numpy(),
        parameters,
        *empty,
        *(np.zeros_like(labels) for _ in range(5)),
    )


def _rules(layout: Layout, stop: Stop) -> training.Rules:
    problem, network, loss = layout.problem, layout.problem.network, layout.problem.loss
    activation = network.activation
    sharpness = activation.sharpness if activation.kind == "softplus" else 1.0
    return training.Rules(
        n=len(problem.x),
        width=network.width,
        dim=network.dim,
        lanes=layout.lanes,
        activation=passes.KINDS.index(activation.kind),
        sharpness=sharpness,
        value_factor=activation.scale / sharpness,
        slope_factor=activation.scale,
        loss=losses.KINDS.index(loss.kind),
        loss_sharpness=loss.sharpness,
        alpha=problem.alpha,
        has_margins=problem.has_margins,
        along_directions="directions" in problem.frozen,
        margin=stop.margin,
        fraction=stop.fraction,
        max_time=stop.max_time,
        max_steps=stop.max_steps,
        least_loss=stop.loss,
        max_output_change=0.0,
        max_gradient_change=0.0,
        learning_rate=0.0,
        momentum=0.0,
    )
