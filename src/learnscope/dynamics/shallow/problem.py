"""The training of one network as a problem that is known to be sound: what the engines start from."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
    has_margins: bool

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
    for network, each_x, each_y, each_alpha in zip(networks, points, labels, alphas, strict=True):
        _check(network, each_x, each_y, each_alpha)
    if not _all_finite(points):
        raise InputError("x has entries that are NaN or infinite; drop those points.")
    known = _known_of(labels)
    for each_y in labels:
        _check_labels(each_y, known[id(each_y)], loss)
    held = frozenset(frozen)
    return [
        Problem(network, each_x, each_y, float(each_alpha), loss, held, known[id(each_y)].margins)
        for network, each_x, each_y, each_alpha in zip(networks, points, labels, alphas, strict=True)
    ]


def _check(network: OneHiddenLayer, x: Tensor, y: Tensor, alpha: float) -> None:
    """Refuse what no look at the numbers is needed for."""
    if not 0 < alpha < math.inf:
        raise InputError(f"alpha is {alpha:g}; give a positive number, small for features and large for lazy.")
    if network.weights.ndim != 2:
        raise InputError(f"weights {list(network.weights.shape)} are more than one network; index them, network[0].")
    if x.ndim != 2 or y.shape != x.shape[:1] or not x.shape[0]:
        raise InputError(f"x {list(x.shape)} and y {list(y.shape)}; give [p, d] and [p] with at least one point.")
    if x.shape[1] != network.dim:
        raise InputError(f"x has {x.shape[1]} inputs but the network {network.dim}; draw a network of that dim.")
    dtype, device = network.weights.dtype, network.weights.device
    tensors = {"x": x, "y": y, "the biases": network.biases, "the outputs": network.outputs}
    for name, tensor in tensors.items():
        if tensor.dtype != dtype or tensor.device != device:
            raise InputError(
                f"{name} is {tensor.dtype} on {tensor.device} but the weights are {dtype} on {device}; convert one to "
                "the other."
            )
    if dtype not in (torch.float32, torch.float64):
        raise InputError(f"the weights are {dtype}; give float32 or float64.")


def _all_finite(points: Sequence[Tensor]) -> bool:
    """Return whether all points are finite, those that are shared looked at once."""
    several = {id(x): x for x in points}.values()
    return bool(torch.isfinite(torch.cat([x.flatten() for x in several])).all())


class _Known(NamedTuple):
    """Whether labels are all −1 or +1, all alike, and all finite."""

    margins: bool
    alike: bool
    finite: bool


def _known_of(labels: Sequence[Tensor]) -> dict[int, _Known]:
    """Return what there is to know of labels, by the id of the tensor; as many as are of one length at once."""
    of_length: dict[int, dict[int, Tensor]] = {}
    for y in labels:
        of_length.setdefault(y.shape[0], {})[id(y)] = y
    known = {}
    for some in of_length.values():
        rows = torch.stack(list(some.values()))
        facts = torch.stack([rows.abs() == 1, rows == rows[:, :1], torch.isfinite(rows)]).all(dim=2)
        known.update(zip(some, map(_Known, *facts.tolist()), strict=True))
    return known


def _check_labels(y: Tensor, known: _Known, loss: MarginLoss) -> None:
    if known.margins:
        if known.alike and y.shape[0] > 1:
            raise InputError(
                f"all {len(y)} labels are {float(y[0]):+g}; draw the points again, or more, to have both classes."
            )
    elif loss.kind != "squared":
        wrong = float(y[y.abs() != 1][0])
        raise InputError(f"a label is {wrong:g} but the {loss.kind} loss takes −1 and +1; map the classes to them.")
    elif not known.finite:
        raise InputError("y has entries that are NaN or infinite; drop those points.")
