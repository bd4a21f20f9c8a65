"""What ends a training, and what is left of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from learnscope.errors import InputError
from learnscope.networks.one_hidden_layer import OneHiddenLayer

StoppedBy = Literal["margin", "fraction", "time", "steps", "loss", "stationary", "diverged"]
GOALS = ("margin", "fraction", "time", "loss")


@dataclass(frozen=True, slots=True)
class Stop:
    """When a training ends: at whichever comes first.

    A point is fitted when its margin y F exceeds ``margin``. Other labels than −1 and +1 have no margin, and only the
    other rules apply to them.

    Attributes:
        margin: of a fitted point.
        fraction: the training ends when more than this share of the points is fitted, or all are.
        max_time: of the flow, or learning rate times steps.
        max_steps: steps tried, those that were refused included.
        loss: the training ends when the mean of ℓ over the points is at most this; 0 never ends it.
    """

    margin: float = 1.0
    fraction: float = 1.0
    max_time: float = math.inf
    max_steps: int = 1_000_000
    loss: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise InputError(f"fraction {self.fraction:g} of the points to fit: give a number from 0 to 1.")
        if not self.max_time > 0 or not self.max_steps > 0 or not self.loss >= 0:
            raise InputError(
                f"max_time {self.max_time:g}, max_steps {self.max_steps} and loss {self.loss:g} end a training before "
                "it begins; give a positive time and number of steps, and a loss of 0 or more."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """The training of one network.

    Attributes:
        initial: the network before.
        network: the network after, also where it stopped short of its goal.
        alpha: α in F(x) = α (f(x) − f₀(x)).
        outputs: [p] F at the points that were trained on.
        time: at the end.
        n_steps: steps tried, those that were refused included.
        stopped_by: the rule that ended it: "margin" (all points fitted), "fraction", "time", "steps", "loss",
            "stationary" (the gradient is zero though not all points are fitted) or "diverged".
        accumulated_error: Σ τ |v' − v| / |θ| over the steps that crossed a jump of the velocity by the rule of the
            floor (:mod:`learnscope.dynamics.step_control`), 0 where every step was within the limits.
        note: a sentence where something went wrong, such as the step and the learning rate of a divergence.
        times: [T] of the snapshots.
        snapshots: networks [T, ...], the first at the start and the last at the end.
        first_margin: the network when a point was first fitted, None if none was.
    """

    initial: OneHiddenLayer
    network: OneHiddenLayer
    alpha: float
    outputs: Tensor
    time: float
    n_steps: int
    stopped_by: StoppedBy
    accumulated_error: float
    note: str
    times: Tensor
    snapshots: OneHiddenLayer
    first_margin: OneHiddenLayer | None

    @property
    def converged(self) -> bool:
        """Whether it ended by reaching what it was asked for: not by steps, at rest unfitted, or diverging."""
        return self.stopped_by in GOALS

    def predict(self, x: Tensor) -> Tensor:
        """Return F(x) = α (f(x) − f₀(x)) of the network at the end, for examples x [n, d], [n]."""
        return self.alpha * (self.network(x) - self.initial(x))
