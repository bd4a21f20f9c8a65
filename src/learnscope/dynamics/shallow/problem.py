"""The training of one network as a problem that is known to be sound: what the engines start from."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from learnscope.dynamics.margin_losses import MarginLoss
from learnscope.errors import InputError
from learnscope.networks.one_hidden_layer import OneHiddenLayer

PARTS = ("directions", "weights", "biases", "outputs")


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """One network, its points x [p, d] and labels y [p], α, the loss, and the parts that do not move.

    Its labels have margins if all are −1 or +1.
    """

    network: OneHiddenLayer
    x: Tensor
    y: Tensor
    alpha: float
    loss: MarginLoss
    frozen: frozenset[str]

    has_margins: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "has_margins", bool((self.y.abs() == 1).all()))

    def directions(self) -> Tensor:
        """Return ω/|ω| [h, d] at the start, zero where ω is."""
        weights = self.network.weights
        return weights / weights.norm(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)


def problems(
    networks: Sequence[OneHiddenLayer],
    x: Tensor | Sequence[Tensor],
    y: Tensor | Sequence[Tensor],
    alpha: float | Sequence[float],
    loss: MarginLoss,
    frozen: Collection[str],
) -> list[Problem]:
    """Return the checked problem of each network; what is given once is shared by all.

    Raises:
        InputError: lists of different lengths, no networks, or anything that :func:`_check` refuses.
    """
    n = len(networks)
    points, labels = (list(v) if not isinstance(v, Tensor) else [v] * n for v in (x, y))
    alphas = list(alpha) if isinstance(alpha, Sequence) else [float(alpha)] * n
    lengths = {"networks": n, "x": len(points), "y": len(labels), "alpha": len(alphas)}
    if n == 0 or len(set(lengths.values())) > 1:
        told = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise InputError(f"an ensemble of {told}; give as many of each, at least one, or one x, y and alpha for all.")
    if unknown := sorted(set(frozen) - set(PARTS)):
        raise InputError(f"frozen {unknown[0]!r} is no part of the network; choose from {', '.join(PARTS)}.")
    if len({network.activation for network in networks}) > 1:
        raise InputError(
            "the networks have different activations; train those of each activation by a call of its own."
        )
    made = [
        Problem(network, points[k], labels[k], float(alphas[k]), loss, frozenset(frozen))
        for k, network in enumerate(networks)
    ]
    for problem in made:
        _check(problem)
    return made


def _check(problem: Problem) -> None:
    network, x, y = problem.network, problem.x, problem.y
    if not 0 < problem.alpha < math.inf:
        raise InputError(f"alpha is {problem.alpha:g}; give a positive number, small for features and large for lazy.")
    if network.weights.ndim != 2:
        raise InputError(f"weights {list(network.weights.shape)} are more than one network; index them, network[0].")
    if x.ndim != 2 or y.shape != x.shape[:1] or len(x) == 0:
        raise InputError(f"x {list(x.shape)} and y {list(y.shape)}; give [p, d] and [p] with at least one point.")
    if x.shape[1] != network.dim:
        raise InputError(f"x has {x.shape[1]} inputs but the network {network.dim}; draw a network of that dim.")
    tensors = {"x": x, "y": y, "the biases": network.biases, "the outputs": network.outputs}
    for name, tensor in tensors.items():
        if tensor.dtype != network.weights.dtype or tensor.device != network.weights.device:
            raise InputError(
                f"{name} is {tensor.dtype} on {tensor.device} but the weights are {network.weights.dtype} on "
                f"{network.weights.device}; convert one to the other."
            )
    if network.weights.dtype not in (torch.float32, torch.float64):
        raise InputError(f"the weights are {network.weights.dtype}; give float32 or float64.")
    if not bool(torch.isfinite(x).all()):
        raise InputError("x has entries that are NaN or infinite; drop those points.")
    _check_labels(problem)


def _check_labels(problem: Problem) -> None:
    y = problem.y
    if problem.loss.kind == "squared" and not problem.has_margins:
        if not bool(torch.isfinite(y).all()):
            raise InputError("y has entries that are NaN or infinite; drop those points.")
        return
    if not problem.has_margins:
        wrong = float(y[y.abs() != 1][0])
        raise InputError(
            f"a label is {wrong:g} but the {problem.loss.kind} loss takes −1 and +1; map the classes to them."
        )
    if len(y) > 1 and bool((y == y[0]).all()):
        raise InputError(
            f"all {len(y)} labels are {float(y[0]):+g}; draw the points again, or more, to have both classes."
        )
