"""Training of many one-hidden-layer networks at once, by gradient flow or by gradient descent."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from threading import Event

import torch
from torch import Tensor

from learnscope.dynamics.margin_losses import MarginLoss, margin_loss
from learnscope.dynamics.shallow import loops
from learnscope.dynamics.shallow.batches import Descent
from learnscope.dynamics.shallow.engines import engine_for, side_by_side, threads_for_each
from learnscope.dynamics.shallow.problem import Problem, problems
from learnscope.dynamics.shallow.reference import Reference
from learnscope.dynamics.shallow.run import Run, Stop
from learnscope.dynamics.step_control import Limits
from learnscope.errors import InputError
from learnscope.networks.one_hidden_layer import OneHiddenLayer

Task = tuple[Problem, Descent, torch.Generator | None]
ALL_FITTED, UNLIMITED = Stop(), Stop(margin=math.inf)


def flow(
    networks: Sequence[OneHiddenLayer],
    x: Tensor | Sequence[Tensor],
    y: Tensor | Sequence[Tensor],
    *,
    alpha: float | Sequence[float],
    loss: str | MarginLoss = "hinge",
    frozen: Collection[str] = (),
    stop: Stop = ALL_FITTED,
    snapshots_per_decade: int = 0,
    max_output_change: float = 0.1,
    max_gradient_change: float = 1e-4,
    engine: str = "auto",
) -> list[Run]:
    """Follow the gradient flow of each network until it fits its points.

    The predictor is F(x) = α (f(x) − f₀(x)) and the loss L = (1/p) Σ_μ ℓ(F(x_μ), y_μ) / α. Time is rescaled by the
    width: dθ/dt = −h ∂L/∂θ. Small α is the regime of features, large α the lazy one. Steps are those of Euler, under
    the rule and with the guarantees of :mod:`learnscope.dynamics.step_control`.

    Args:
        networks: their widths may differ, their dims and activations not.
        x: [p, d] for all networks, or one such tensor for each; p may differ.
        y: [p] labels −1 and +1, for all or for each; the squared loss takes any numbers.
        alpha: α for all networks, or one for each.
        loss: by name or as it is (:class:`learnscope.dynamics.margin_losses.MarginLoss`).
        frozen: what does not move: "weights", "biases", "outputs", or "directions" for ω/|ω| (|ω| moves).
        stop: when a network has finished; it leaves the ensemble then.
        snapshots_per_decade: of time; 0 keeps the start and the end only.
        max_output_change: by which no prediction F(x_μ) may change in a step.
        max_gradient_change: limit of |v' − v|² / (|v'| |v|) in a step.
        engine: "fused" compiles kernels for the CPU (:mod:`learnscope.dynamics.shallow.compiled`), "triton" for a GPU
            (:mod:`learnscope.dynamics.shallow.triton`), "reference" is PyTorch on any device, and "auto" takes the
            kernels of the device where they can run. They agree up to rounding.

    Raises:
        InputError: what cannot be trained, told in a sentence.

    Cost: fused, 3 d + 4 multiply-adds and twice the activation for each pair of an example and a neuron in a step;
        networks are spread over as many cores as torch may use, or large networks each over several where there are
        fewer of them, to the same bits; memory of four times the parameters and of the points.

    Source: Paccolat, Petrini, Geiger, Tyloo, Wyart 2021; Chizat, Oyallon, Bach 2019 for α.

    Examples:
        >>> from learnscope.networks.one_hidden_layer import one_hidden_layer
        >>> network = one_hidden_layer(20, 1, torch.Generator().manual_seed(0))
        >>> x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
        >>> (run,) = flow([network], x, x[:, 0], alpha=1.0, engine="reference")
        >>> run.stopped_by, bool((run.outputs * x[:, 0] > 1).all())
        ('margin', True)
    """
    limits = Limits(max_output_change, max_gradient_change)
    if not min(limits) > 0:
        raise InputError(f"limits {limits.output:g} and {limits.gradient:g} of a step: give positive numbers.")
    made = problems(networks, x, y, alpha, margin_loss(loss), frozen)
    chosen, threads = engine_for(made[0], engine), threads_for_each(len(made))

    def follow(problem: Problem, halt: Event) -> Run:
        if chosen == "reference":
            return loops.follow(Reference(problem), stop, limits, snapshots_per_decade)
        from learnscope.dynamics.shallow.compiled import engine as fused  # Numba loads when it is first needed

        return fused.follow(problem, stop, limits, snapshots_per_decade, halt, threads)

    if chosen == "triton":
        from learnscope.dynamics.shallow.triton import engine as together

        return together.follow(made, stop, limits, snapshots_per_decade)
    return side_by_side(follow, made)


def descend(
    networks: Sequence[OneHiddenLayer],
    x: Tensor | Sequence[Tensor],
    y: Tensor | Sequence[Tensor],
    *,
    alpha: float | Sequence[float],
    learning_rate: float | Sequence[float],
    n_steps: int,
    loss: str | MarginLoss = "hinge",
    batch_size: int | None = None,
    replacement: bool = False,
    momentum: float = 0.0,
    generators: Sequence[torch.Generator] | None = None,
    frozen: Collection[str] = (),
    stop: Stop = UNLIMITED,
    snapshots_per_decade: int = 0,
    engine: str = "auto",
) -> list[Run]:
    """Train each network by steps of one length: u ← m u + v and θ ← θ + η u, with v = −h ∂L/∂θ as in :func:`flow`.

    A step is one of Euler's for the flow, of length η, and time is η times the number of steps. A network that
    diverges is left at the first step with a NaN or an infinity, and its run says so in ``note``.

    Args:
        networks: as in :func:`flow`, and so are x, y, alpha, loss, frozen, snapshots_per_decade and engine.
        x: [p, d], for all or for each.
        y: [p], for all or for each.
        alpha: for all or for each.
        learning_rate: η, for all or for each.
        n_steps: at most.
        loss: by name or as it is.
        batch_size: points in a step of stochastic gradient descent, None for all points.
        replacement: whether batches are drawn independently, or are pieces of successive permutations.
        momentum: m of the heavy ball.
        generators: one for each network, which draws its batches; not needed without batches.
        frozen: what does not move.
        stop: ends a training before ``n_steps``; with batches it is looked at once an epoch. By default nothing does.
        snapshots_per_decade: of time.
        engine: by name; Triton's kernels take all points at once, and batches are left to the reference on a GPU.

    Raises:
        InputError: what cannot be trained, told in a sentence.

    Examples:
        >>> from learnscope.networks.one_hidden_layer import one_hidden_layer
        >>> network = one_hidden_layer(20, 1, torch.Generator().manual_seed(0))
        >>> x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
        >>> (run,) = descend([network], x, x[:, 0], alpha=1.0, learning_rate=0.1, n_steps=7, engine="reference")
        >>> run.n_steps, run.stopped_by, round(run.time, 9)
        (7, 'steps', 0.7)
    """
    if n_steps < 1:
        raise InputError(f"n_steps is {n_steps}; give at least 1.")
    made = problems(networks, x, y, alpha, margin_loss(loss), frozen)
    tasks = _descents(made, learning_rate, generators, momentum, batch_size, replacement)
    stop = replace(stop, max_steps=min(n_steps, stop.max_steps))
    chosen, threads = engine_for(made[0], engine), threads_for_each(len(made))

    def train(task: Task, halt: Event) -> Run:
        problem, descent, generator = task
        if chosen != "fused":
            return loops.descend(Reference(problem), descent, stop, snapshots_per_decade, generator)
        from learnscope.dynamics.shallow.compiled import engine as fused

        return fused.descend(problem, descent, stop, snapshots_per_decade, halt, threads, generator)

    if chosen == "triton" and batch_size is None:
        from learnscope.dynamics.shallow.triton import engine as together

        return together.descend(made, [descent for _, descent, _ in tasks], stop, snapshots_per_decade)
    return side_by_side(train, tasks)


def _descents(
    made: Sequence[Problem],
    learning_rate: float | Sequence[float],
    generators: Sequence[torch.Generator] | None,
    momentum: float,
    batch_size: int | None,
    replacement: bool,
) -> list[Task]:
    """Return each problem with the descent that trains it and the generator of its batches."""
    rates = list(learning_rate) if isinstance(learning_rate, Sequence) else [learning_rate] * len(made)
    drawn = list(generators) if generators is not None else [None] * len(made)
    if len(rates) != len(made) or len(drawn) != len(made):
        raise InputError(
            f"{len(made)} networks with {len(rates)} learning rates and {len(drawn)} generators; give as many of each."
        )
    descents = [Descent(float(rate), momentum, batch_size, replacement) for rate in rates]
    return list(zip(made, descents, drawn, strict=True))
