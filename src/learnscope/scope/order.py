"""Whether layers see the examples in the order in which the model gets them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from learnscope.errors import LayerError
from learnscope.kernels.tangent.selection import spread
from learnscope.scope.capture import capture
from learnscope.scope.forward import Forward
from learnscope.scope.layers import Layer, Reduction
from learnscope.scope.probe import Probe, mapped

EXAMPLES = 16
SAME = 0.03  # share of the largest feature by which those of one example may differ, four times bfloat16's rounding
REASON = "it gets the examples in another order than the model, or not all of them"


def in_order(
    forward: Forward, layers: Sequence[Layer], reduction: Reduction, rows: int
) -> tuple[tuple[Layer, ...], dict[str, str]]:
    """Return the layers that have a row for each example in its place, and the others' names, with the reason.

    Others lie between a sort, by length say, and its undoing, or are called for some examples only: what they return
    would be taken for the activations of other examples. 16 examples from all over the probe run forwards and
    backwards; a sort that leaves these in their places in both is overlooked.

    Args:
        forward: runs the model, which must be undisturbed meanwhile.
        layers: those to look at.
        reduction: how positions of an activation are reduced.
        rows: how many examples go through the model at once, at most.

    Raises:
        LayerError: if there is no layer of the first kind.
    """
    places = spread(forward.probe.n, EXAMPLES)
    there, back = (_features(forward, layers, reduction, rows, order) for order in (places, places[::-1]))
    right = {
        name for name, seen in there.items() if len(seen) == len(places) and name in back and _same(seen, back[name])
    }
    moved = {layer.name: REASON for layer in layers if layer.name not in right}
    if not right:
        raise LayerError(
            f"none of the layers can be watched ({', '.join(moved)}): each gets the examples in another order than the "
            "model, or not all of them; sort them before the model, or pass layers= with others."
        )
    return tuple(layer for layer in layers if layer.name in right), moved


def _features(
    forward: Forward, layers: Sequence[Layer], reduction: Reduction, rows: int, places: list[int]
) -> dict[str, Tensor]:
    few = Probe(mapped(forward.probe.x, lambda tensor: tensor[places]), None)
    return capture(replace(forward, probe=few), layers, reduction, rows).features


def _same(there: Tensor, back: Tensor) -> bool:
    """Return whether features are those of the opposite order up to rounding, where both are finite."""
    if there.shape != back.shape:
        return False
    back = back.flip(0)
    finite = torch.isfinite(there) & torch.isfinite(back)
    gap = torch.where(finite, there - back, 0).abs().max()
    return bool(gap <= SAME * torch.where(finite, there, 0).abs().max())
