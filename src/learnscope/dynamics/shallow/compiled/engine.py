"""Training of a problem by the compiled loops: arrays, and what is recorded between two calls of the compiled code."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Event, Thread
from typing import cast

import numpy as np
import torch
from torch import Tensor

from learnscope.dynamics.shallow.batches import Batches, Descent
from learnscope.dynamics.shallow.compiled import losses, training
from learnscope.dynamics.shallow.compiled.entries import ENTRIES
from learnscope.dynamics.shallow.compiled.lanes import REGISTER_BYTES, ROWS
from learnscope.dynamics.shallow.compiled.state import Arrays, Rules
from learnscope.dynamics.shallow.problem import Problem
from learnscope.dynamics.shallow.recorder import Recorder, descent_diverged, flow_diverged
from learnscope.dynamics.shallow.run import Run, Stop, StoppedBy
from learnscope.dynamics.step_control import Limits
from learnscope.networks.one_hidden_layer import OneHiddenLayer

PAIRS_BETWEEN_PAUSES = 10**9  # examples times neurons, about a second, after which an interruption is noticed
PAIRS_FOR_A_TEAM = 2 * 10**5  # of which a pass takes some hundred microseconds, far more than to speak to a thread

Advance = Callable[[np.ndarray, np.ndarray], int]  # clock, counts -> why it returned


def follow(problem: Problem, stop: Stop, limits: Limits, per_decade: int, halt: Event, threads: int = 1) -> Run:
    """Return what :func:`learnscope.dynamics.shallow.loops.follow` returns for the reference, up to rounding.

    A large network is spread over as many threads, which changes no bit of the result.
    """
    arrays, rules = arrays_of(problem), rules_of(problem, stop, threads, limits=limits)
    budget = max(1, PAIRS_BETWEEN_PAUSES // (rules.n * rules.width))

    def advance(clock: np.ndarray, counts: np.ndarray) -> int:
        return ENTRIES.follow(arrays, rules, clock, counts, budget)

    return _train(problem, arrays, rules, per_decade, advance, halt)


def descend(
    problem: Problem,
    descent: Descent,
    stop: Stop,
    per_decade: int,
    halt: Event,
    threads: int = 1,
    generator: torch.Generator | None = None,
) -> Run:
    """Return what :func:`learnscope.dynamics.shallow.loops.descend` returns for the reference, up to rounding."""
    arrays, rules = arrays_of(problem), rules_of(problem, stop, threads, descent=descent)
    if descent.batch_size is None:
        advance = _on_all(arrays, rules)
    else:
        advance = _on_batches(arrays, rules, Batches(rules.n, descent, generator))
    return _train(problem, arrays, rules, per_decade, advance, halt)


def _on_all(arrays: Arrays, rules: Rules) -> Advance:
    """Return what takes steps on all examples."""
    budget = max(1, PAIRS_BETWEEN_PAUSES // (rules.n * rules.width))

    def advance(clock: np.ndarray, counts: np.ndarray) -> int:
        return ENTRIES.descend(arrays, rules, clock, counts, budget)

    return advance


def _on_batches(arrays: Arrays, rules: Rules, drawn: Batches) -> Advance:
    """Return what takes steps on batches: no more are drawn at once than up to where the rules are looked at again."""
    batch, of_batch = _batch(arrays, rules, drawn.size)
    period, most = math.ceil(rules.n / drawn.size), max(1, PAIRS_BETWEEN_PAUSES // (rules.width * drawn.size))
    rows = np.zeros((0, drawn.size), np.int64)

    def advance(clock: np.ndarray, counts: np.ndarray) -> int:
        nonlocal rows
        reason = ENTRIES.descend_on_batches(arrays, rules, batch, of_batch, rows, period, clock, counts)
        if reason == training.PAUSED:
            done = int(counts[training.TRIED])
            rows = drawn.take(min(period - done % period, rules.max_steps - done, most)).cpu().numpy()
            counts[training.DRAWN] = 0
        return reason

    return advance


def _batch(arrays: Arrays, rules: Rules, size: int) -> tuple[Arrays, Rules]:
    """Return arrays for a batch of examples, which share the parameters, and its rules."""
    padded = -(-size // ROWS) * ROWS
    numbers = [np.zeros(padded, arrays.labels.dtype) for _ in range(6)]
    batch = arrays._replace(
        examples=np.zeros(padded * rules.dim, arrays.labels.dtype),
        **dict(zip(("labels", "first", "outputs", "trial_outputs", "predictions", "pulls"), numbers, strict=True)),
    )
    return batch, rules._replace(n=size, threads=1)


def _train(problem: Problem, arrays: Arrays, rules: Rules, per_decade: int, advance: Advance, halt: Event) -> Run:
    network = problem.network
    recorder = Recorder(network, per_decade)
    clock = np.array([0.0, 1.0, 0.0, recorder.due])
    counts = np.array([0, 0, 0, 0, -1, 0])
    with Team(arrays, rules):
        ENTRIES.begin(arrays, rules)
        while (reason := advance(clock, counts)) in (training.RECORD, training.PAUSED):
            if halt.is_set():
                raise KeyboardInterrupt
            if clock[training.TIME_NOW] >= recorder.due:
                recorder.keep(float(clock[training.TIME_NOW]), network_of(arrays.parameters, rules, network))
                clock[training.DUE] = recorder.due
            if counts[training.FITTED] and not counts[training.FIRST_FITTED]:
                recorder.first_margin = network_of(arrays.parameters, rules, network)
                counts[training.FIRST_FITTED] = 1
    time, step, error, _ = clock.tolist()
    tried, stopped_by = int(counts[training.TRIED]), cast(StoppedBy, training.NAMES[reason])
    predictions = torch.from_numpy(arrays.predictions[: rules.n])
    note = ""
    if stopped_by == "diverged":
        rate = rules.learning_rate
        note = descent_diverged(tried, rate) if rate > 0 else flow_diverged(tried, step, time)
    ended = network_of(arrays.parameters, rules, network)
    return recorder.run(problem, ended, predictions, time, tried, stopped_by, error, note)


class Team(AbstractContextManager[None]):
    """The other threads of a network that is spread over several, from the first job to the last."""

    def __init__(self, arrays: Arrays, rules: Rules) -> None:
        self.arrays = arrays
        self.threads = [Thread(target=ENTRIES.assist, args=(arrays, rules, k)) for k in range(1, rules.threads)]

    def __enter__(self) -> None:
        for thread in self.threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        if self.threads:
            ENTRIES.dismiss(self.arrays)
        for thread in self.threads:
            thread.join()


def arrays_of(problem: Problem) -> Arrays:
    """Return the arrays of a problem, which share no memory with it."""
    network = problem.network
    directions = problem.directions() if "directions" in problem.frozen else network.weights  # not looked at
    given = (network.weights, network.biases, network.outputs, problem.x, problem.y, directions)
    moving = tuple(float(part not in problem.frozen) for part in ("weights", "biases", "outputs"))
    return ENTRIES.prepared(*(_numbers(tensor) for tensor in given), moving, _lanes(network))


def _numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _lanes(network: OneHiddenLayer) -> int:
    return REGISTER_BYTES // network.weights.element_size()


def network_of(parameters: np.ndarray, rules: Rules, like: OneHiddenLayer) -> OneHiddenLayer:
    """Return the network of some parameters, as tensors of its own."""
    parts = ENTRIES.rows(parameters, rules.width, rules.dim, rules.lanes)
    weights, biases, outputs = (torch.from_numpy(part) for part in parts)
    return OneHiddenLayer(weights, biases, outputs, like.activation)


def rules_of(
    problem: Problem, stop: Stop, threads: int, *, limits: Limits | None = None, descent: Descent | None = None
) -> Rules:
    """Return a training's rules as numbers."""
    network, loss, activation = problem.network, problem.loss, problem.network.activation
    n = problem.x.shape[0]  # len() of a tensor is slow
    outputs_of, gradients_of = ENTRIES.passes(activation.kind, 8 * network.weights.element_size(), network.dim)
    sharpness = float(activation.sharpness) if activation.kind == "softplus" else 1.0
    return Rules(
        n=n,
        width=network.width,
        dim=network.dim,
        lanes=_lanes(network),
        threads=threads if n * network.width >= PAIRS_FOR_A_TEAM else 1,
        outputs_of=outputs_of.address,
        gradients_of=gradients_of.address,
        sharpness=sharpness,
        value_factor=activation.scale / sharpness,
        slope_factor=float(activation.scale),
        loss=losses.KINDS.index(loss.kind),
        loss_sharpness=float(loss.sharpness),
        alpha=problem.alpha,
        has_margins=problem.has_margins,
        along_directions="directions" in problem.frozen,
        margin=float(stop.margin),
        fraction=float(stop.fraction),
        max_time=float(stop.max_time),
        max_steps=stop.max_steps,
        least_loss=float(stop.loss),
        max_output_change=float(limits.output) if limits else 0.0,
        max_gradient_change=float(limits.gradient) if limits else 0.0,
        learning_rate=float(descent.learning_rate) if descent else 0.0,
        momentum=float(descent.momentum) if descent else 0.0,
    )
