"""The gradient flow of the hinge loss of networks with one hidden layer, by either of its integrators."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from learnscope.dynamics.shallow import Run, Stop, flow, proximal_flow
from learnscope.dynamics.shallow.proximal import REACHED
from learnscope.dynamics.step_control import Limits
from learnscope.networks.one_hidden_layer import OneHiddenLayer

COARSE = Limits(0.5, 1e-2)  # of Euler's steps; finer ones give the same to some percent
PROXIMAL = "whether steps are implicit in the loss, which pays from some hundred examples on"


def follow(
    starts: Sequence[OneHiddenLayer],
    x: Tensor | Sequence[Tensor],
    y: Tensor | Sequence[Tensor],
    *,
    alpha: float | Sequence[float],
    proximal: bool,
    stop: Stop,
    frozen: Collection[str] = (),
    snapshots_per_decade: int = 0,
    limits: Limits = COARSE,
) -> list[Run]:
    """Follow the flow by steps that are implicit in the loss, or by Euler's within some limits."""
    if proximal:
        return proximal_flow(
            starts, x, y, alpha=alpha, stop=stop, frozen=frozen, snapshots_per_decade=snapshots_per_decade
        )
    return flow(
        starts,
        x,
        y,
        alpha=alpha,
        stop=stop,
        frozen=frozen,
        snapshots_per_decade=snapshots_per_decade,
        max_output_change=limits.output,
        max_gradient_change=limits.gradient,
    )


def precision(proximal: bool) -> torch.dtype:
    """Return the dtype to train many neurons on many examples in: single where steps are implicit in the loss."""
    return torch.float32 if proximal else torch.float64


def fitted_share(run: Run, y: Tensor) -> float:
    """Return the share of the examples at their margin; steps that are implicit in the loss go no further than that."""
    return float((run.outputs * y.to(run.outputs) > 1 - REACHED).double().mean())
