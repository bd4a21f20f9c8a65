"""Training of an ensemble on one graphics processor: steps without a wait for it, and looks from time to time.

A network that ends, or of which something is to be recorded, waits until the host looks; the others go on. So what a
network learns does not depend on when the host looks.

Memory: about eight times the parameters and the points, all networks as large as the largest.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from learnscope.dynamics.shallow.batches import Descent
from learnscope.dynamics.shallow.problem import Problem
from learnscope.dynamics.shallow.recorder import Recorder, descent_diverged, flow_diverged
from learnscope.dynamics.shallow.run import Run, Stop, StoppedBy
from learnscope.dynamics.shallow.triton import control
from learnscope.dynamics.shallow.triton.layout import Layout
from learnscope.dynamics.step_control import CROSSED, REFUSED, Limits

LONGEST_ABSENCE = 32  # steps between two looks


def follow(problems: Sequence[Problem], stop: Stop, limits: Limits, per_decade: int) -> list[Run]:
    """Return what :func:`learnscope.dynamics.shallow.loops.follow` returns for each network, up to rounding."""
    return _train(_Flow(Layout(problems), stop, limits), per_decade)


def descend(problems: Sequence[Problem], descents: Sequence[Descent], stop: Stop, per_decade: int) -> list[Run]:
    """Return what :func:`learnscope.dynamics.shallow.loops.descend` returns on all points at once, up to rounding.

    The descents may differ in their learning rate only.
    """
    return _train(_Steps(Layout(problems), stop, descents), per_decade)


class _Training(ABC):
    """Networks on their way: what is known of each is a tensor on the device, with the networks first."""

    def __init__(self, layout: Layout, stop: Stop) -> None:
        self.layout, self.stop = layout, stop
        everyone = torch.ones_like(layout.sizes, dtype=torch.bool)
        self.parameters = layout.start()
        self.first = self.outputs = layout.outputs(self.parameters, everyone)
        self.predictions = torch.zeros_like(self.first)
        self.velocity = layout.velocity(self.parameters, self.predictions, everyone)
        self.time, self.error = torch.zeros_like(layout.alpha), torch.zeros_like(layout.alpha)
        self.step = torch.ones_like(layout.alpha)
        self.tried = torch.zeros_like(layout.sizes)
        self.due, self.seen = torch.full_like(layout.alpha, math.inf), ~everyone

    def look(self) -> None:
        """Note which networks have ended, and which are to be recorded."""
        self.reason = self.ended()
        fitted = control.fitted(self.layout, self.predictions, self.stop) > 0
        self.to_keep = (self.time >= self.due) & (self.reason != control.DIVERGED)
        self.to_see = fitted & ~self.seen & (self.reason != control.DIVERGED)

    def running(self) -> Tensor:
        """Return the networks that take a step now."""
        return (self.reason == control.RUNNING) & ~self.to_keep & ~self.to_see

    def predicted(self, outputs: Tensor) -> Tensor:
        """Return F = α (f − f₀)."""
        return self.layout.alpha.to(outputs.dtype)[:, None] * (outputs - self.first)

    @abstractmethod
    def ended(self) -> Tensor:
        """Return why the networks have ended, RUNNING if not."""

    @abstractmethod
    def advance(self) -> None:
        """Take, or try, a step of each network that is running."""

    @abstractmethod
    def note(self, k: int, tried: int, step: float, time: float) -> str:
        """Return what to say of a network that diverged."""


class _Flow(_Training):
    """Euler's method under :mod:`learnscope.dynamics.step_control`."""

    def __init__(self, layout: Layout, stop: Stop, limits: Limits) -> None:
        super().__init__(layout, stop)
        self.limits = limits
        self.look()

    def ended(self) -> Tensor:
        reason = control.ended(self.layout, self.predictions, self.stop, self.time, self.tried, _squares(self.velocity))
        hopeless = (reason == control.RUNNING) & control.too_short(self.step, self.time)
        return torch.where(hopeless, control.TOO_SHORT, reason)

    def advance(self) -> None:
        running, layout = self.running(), self.layout
        length = torch.minimum(self.step, self.stop.max_time - self.time)
        parameters = self.parameters + length.to(layout.dtype)[:, None, None] * self.velocity
        outputs = layout.outputs(parameters, running)
        moved = torch.where(layout.valid, (outputs - self.outputs).abs(), 0.0).amax(1) * layout.alpha
        allowed = moved < self.limits.output
        predictions = self.predicted(outputs)
        velocity = layout.velocity(parameters, predictions, running & allowed)
        norms = (_squares(v) for v in (velocity - self.velocity, self.velocity, velocity, self.parameters))
        changed = control.changes(moved, length, *norms)
        made = control.Changes(moved, *(torch.where(allowed, part, 0.0) for part in changed[1:]))
        verdict = control.judge(made, self.limits)
        taken = running & (verdict != REFUSED)
        ahead = torch.where(length == self.step, self.time + length, self.stop.max_time)
        self.time = torch.where(taken, ahead, self.time)
        self.error = self.error + torch.where(taken & (verdict == CROSSED), made.error, 0.0)
        self.parameters = torch.where(taken[:, None, None], parameters, self.parameters)
        self.velocity = torch.where(taken[:, None, None], velocity, self.velocity)
        self.outputs = torch.where(taken[:, None], outputs, self.outputs)
        self.predictions = torch.where(taken[:, None], predictions, self.predictions)
        self.step = torch.where(running, length * control.next_factor(made, self.limits), self.step)
        self.tried = self.tried + running
        self.look()

    def note(self, k: int, tried: int, step: float, time: float) -> str:
        return flow_diverged(tried, step, time)


class _Steps(_Training):
    """Steps of one length with the heavy ball."""

    def __init__(self, layout: Layout, stop: Stop, descents: Sequence[Descent]) -> None:
        super().__init__(layout, stop)
        self.momentum, self.rates = descents[0].momentum, [descent.learning_rate for descent in descents]
        self.rate = torch.tensor(self.rates, dtype=torch.float64, device=layout.device)
        self.impulse = torch.zeros_like(self.velocity)
        self.look()

    def ended(self) -> Tensor:
        return control.ended(self.layout, self.predictions, self.stop, self.time, self.tried, None)

    def advance(self) -> None:
        running, layout = self.running(), self.layout
        velocity = layout.velocity(self.parameters, self.predictions, running)
        impulse = self.momentum * self.impulse + velocity
        parameters = self.parameters + self.rate.to(layout.dtype)[:, None, None] * impulse
        self.impulse = torch.where(running[:, None, None], impulse, self.impulse)
        self.parameters = torch.where(running[:, None, None], parameters, self.parameters)
        self.tried = self.tried + running
        self.time = self.rate * self.tried
        self.predictions = self.predicted(layout.outputs(self.parameters, running))
        self.look()

    def note(self, k: int, tried: int, step: float, time: float) -> str:
        return descent_diverged(tried, self.rates[k])


def _train(training: _Training, per_decade: int) -> list[Run]:
    """Advance until all networks have ended; what is recorded is copied when the host looks."""
    layout, problems = training.layout, training.layout.problems
    recorders = [Recorder(layout.network(training.parameters, k), per_decade) for k in range(len(problems))]
    training.due = training.due.new_tensor([recorder.due for recorder in recorders])
    runs: dict[int, Run] = {}
    steps = 1
    while True:
        watched = training.time, training.step, training.error, training.tried, training.reason
        facts = torch.stack([fact.double() for fact in (*watched, training.to_keep, training.to_see)]).T.tolist()
        for k, (time, step, error, tried, reason, to_keep, to_see) in enumerate(facts):
            if k in runs:
                continue
            if to_keep:
                recorders[k].keep(time, layout.network(training.parameters, k))
            if to_see:
                recorders[k].first_margin = layout.network(training.parameters, k)
            if reason != control.RUNNING:
                stopped_by = cast(StoppedBy, control.NAMES[int(reason)])
                note = training.note(k, int(tried), step, time) if stopped_by == "diverged" else ""
                network = layout.network(training.parameters, k)
                predictions = training.predictions[k, : len(problems[k].x)].clone()
                runs[k] = recorders[k].run(problems[k], network, predictions, time, int(tried), stopped_by, error, note)
        if len(runs) == len(problems):
            return [runs[k] for k in range(len(problems))]
        waited = any(to_keep or to_see for *_, to_keep, to_see in facts)
        training.due = training.due.new_tensor([recorder.due for recorder in recorders])
        training.seen = training.seen | training.to_see
        training.look()
        steps = 1 if waited else min(2 * steps, LONGEST_ABSENCE)
        for _ in range(steps):
            training.advance()


def _squares(tensor: Tensor) -> Tensor:
    return tensor.square().sum((1, 2), dtype=torch.float64)
