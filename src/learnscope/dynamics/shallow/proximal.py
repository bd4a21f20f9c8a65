"""The gradient flow of a hinge loss by steps whose number hardly grows with that of the examples.

Euler's steps jump to and fro across the kink of the loss, where the flow itself brings most examples that matter, and
have to be the shorter the more examples there are. Steps that are implicit in the loss
(:mod:`learnscope.dynamics.shallow.proximal_step`) stay on it, and are as long as the motion of the network allows.

A step is taken if margins come out as predicted up to C, or to half of what the farthest example lacks to its margin
where that is less, so that the end is reached; and if no part of the parameters moves by more than R relative
to its size; the next length is made from both. Guarantees. (1) No stall: the deviation goes as the square of a short
step, and pulls that fit exist for every length. (2) Where no pull changes, a step is Euler's. (3) Errors of the path
are in proportion to R, and C bounds those that the kinks of the network add in a step. With the defaults, networks of
some hundred neurons end about as near to where the flow does as by Euler's steps with C = 0.5 and G = 0.01, or nearer,
in a sixth to a hundredth of these steps, and with the same test errors in the mean (``benchmarks/proximal_flow.py``).
The time at which the last margin is reached is known less well than the network: the last examples creep.

Sources: Moreau 1977 and Brezis 1973 for implicit steps in convex functions; their combination with a network that is
linearised anew in each step is ours.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import replace
from threading import Event

from torch import Tensor

from learnscope.dynamics.margin_losses import MarginLoss
from learnscope.dynamics.shallow.engines import engine_for, side_by_side, threads_for_each
from learnscope.dynamics.shallow.loops import Engine
from learnscope.dynamics.shallow.problem import Problem, problems
from learnscope.dynamics.shallow.proximal_step import EVEN, LEAST, Limits, Stepper
from learnscope.dynamics.shallow.recorder import Recorder, flow_diverged
from learnscope.dynamics.shallow.reference import Reference
from learnscope.dynamics.shallow.run import Run, Stop
from learnscope.dynamics.shallow.stopping import ended, fitted
from learnscope.dynamics.step_control import too_short
from learnscope.errors import InputError
from learnscope.networks.one_hidden_layer import OneHiddenLayer
from learnscope.threads import libraries

REACHED = LEAST  # below its margin from which on a point is fitted: the flow brings margins to 1 and no further
ALL_FITTED = Stop()


def proximal_flow(
    networks: Sequence[OneHiddenLayer],
    x: Tensor | Sequence[Tensor],
    y: Tensor | Sequence[Tensor],
    *,
    alpha: float | Sequence[float],
    frozen: Collection[str] = (),
    stop: Stop = ALL_FITTED,
    snapshots_per_decade: int = 0,
    max_deviation: float = 0.1,
    max_motion: float = 0.02,
    engine: str = "auto",
) -> list[Run]:
    """Follow the gradient flow of the hinge loss as :func:`learnscope.dynamics.shallow.flow` does, in far fewer steps.

    It pays from a few hundred examples on, and makes ten thousand affordable. A point counts as fitted from 10⁻³ below
    ``stop.margin`` on, since the flow keeps points at a margin of 1 and brings them no further.

    Args:
        networks: their widths may differ, their dims and activations not.
        x: [p, d] for all networks, or one such tensor for each.
        y: [p] labels −1 and +1, for all or for each.
        alpha: α for all networks, or one for each.
        frozen: what does not move, as in ``flow``.
        stop: when a network has finished.
        snapshots_per_decade: of time; 0 keeps the start and the end only.
        max_deviation: C, by which margins may come out otherwise than the linearised network predicts.
        max_motion: R, by which ω, b or β may move in a step, relative to their root mean square, or that of all
            parameters where it is larger.
        engine: "fused", "reference" or "auto", as in ``flow``; on a GPU it is the reference.

    Raises:
        InputError: what cannot be trained, told in a sentence.

    Cost: a step takes 12 d + 16 multiply-adds for each pair of an example and a neuron, and for n examples near their
        margin 2 n² h more and the solution of a quadratic program; memory as for ``flow``, and [n, n]. Seconds are
        printed by ``benchmarks/proximal_flow.py``.

    Source: see the module.

    Examples:
        >>> import torch
        >>> from learnscope.networks.one_hidden_layer import one_hidden_layer
        >>> network = one_hidden_layer(20, 1, torch.Generator().manual_seed(0))
        >>> x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
        >>> (run,) = proximal_flow([network], x, x[:, 0], alpha=1.0, engine="reference")
        >>> run.stopped_by, [round(float(margin), 2) for margin in run.outputs * x[:, 0]]
        ('margin', [1.0, 1.0])
    """
    limits = Limits(max_deviation, max_motion)
    if not min(limits) > 0:
        raise InputError(f"limits {limits.deviation:g} and {limits.motion:g} of a step: give positive numbers.")
    if engine == "triton":
        raise InputError("Triton has no steps implicit in the loss: choose engine='auto', which runs on GPUs as well.")
    made = problems(networks, x, y, alpha, MarginLoss("hinge"), frozen)
    chosen, threads = engine_for(made[0], engine), threads_for_each(len(made))

    def train(problem: Problem, halt: Event) -> Run:
        if chosen != "fused":
            return _follow(Reference(problem), stop, limits, snapshots_per_decade, halt)
        from learnscope.dynamics.shallow.compiled.fused import Fused  # Numba loads when it is first needed

        with Fused(problem, threads) as fused:
            return _follow(fused, stop, limits, snapshots_per_decade, halt)

    # Many small systems of equations are solved, for which the threads of BLAS wait longer than they compute.
    with libraries().limit(limits=1, user_api="blas") if made[0].x.device.type == "cpu" else nullcontext():
        return side_by_side(train, made)


def _follow(engine: Engine, stop: Stop, limits: Limits, per_decade: int, halt: Event) -> Run:
    """Follow the flow of one network."""
    stepper, problem = Stepper(engine, limits), engine.problem
    state, time, tried = stepper.start, 0.0, 0
    recorder = Recorder(engine.network(state.parameters), per_decade)
    reached, note = replace(stop, margin=stop.margin - REACHED), ""
    speed = stepper.speed(state)
    length = EVEN / speed if speed > 0 else 1.0
    while True:
        if halt.is_set():
            raise KeyboardInterrupt
        rule = ended(problem, state.predictions, reached, time, tried, speed)
        if time >= recorder.due:
            recorder.keep(time, engine.network(state.parameters))
        if recorder.first_margin is None and fitted(problem, state.predictions, reached) > 0:
            recorder.first_margin = engine.network(state.parameters)
        if rule is not None:
            break
        if too_short(length, time):
            rule, note = "diverged", flow_diverged(tried, length, time)
            break
        length = min(length, stop.max_time - time)
        step = stepper.step(state, length)
        tried += 1
        if step.taken:
            state, time, speed = step.end, time + length, step.motion
        length *= step.factor
    network = engine.network(state.parameters)
    return recorder.run(problem, network, state.predictions, time, tried, rule, note=note)
