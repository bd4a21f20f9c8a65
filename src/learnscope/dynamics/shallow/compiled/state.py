"""What a training works on, and its outputs and velocity, by one thread or by a few."""

# ruff: noqa: ANN001, ANN201 (Numba infers the types of what it compiles)
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from learnscope.dynamics.shallow.compiled import layout, tiles
from learnscope.dynamics.shallow.compiled.addresses import call
from learnscope.dynamics.shallow.compiled.lanes import ROWS
from learnscope.dynamics.shallow.compiled.passes import allocating, compiled, inlined
from learnscope.dynamics.shallow.compiled.team import PLACES, announce, await_others, job_after, report, share

# What a team is asked for; for each literal number Numba would compile everything anew.
OUTPUTS, VELOCITY, TRIAL_OUTPUTS, TRIAL_VELOCITY, QUIT = np.arange(5)


class Arrays(NamedTuple):
    """What a training works on, padded with zeros; "trial" is where a step leads to before it is taken.

    The mask, as parameters, is 1 for what moves and 0 for what is frozen or missing.
    """

    examples: np.ndarray
    labels: np.ndarray
    mask: np.ndarray
    directions: np.ndarray
    parameters: np.ndarray
    velocity: np.ndarray
    trial: np.ndarray
    trial_velocity: np.ndarray
    first: np.ndarray
    outputs: np.ndarray
    trial_outputs: np.ndarray
    predictions: np.ndarray
    pulls: np.ndarray
    team: np.ndarray


class Rules(NamedTuple):
    """What a training is: sizes, functions and rules, as numbers; both passes for the activation by their addresses."""

    n: int
    width: int
    dim: int
    lanes: int
    threads: int
    outputs_of: int
    gradients_of: int
    sharpness: float
    value_factor: float
    slope_factor: float
    loss: int
    loss_sharpness: float
    alpha: float
    has_margins: bool
    along_directions: bool
    margin: float
    fraction: float
    max_time: float
    max_steps: int
    least_loss: float
    max_output_change: float
    max_gradient_change: float
    learning_rate: float
    momentum: float


@allocating
def prepared(weights, biases, outputs, x, y, directions, moving, lanes):
    """Return the arrays of a network, its examples and labels, ω/|ω|, and whether ω, b and β move, as 0 or 1."""
    width, dim = weights.shape
    parameters, labels = layout.panels(weights, biases, outputs, lanes), layout.padded(y)
    none = np.zeros(width, weights.dtype)
    return Arrays(
        layout.tiles(x),
        labels,
        layout.panels(
            np.full((width, dim), moving[0], weights.dtype),
            np.full(width, moving[1], weights.dtype),
            np.full(width, moving[2], weights.dtype),
            lanes,
        ),
        layout.panels(directions, none, none, lanes),
        parameters,
        np.zeros_like(parameters),
        np.zeros_like(parameters),
        np.zeros_like(parameters),
        np.zeros_like(labels),
        np.zeros_like(labels),
        np.zeros_like(labels),
        np.zeros_like(labels),
        np.zeros_like(labels),
        np.zeros(PLACES, np.int64),
    )


@inlined
def set_outputs(parameters, outputs, a, r, rank):
    """Set f at this thread's share of the examples."""
    sharpness = parameters.dtype.type(r.sharpness)
    first, last = share(len(outputs) // ROWS, rank, r.threads)
    call(r.outputs_of, (parameters, a.examples, outputs, sharpness, r.dim, first, last))
    factor = parameters.dtype.type(r.value_factor / r.width)
    for k in range(first * ROWS, last * ROWS):
        outputs[k] *= factor


@inlined
def set_velocity(parameters, velocity, a, r, rank):
    """Set −h ∂L/∂θ from the pulls, zero for what is frozen, for this thread's share of the neurons."""
    sharpness, size = parameters.dtype.type(r.sharpness), (r.dim + 2) * r.lanes
    first, last = share(len(velocity) // size, rank, r.threads)
    call(r.gradients_of, (parameters, a.examples, a.pulls, velocity, sharpness, r.dim, first, last))
    value, slope = parameters.dtype.type(-r.value_factor / r.n), parameters.dtype.type(-r.slope_factor / r.n)
    for panel in range(first * size, last * size, size):
        outputs = panel + size - r.lanes
        for row in range(panel, outputs, r.lanes):
            tiles.scale_row(velocity, row, slope, a.mask, row)
        tiles.scale_row(velocity, outputs, value, a.mask, outputs)
        if r.along_directions:
            project(velocity, a.directions, panel, r.dim, r.lanes)


@compiled
def project(velocity, directions, panel, dim, lanes):
    """Keep the part of the velocity of each ω of a panel along its direction at the start."""
    for lane in range(panel, panel + lanes):
        along = velocity.dtype.type(0)
        for i in range(dim):
            along += velocity[lane + i * lanes] * directions[lane + i * lanes]
        for i in range(dim):
            velocity[lane + i * lanes] = along * directions[lane + i * lanes]


@inlined
def do_share(job, a, r, rank):
    """Do this thread's share of a job."""
    if job == OUTPUTS:
        set_outputs(a.parameters, a.outputs, a, r, rank)
    elif job == VELOCITY:
        set_velocity(a.parameters, a.velocity, a, r, rank)
    elif job == TRIAL_OUTPUTS:
        set_outputs(a.trial, a.trial_outputs, a, r, rank)
    else:
        set_velocity(a.trial, a.trial_velocity, a, r, rank)


@inlined
def together(job, a, r):
    """Do a job with all threads, each its share, and return when all are done.

    Each output and each velocity is summed by one thread in one order, so that no bit hangs on the number of threads.
    """
    if r.threads == 1:
        do_share(job, a, r, 0)
        return
    announce(a.team, job)
    do_share(job, a, r, 0)
    await_others(a.team, r.threads - 1)


@compiled
def assist(a, r, rank):
    """Do this thread's share of one job after another, until one says to quit."""
    count = 0
    while True:
        job = job_after(a.team, count)
        if job == QUIT:
            return
        do_share(job, a, r, rank)
        report(a.team)
        count += 1
