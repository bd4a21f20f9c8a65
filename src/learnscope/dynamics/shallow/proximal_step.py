"""One step of the flow of a hinge loss, implicit in the loss and explicit in the network.

Under the hinge loss an example pulls with s = 1 while its margin m = y F is below 1, and with s = 0 above. The flow
soon brings examples to m = 1 exactly, where they stay, pulling with some s in between. A step of length τ goes along

    v(s) = (h / p) Σ_μ s_μ y_μ ∇f(x_μ; θ)

with the pulls s that fit the margins at its end, in the network linearised at its start:

    m⁺ = m + τ (α / p) [y y'Θ] s,     s_μ = 1 where m⁺_μ < 1,   0 where m⁺_μ > 1,   in [0, 1] where m⁺_μ = 1.

These are the conditions for the least value of s·Q s / 2 + (m − 1)·s over 0 ≤ s ≤ 1 with Q = τ (α / p) [y y'Θ]: the
proximal step of the linearised network. Only examples whose pulls may change in the step enter as unknowns.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from learnscope.dynamics.box_quadratic import box_minimum
from learnscope.dynamics.shallow.linear_response import response
from learnscope.dynamics.shallow.loops import Engine

EXACT = 1e-8  # of the margins that pulls are found for
RIDGE = 1e-7  # times |s − s'|², which makes pulls unique where Θ is nearly singular: those closest to the ones before
LEAST = 1e-3  # to its margin, which an example may lack in the end
BEND = 0.5  # of R, for τ |v' − v|
EDGE = 1e-12  # from which on a pull is inside of [0, 1]
MOST = 2000  # examples whose pulls may turn unknown in a step
# The part of a step that would just be taken, the least and the most that steps change by, and notches to a doubling.
EVEN, CUT, GROWN, NOTCHES = 0.8, 0.2, 1.5, 8


class Limits(NamedTuple):
    """C, by which margins may come out otherwise than predicted, and R, by which parameters may move.

    C is at most half of what the farthest example lacks to its margin.

    In a step of length τ by which the velocity of the same pulls changes from v to v', τ |v' − v| may be R / 2.
    """

    deviation: float
    motion: float


class State(NamedTuple):
    """Where a flow is: parameters as the engine has them, predictions F [p], pulls s [p], and the velocity of these."""

    parameters: Tensor
    predictions: Tensor
    pulls: Tensor
    velocity: Tensor


class Step(NamedTuple):
    """Where a step leads to, and what it does in units of the limits; it is taken if both are below 1.

    The deviation is that of the margins or of the velocity, whichever is larger.
    """

    end: State
    deviation: float
    motion: float

    @property
    def taken(self) -> bool:
        """Whether it is within both limits."""
        return self.deviation < 1 and self.motion < 1

    @property
    def factor(self) -> float:
        """How much longer the next step may be: deviations go as the square of the length, motions in proportion.

        Rounded to an eighth power of two, so that what rounding does to small differences does not reach the times.
        """
        if not math.isfinite(self.deviation + self.motion):
            return CUT
        used = max(math.sqrt(self.deviation), self.motion)
        wanted = min(max(EVEN / used, CUT), GROWN) if used > 0 else GROWN
        return 2.0 ** (round(NOTCHES * math.log2(wanted)) / NOTCHES)


class Stepper:
    """Steps of one network.

    Args:
        engine: of a problem with the hinge loss and labels −1 and +1.
        limits: what a step may do.
    """

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self.engine, self.limits, self.problem = engine, limits, engine.problem
        self._directions = self.problem.directions()
        start = engine.start()
        self._first = engine.outputs(start)
        pulls = torch.ones_like(self._first)
        self.start = State(start, torch.zeros_like(pulls), pulls, self._velocity(start, pulls))

    def speed(self, state: State) -> float:
        """Return |dθ/dt| relative to θ, in units of R."""
        return self._motion(state, state.velocity)

    def step(self, state: State, length: float) -> Step:
        """Return the step of a length from a state, its deviation infinite where no pulls were found.

        Cost: two passes over examples and neurons for the outputs and two for the velocity, and for n unknown pulls
        2 n² h multiply-adds and the solution of a quadratic program.
        """
        inside = (state.pulls > EDGE) & (state.pulls < 1 - EDGE)
        pulls, velocity, deviation = state.pulls, state.velocity, 0.0
        limit = self._most_deviation(state)
        parameters, predictions = self._moved(state, velocity, length)
        unknown = inside | self._misfit(pulls, predictions)
        turning = unknown & ~inside & ~self._misfit(pulls, state.predictions)
        if int(turning.sum()) > MOST or not bool(torch.isfinite(predictions).all()):
            return Step(state, math.inf, math.inf)
        more = unknown
        while bool(more.any()):
            rows = unknown.nonzero()[:, 0]
            found = self._fitting(state, rows, length)
            if found is None:
                return Step(state, math.inf, math.inf)
            pulls, expected = found
            velocity = self._velocity(state.parameters, pulls)
            parameters, predictions = self._moved(state, velocity, length)
            margins = self.problem.y * predictions
            deviation = float((margins[rows].double() - expected).abs().max()) / limit
            more = self._misfit(pulls, predictions) & ~unknown & ((margins - 1).abs() > limit)
            unknown |= more
        end = State(parameters, predictions, pulls, self._velocity(parameters, pulls))
        bend = self._motion(state, end.velocity - velocity) / BEND
        if not (math.isfinite(bend) and bool(torch.isfinite(predictions).all())):
            return Step(state, math.inf, math.inf)
        return Step(end, max(deviation, length * bend), length * self._motion(state, velocity))

    def _fitting(self, state: State, rows: Tensor, length: float) -> tuple[Tensor, Tensor] | None:
        """Return pulls that fit the margins at the end, all but those of some rows as they are, and these margins.

        None if they were not found.
        """
        network, velocity = self.engine.network(state.parameters), self.engine.network(state.velocity)
        answer = response(network, velocity, self.problem.x[rows], self.problem.frozen, self._directions)
        y, before = self.problem.y[rows].double(), state.pulls[rows].double()
        rate = length * self.problem.alpha
        quadratic = rate / len(self.problem.y) * (y[:, None] * answer.kernel * y)
        margins = y * (state.predictions[rows].double() + rate * answer.change)
        linear = margins - quadratic @ before - 1
        ridge = RIDGE * quadratic.diagonal().max()
        ridged = quadratic + ridge * torch.eye(len(y)).to(quadratic), linear - ridge * before
        found = box_minimum(*(each.cpu().numpy() for each in (*ridged, before)), tolerance=EXACT)
        if not found.converged:
            return None
        place = torch.from_numpy(found.place).to(quadratic)
        return state.pulls.index_copy(0, rows, place.to(state.pulls)), quadratic @ place + linear + 1

    def _most_deviation(self, state: State) -> float:
        """Return C, or half of what the farthest example lacks to its margin where that is less.

        Near the end steps are as long as may be, and put every margin to 1 in the linearised network: without the
        second limit they would put others off by as much as they came to mend, and go on for ever.
        """
        lacking = float((1 - self.problem.y * state.predictions).max())
        return min(self.limits.deviation, max(lacking, LEAST) / 2)

    def _misfit(self, pulls: Tensor, predictions: Tensor) -> Tensor:
        """Return whether an example [p] that pulls fully is beyond its margin, or one that does not is below it."""
        margins = self.problem.y * predictions
        return ((pulls >= 1 - EDGE) & (margins > 1)) | ((pulls <= EDGE) & (margins < 1))

    def _velocity(self, parameters: Tensor, pulls: Tensor) -> Tensor:
        return self.engine.velocity(parameters, -self.problem.y * pulls)

    def _moved(self, state: State, velocity: Tensor, length: float) -> tuple[Tensor, Tensor]:
        """Return the parameters and the predictions that a velocity leads to."""
        parameters = state.parameters + length * velocity
        return parameters, self.problem.alpha * (self.engine.outputs(parameters) - self._first)

    def _motion(self, state: State, velocity: Tensor) -> float:
        """Return the largest speed of ω, b and β, in units of R and of their size, or of all parameters' if larger.

        Sizes are roots of mean squares.
        """
        here, there = self.engine.network(state.parameters), self.engine.network(velocity)
        sizes = [float(part.square().mean()) for part in (here.weights, here.biases, here.outputs)]
        speeds = [float(part.square().mean()) for part in (there.weights, there.biases, there.outputs)]
        whole = (here.dim * sizes[0] + sizes[1] + sizes[2]) / (here.dim + 2)
        if whole == 0:
            return 0.0
        return (
            math.sqrt(max(speed / max(size, whole) for speed, size in zip(speeds, sizes, strict=True)))
            / self.limits.motion
        )
