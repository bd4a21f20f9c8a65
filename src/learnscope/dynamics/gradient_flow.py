"""Adaptive integration of a flow dx/dt = F(x), each member of a batch with a step of its own.

Dormand and Prince's embedded pair of orders 5 and 4 (Dormand, Prince 1980), with Shampine's interpolant for
the times that are asked for (Hairer, Nørsett, Wanner 1993, sections II.4 to II.6).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor

from learnscope.errors import InputError

Field = Callable[[Tensor], Tensor]

STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
DEFECT = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)  # fifth minus fourth order
BULGE = (
    -12715105075 / 11282082432,
    0.0,
    87487479700 / 32700410799,
    -10690763975 / 1880347072,
    701980252875 / 199316789632,
    -1453857185 / 822651844,
    69997945 / 29380423,
)  # what the interpolant adds to the cubic through both ends
SAFETY, SLOWEST, FASTEST = 0.9, 0.2, 5.0  # of the next step relative to this one


class Tolerances(TypedDict, total=False):
    """The keywords of :func:`integrate` that functions built on it pass through."""

    relative_tolerance: float
    absolute_tolerance: float
    max_steps: int


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """A flow at the times that were asked for.

    Attributes:
        times: [T], or [T, ...] where each member of the batch has its own.
        states: [T, ..., *state]; NaN at times that were not reached.
        error: [T, ...] sum of the Euclidean norms of the estimated local errors up to each time. It bounds the
            distance to the exact solution, up to the quality of the estimates, where the flow brings
            neighbouring solutions together; where it drives them apart the error grows along with their distance.
        n_steps: [...] steps that were tried, each at a cost of six evaluations of the field.
        converged: [...] whether the last time was reached with every step within the tolerance.
    """

    times: Tensor
    states: Tensor
    error: Tensor
    n_steps: Tensor
    converged: Tensor


def integrate(
    field: Field,
    initial: Tensor,
    times: Tensor | Sequence[float],
    *,
    state_dims: int = 1,
    relative_tolerance: float = 1e-7,
    absolute_tolerance: float = 1e-10,
    max_steps: int = 100_000,
) -> Trajectory:
    """Integrate dx/dt = F(x) from time 0 and return x at the given times, with an estimate of the error.

    A step is accepted if its local error, the Euclidean norm of the difference of the two orders over all
    numbers of a state, is at most ``absolute_tolerance + relative_tolerance * ‖x‖``. The fifth order is carried on.
    A field that gives NaN or infinity makes the step smaller, so a solution that blows up ends there,
    not converged. Explicit: a stiff field needs about (largest decay rate) x (time) / 3 steps.

    Args:
        field: maps states [..., *state] to velocities of the same shape, each member by itself.
        initial: [..., *state] states at time 0, any floating dtype, which the computation keeps; not changed.
        times: [T] strictly increasing, from 0 on; or [T, ...] with times of its own for each member.
        state_dims: how many of the last dimensions make one state; those before them are the batch.
        relative_tolerance: of the local error of a step, relative to the norm of the state.
        absolute_tolerance: of the local error of a step, in the units of the state.
        max_steps: after so many tries a member is given up, not converged.

    Raises:
        InputError: times that do not increase or do not fit, or a tolerance that the dtype cannot meet.

    Cost: six evaluations of the field for a step, all members until the last is done; memory of about twelve
        states beyond the result.

    Source: Dormand, Prince 1980; step control as in Hairer, Nørsett, Wanner 1993, section II.4.

    Examples:
        >>> decay = integrate(lambda x: -x, torch.ones(1, dtype=torch.float64), [0.0, 1.0])
        >>> abs(float(decay.states[1, 0]) - 0.36787944117) < float(decay.error[1])
        True
    """
    moments = _checked_times(times, initial, state_dims)
    _check_tolerance(relative_tolerance, absolute_tolerance, initial.dtype)
    shape, dims = initial.shape[: initial.ndim - state_dims], state_dims
    scheduled = moments.reshape(len(moments), *(shape if moments.ndim > 1 else (1,) * len(shape))).expand(-1, *shape)
    x = initial.detach()
    velocity = field(x)
    time, error = torch.zeros_like(scheduled[0]), torch.zeros_like(scheduled[0])
    end, tried = scheduled[-1], torch.zeros(shape, dtype=torch.int64, device=x.device)
    alive = _finite(velocity, dims)
    step = _first_step(field, x, velocity, dims, relative_tolerance, absolute_tolerance)
    at_start = scheduled <= 0
    states = torch.where(_wide(at_start, dims), x, torch.nan)
    errors = torch.where(at_start, 0.0, torch.nan).to(time.dtype)
    while bool((active := alive & (time < end)).any()):
        length = torch.where(active, torch.minimum(step, end - time), 0.0)
        stages, new = _stages(field, x, velocity, length, dims)
        local = _norm(_combine(DEFECT, stages), dims) * length
        allowed = absolute_tolerance + relative_tolerance * torch.maximum(_norm(x, dims), _norm(new, dims))
        ratio = torch.where(_finite(new, dims) & _finite(stages[-1], dims), local / allowed, torch.inf)
        accepted = active & (ratio <= 1)
        after = torch.where(length == end - time, end, time + length)
        passed = accepted & (scheduled > time) & (scheduled <= after)
        error = torch.where(accepted, error + local, error)
        if bool(passed.any()):
            share = ((scheduled - time) / length)[passed]
            member = passed.nonzero(as_tuple=True)[1:]
            states[passed] = _between(x, new, stages, length, member, share, dims)
            errors[passed] = error.expand_as(errors)[passed]
        x = torch.where(_wide(accepted, dims), new, x)
        velocity = torch.where(_wide(accepted, dims), stages[-1], velocity)
        time = torch.where(accepted, after, time)
        growth = (SAFETY * ratio.clamp(min=1e-10) ** -0.2).clamp(SLOWEST, FASTEST)
        step = torch.where(active, length * torch.where(accepted, growth, growth.clamp(max=1.0)), step)
        tried = tried + active
        alive = alive & (tried < max_steps) & (step > 4 * torch.finfo(time.dtype).eps * time)
    return Trajectory(moments, states, errors, tried, time >= end)


def _stages(field: Field, x: Tensor, velocity: Tensor, length: Tensor, dims: int) -> tuple[list[Tensor], Tensor]:
    """Return the seven velocities of a step and its end; the last velocity is the one at the end."""
    wide = _wide(length, dims).to(x.dtype)
    stages, point = [velocity], x
    for weights in STAGES:
        point = x + wide * _combine(weights, stages)
        stages.append(field(point))
    return stages, point


def _between(
    x: Tensor, new: Tensor, stages: list[Tensor], length: Tensor, member: tuple[Tensor, ...], share: Tensor, dims: int
) -> Tensor:
    """Interpolate the steps of ``member`` at a share of their length: Hermite's cubic and a quartic bulge."""
    s, h = _wide(share, dims).to(x.dtype), _wide(length[member], dims).to(x.dtype)
    first, last = x[member], new[member]
    chord = last - first
    start, stop = h * stages[0][member] - chord, chord - h * stages[-1][member]
    bulge = h * _combine(BULGE, [stage[member] for stage in stages])
    return first + s * (chord + (1 - s) * (start + s * (stop - start + (1 - s) * bulge)))


def _first_step(field: Field, x: Tensor, velocity: Tensor, dims: int, relative: float, absolute: float) -> Tensor:
    """Guess a step from the size of the field and how it changes over a tiny step (Hairer et al. 1993, p. 169)."""
    allowed = absolute + relative * _norm(x, dims)
    speed = _norm(velocity, dims) / allowed
    tiny = torch.where(speed > 1e-5, 0.01 * _norm(x, dims) / allowed / speed, 1e-6).clamp(min=1e-12)
    bend = _norm(field(x + _wide(tiny, dims).to(x.dtype) * velocity) - velocity, dims) / allowed / tiny
    steepest = torch.maximum(speed, bend).nan_to_num(nan=torch.inf)
    guess = torch.where(steepest > 1e-15, (0.01 / steepest) ** 0.2, 1e3 * tiny)
    return torch.minimum(100 * tiny, guess).clamp(min=1e-12)


def _combine(weights: Sequence[float], stages: Sequence[Tensor]) -> Tensor:
    total = weights[0] * stages[0]
    for weight, stage in zip(weights[1:], stages[1:], strict=True):
        if weight:
            total = total + weight * stage
    return total


def _wide(per_member: Tensor, dims: int) -> Tensor:
    return per_member.reshape(per_member.shape + (1,) * dims)


def _norm(states: Tensor, dims: int) -> Tensor:
    return torch.linalg.vector_norm(states, dim=tuple(range(-dims, 0)), dtype=torch.float64)


def _finite(states: Tensor, dims: int) -> Tensor:
    return torch.isfinite(states).all(dim=tuple(range(-dims, 0)))


def _checked_times(times: Tensor | Sequence[float], initial: Tensor, state_dims: int) -> Tensor:
    moments = torch.as_tensor(times, dtype=torch.float64, device=initial.device)
    shape = initial.shape[: initial.ndim - state_dims]
    if not 1 <= state_dims <= initial.ndim:
        raise InputError(
            f"state_dims is {state_dims} but the initial state has {initial.ndim} dimensions; give 1 to that."
        )
    if moments.ndim == 0 or len(moments) == 0 or (moments.ndim > 1 and moments.shape[1:] != shape):
        raise InputError(f"times have shape {list(moments.shape)}; give [T], or [T, *batch] with batch {list(shape)}.")
    if not bool(torch.isfinite(moments).all()) or bool((moments < 0).any()) or bool((moments.diff(dim=0) <= 0).any()):
        raise InputError("times are not finite, non-negative and strictly increasing; sort them and drop duplicates.")
    return moments


def _check_tolerance(relative: float, absolute: float, dtype: torch.dtype) -> None:
    if not dtype.is_floating_point:
        raise InputError(f"the initial state is {dtype}; give a floating dtype, float64 for tight tolerances.")
    least = 10 * torch.finfo(dtype).eps
    if not relative >= least or not absolute > 0:
        raise InputError(
            f"tolerances {relative:g} (relative) and {absolute:g} (absolute) are out of reach for {dtype}; "
            f"give at least {least:.1g} and a positive number, or states in float64."
        )
