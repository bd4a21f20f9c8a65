"""The loops of :mod:`learnscope.dynamics.shallow.loops`, compiled whole for one network."""

# ruff: noqa: ANN001, ANN201 (Numba infers the types of what it compiles)
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import register_jitable

from learnscope.dynamics import step_control
from learnscope.dynamics.shallow.compiled.layout import copy
from learnscope.dynamics.shallow.compiled.losses import loss, pull
from learnscope.dynamics.shallow.compiled.passes import compiled, inlined, njit
from learnscope.dynamics.shallow.compiled.state import (
    OUTPUTS,
    TRIAL_OUTPUTS,
    TRIAL_VELOCITY,
    VELOCITY,
    together,
)

RUNNING, RECORD, PAUSED, MARGIN, FRACTION, TIME, STEPS, LOSS, STATIONARY, DIVERGED = range(10)
NAMES = ("", "", "", "margin", "fraction", "time", "steps", "loss", "stationary", "diverged")
TIME_NOW, STEP, ERROR, DUE = range(4)  # in the clock
TRIED, FITTED, FIRST_FITTED, DRAWN, LOOKED, FOUND = range(6)  # in the counts, the last three for batches

summed: Callable[..., Any] = njit(nogil=True, error_model="numpy", _nrt=False, fastmath={"reassoc", "contract"})


for function in (
    step_control.change,
    step_control.judge,
    step_control.next_factor,
    step_control.too_short,
    step_control.of_floor,
):
    register_jitable(function)


@inlined
def set_pulls(outputs, a, r):
    """Set predictions F and pulls from the outputs."""
    alpha = outputs.dtype.type(r.alpha)
    for k in range(r.n):
        a.predictions[k] = alpha * (outputs[k] - a.first[k])
        a.pulls[k] = pull(r.loss, r.loss_sharpness, a.predictions[k], a.labels[k])


@summed
def squares(values):
    """Return the sum of squares in double precision."""
    total = 0.0
    for value in values:
        total += np.float64(value) * np.float64(value)
    return total


@summed
def squared_distance(these, those):
    """Return the sum of squared differences in double precision."""
    total = 0.0
    for k in range(len(these)):
        difference = np.float64(these[k] - those[k])
        total += difference * difference
    return total


@inlined
def largest_change(a, r):
    """Return the largest change of a prediction in the step on trial, NaN if there is one."""
    largest = 0.0
    for k in range(r.n):
        moved = abs(a.trial_outputs[k] - a.outputs[k])
        if not moved <= largest:
            largest = moved
    return r.alpha * largest


@inlined
def ended(a, r, clock, counts, squared_speed):
    """Return the rule that ends the training now, if one does, and count what is fitted."""
    fitted, total = 0, 0.0
    for k in range(r.n):
        if not math.isfinite(a.predictions[k]):
            return DIVERGED
        if r.has_margins and a.predictions[k] * a.labels[k] > r.margin:
            fitted += 1
        if r.least_loss > 0:
            total += loss(r.loss, r.loss_sharpness, a.predictions[k], a.labels[k])
    counts[FITTED] = fitted
    if fitted == r.n:
        return MARGIN
    if fitted > r.fraction * r.n:
        return FRACTION
    if r.least_loss > 0 and total / r.n <= r.least_loss:
        return LOSS
    if squared_speed == 0.0:
        return STATIONARY
    if clock[TIME_NOW] >= r.max_time:
        return TIME
    return STEPS if counts[TRIED] >= r.max_steps else RUNNING


@inlined
def to_record(clock, counts):
    """Whether a snapshot is due, or the first point is fitted and that has not been recorded."""
    return clock[TIME_NOW] >= clock[DUE] or (counts[FITTED] > 0 and counts[FIRST_FITTED] == 0)


@compiled
def follow(a, r, clock, counts, budget):
    """Follow the flow until it ends, until something is to be recorded, or for a number of tries; return which."""
    limits = step_control.Limits(r.max_output_change, r.max_gradient_change)
    speed, size = squares(a.velocity), squares(a.parameters)
    for _ in range(budget):
        reason = ended(a, r, clock, counts, speed)
        if reason != DIVERGED and to_record(clock, counts):
            return RECORD
        if reason != RUNNING:
            return reason
        if step_control.too_short(clock[STEP], clock[TIME_NOW]):
            return DIVERGED
        counts[TRIED] += 1
        length = min(clock[STEP], r.max_time - clock[TIME_NOW])
        step = a.parameters.dtype.type(length)
        for k in range(len(a.trial)):
            a.trial[k] = a.parameters[k] + step * a.velocity[k]
        together(TRIAL_OUTPUTS, a, r)
        made = step_control.Change(largest_change(a, r), 0.0, 0.0, 0.0)
        if made.output < limits.output:
            set_pulls(a.trial_outputs, a, r)
            together(TRIAL_VELOCITY, a, r)
            new_speed = squares(a.trial_velocity)
            difference = squared_distance(a.trial_velocity, a.velocity)
            made = step_control.change(made.output, length, difference, speed, new_speed, size)
            verdict = step_control.judge(made, limits)
            if verdict != step_control.REFUSED:
                clock[TIME_NOW] = clock[TIME_NOW] + length if length == clock[STEP] else r.max_time
                if verdict == step_control.CROSSED:
                    clock[ERROR] += made.error
                copy(a.trial, a.parameters)
                copy(a.trial_velocity, a.velocity)
                copy(a.trial_outputs, a.outputs)
                speed, size = new_speed, squares(a.parameters)
            else:
                set_pulls(a.outputs, a, r)
        clock[STEP] = length * step_control.next_factor(made, limits)
    return PAUSED


@inlined
def push(a, r, clock, counts):
    """Take a step of the heavy ball along the velocity; the trial holds what it moves by."""
    momentum, rate = a.parameters.dtype.type(r.momentum), a.parameters.dtype.type(r.learning_rate)
    for k in range(len(a.trial)):
        a.trial[k] = momentum * a.trial[k] + a.velocity[k]
        a.parameters[k] += rate * a.trial[k]
    counts[TRIED] += 1
    clock[TIME_NOW] = r.learning_rate * counts[TRIED]


@compiled
def descend(a, r, clock, counts, budget):
    """Take steps of one length until the training ends, until something is to be recorded, or a number of steps."""
    for _ in range(budget):
        reason = ended(a, r, clock, counts, 1.0)
        if reason != DIVERGED and to_record(clock, counts):
            return RECORD
        if reason != RUNNING:
            return reason
        together(VELOCITY, a, r)
        push(a, r, clock, counts)
        together(OUTPUTS, a, r)
        set_pulls(a.outputs, a, r)
    return PAUSED


@compiled
def begin(a, r):
    """Compute the outputs before training, and the predictions, pulls and velocity that follow."""
    together(OUTPUTS, a, r)
    copy(a.outputs, a.first)
    set_pulls(a.outputs, a, r)
    together(VELOCITY, a, r)
