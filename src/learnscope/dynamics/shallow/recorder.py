"""What is kept of a training while it runs: snapshots at log-spaced times, and the first fitted point."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from learnscope.dynamics.shallow.problem import Problem
from learnscope.dynamics.shallow.run import Run, StoppedBy
from learnscope.networks.one_hidden_layer import OneHiddenLayer


def next_snapshot(time: float, per_decade: int) -> float:
    """Return the first of the times 10^(k / per_decade), k an integer, after this one; infinite for 0 per decade.

    Before the first step any later time will do, so after time 0 it is the least number above it.

    Examples:
        >>> next_snapshot(1.0, 1), next_snapshot(0.0, 4) > 0, next_snapshot(5.0, 0)
        (10.0, True, inf)
    """
    if per_decade == 0:
        return math.inf
    if time <= 0.0:
        return math.ulp(0.0)
    mark = math.floor(per_decade * math.log10(time)) + 1
    due = 10.0 ** (mark / per_decade)
    return due if due > time else 10.0 ** ((mark + 1) / per_decade)


def flow_diverged(tried: int, step: float, time: float) -> str:
    """Return the note of a flow that found no step it could take."""
    return (
        f"The step fell to {step:.1e} at time {time:g}, after {tried} steps, because the outputs beyond are not finite."
    )


def descent_diverged(done: int, learning_rate: float) -> str:
    """Return the note of a descent that lost itself."""
    return f"The outputs are not finite after step {done} with learning rate {learning_rate:g}; lower it."


class Recorder:
    """The snapshots of one training. The first is the start; the end is added by :meth:`run`."""

    def __init__(self, start: OneHiddenLayer, per_decade: int) -> None:
        self.per_decade = per_decade
        self.due = next_snapshot(0.0, per_decade)
        self.times, self.networks = [0.0], [start]
        self.first_margin: OneHiddenLayer | None = None

    def keep(self, time: float, network: OneHiddenLayer) -> None:
        """Keep a snapshot that is due."""
        self.times.append(time)
        self.networks.append(network)
        self.due = next_snapshot(time, self.per_decade)

    def run(
        self,
        problem: Problem,
        network: OneHiddenLayer,
        predictions: Tensor,
        time: float,
        n_steps: int,
        stopped_by: StoppedBy,
        accumulated_error: float = 0.0,
        note: str = "",
    ) -> Run:
        """Return what there is to say about the training once it has ended."""
        if time > self.times[-1]:
            self.keep(time, network)
        snapshots = OneHiddenLayer(
            weights=torch.stack([kept.weights for kept in self.networks]),
            biases=torch.stack([kept.biases for kept in self.networks]),
            outputs=torch.stack([kept.outputs for kept in self.networks]),
            activation=network.activation,
        )
        times = torch.tensor(self.times, dtype=torch.float64)
        return Run(
            initial=problem.network,
            network=network,
            alpha=problem.alpha,
            outputs=predictions,
            time=time,
            n_steps=n_steps,
            stopped_by=stopped_by,
            accumulated_error=accumulated_error,
            note=note,
            times=times,
            snapshots=snapshots,
            first_margin=self.first_margin,
        )
