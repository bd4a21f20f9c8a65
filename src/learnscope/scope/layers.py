"""What a layer is, and how its activations become features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from learnscope.errors import InputError

Layout = Literal["features", "channels", "tokens"]
Reduction = Literal["mean", "flatten"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One call of one module, as it was seen on the probe.

    Examples may be folded into the leading dimension together with positions (``x.reshape(-1, d)`` before a layer);
    they are unfolded again. Complex activations count as two real units each.

    Attributes:
        name: the module's name, with "#2", "#3", ... for a module that is called again.
        module: the module's name.
        call: which of its calls, from 1.
        batch_dim: the dimension of its output that holds the examples.
        layout: how the other dimensions are to be read.
        bytes_per_example: size of its output for one example.
        units: number of features after the reduction.
        bounds: range of a bounded activation function.
        folded: positions of an example in the leading dimension, 1 where nothing is folded.
        examples_outermost: whether all positions of the first example come first there, or one of every example.
    """

    name: str
    module: str
    call: int
    batch_dim: int
    layout: Layout
    bytes_per_example: int
    units: int
    bounds: tuple[float, float] | None
    folded: int = 1
    examples_outermost: bool = True


def first_tensor(output: Any) -> Tensor | None:
    """Return a module's output, or the first tensor in a tuple of outputs."""
    if isinstance(output, (tuple, list)) and output:
        return first_tensor(output[0])
    return output if isinstance(output, Tensor) else None


def as_units(output: Tensor, layer: Layer) -> Tensor:
    """Return a layer's output as [n, units, positions]; the positions of plain features are one."""
    output = _unfolded(output, layer) if layer.folded > 1 else output.movedim(layer.batch_dim, 0)
    if output.is_complex():
        parts = torch.view_as_real(output.resolve_conj())
        output = parts.movedim(-1, 2).flatten(1, 2) if layer.layout == "channels" else parts.flatten(-2)
    if layer.layout == "features":
        return output.unsqueeze(-1)
    if layer.layout == "tokens":
        return output.flatten(1, -2).transpose(1, 2)
    return output.flatten(2)


def _unfolded(output: Tensor, layer: Layer) -> Tensor:
    """Return [examples, positions, ...], or [examples, channels, positions, ...], from [examples · positions, ...]."""
    if layer.examples_outermost:
        output = output.unflatten(0, (-1, layer.folded))
    else:
        output = output.unflatten(0, (layer.folded, -1)).transpose(0, 1)
    return output.transpose(1, 2) if layer.layout == "channels" else output


def as_features(units: Tensor, reduction: Reduction) -> Tensor:
    """Return features [n, features] from [n, units, positions], by the mean over positions or by flattening."""
    if units.dtype in (torch.float16, torch.bfloat16):
        units = units.float()
    if units.shape[-1] == 1:
        return units[..., 0].clone()
    return units.mean(-1) if reduction == "mean" else units.flatten(1).clone()


def checked_reduction(reduction: str) -> Reduction:
    """Return the reduction, or raise with the two that exist."""
    if reduction == "mean" or reduction == "flatten":
        return reduction
    raise InputError(
        f"positions is {reduction!r}, but activations at many positions are reduced by 'mean' or 'flatten'."
    )
