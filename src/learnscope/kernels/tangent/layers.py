"""Modules whose parameter gradients are sums of products: what goes in, times the gradient of what comes out.

For each of them the Jacobian of scalar k at example n with respect to the weights is J = Σ_t X[n, g, t] ⊗ G[n, k, g, t]
for each group g of weights, over the positions t (pixels, tokens) at which the weights are used. A bias is a further
input that is always one; the inputs of an embedding are rows of the identity, kept as the numbers of their tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm, layer_norm

from learnscope.kernels.tangent.convolutions import Convolution, Window


class Factors(NamedTuple):
    """Inputs [n, groups, positions, a] and output gradients [n, k, groups, positions, b] of one module.

    With a vocabulary, inputs are tokens [n, 1, positions, 1] that stand for rows of the identity of that size; those
    below zero stand for nothing. With a window, they are the inputs of a convolution, [n, channels, ...]. A ``bias`` is
    one further input, which is always one and not among them.
    """

    inputs: Tensor
    gradients: Tensor
    vocabulary: int = 0
    window: Window | None = None
    bias: bool = False

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """Scalars k, groups g, positions t, and the sides a, b of a group's weights."""
        k, g, t, b = self.gradients.shape[1:]
        if self.window is not None:
            return k, g, t, self.window.channels * self.window.taps + self.window.bias, b
        return k, g, t, self.vocabulary or self.inputs.shape[-1] + self.bias, b

    @property
    def units(self) -> tuple[int, int]:
        """How many parts the inputs are taken in, and their size: what a filter sees of a channel is one."""
        if self.window is not None:
            return self.window.channels + self.window.bias, max(1, self.window.taps)
        return self.sizes[3], 1

    def of(self, examples: slice) -> Factors:
        """Return the factors of some of the examples."""
        return self._replace(inputs=self.inputs[examples], gradients=self.gradients[examples])

    def dense_inputs(self, groups: slice = slice(None), units: slice = slice(None)) -> Tensor:
        """Return the inputs of some groups as numbers, [n, groups, positions, a]; or of them some units."""
        if self.window is not None:
            return self.window.seen(self.inputs, self.gradients.shape[3], groups, units)
        if not self.vocabulary:
            inputs = self.inputs[:, groups]
            return (_with_one(inputs) if self.bias else inputs)[..., units]
        tokens = torch.arange(self.vocabulary, device=self.inputs.device)[units]
        return (self.inputs == tokens).to(self.gradients.dtype)


Build = Callable[..., Factors]


def build_factors(module: nn.Module, names: frozenset[str], x: Tensor, gradients: Tensor) -> Factors:
    """Return the factors of a module.

    Args:
        module: one for which :func:`is_known` holds.
        names: which of "weight" and "bias" are in the kernel.
        x: [n, ...] the input of the module.
        gradients: [n, k, ...] gradients of the scalars with respect to the module's output.
    """
    return BUILDERS[type(module)](module, names, x, gradients)


def is_known(module: nn.Module) -> bool:
    """Return whether the module's exact class has factors; subclasses may do anything, so they have not."""
    if isinstance(module, nn.Embedding) and (module.sparse or module.scale_grad_by_freq or module.max_norm is not None):
        return False
    return type(module) in BUILDERS


def _linear(module: nn.Linear, names: frozenset[str], x: Tensor, gradients: Tensor) -> Factors:
    n, k = gradients.shape[:2]
    inputs, shaped = x.reshape(n, 1, -1, x.shape[-1]), gradients.reshape(n, k, 1, -1, gradients.shape[-1])
    if len(names) == 2 and inputs.shape[2] == 1:
        return Factors(inputs, shaped, bias=True)
    return Factors(_with_bias(inputs, names), shaped)


def _convolution(module: Convolution, names: frozenset[str], x: Tensor, gradients: Tensor) -> Factors:
    n, k, groups = *gradients.shape[:2], module.groups
    shaped = gradients.reshape(n, k, groups, module.out_channels // groups, -1).transpose(3, 4)
    window = Window(module, "weight" in names, "bias" in names)
    if shaped.shape[3] == 1:
        return Factors(window.seen(x, 1, slice(None), slice(None)), shaped)
    return Factors(x, shaped, window=window)


def _layer_norm(module: nn.LayerNorm, names: frozenset[str], x: Tensor, gradients: Tensor) -> Factors:
    normalised = layer_norm(x, module.normalized_shape, eps=module.eps)
    n, k, features = len(x), gradients.shape[1], int(torch.tensor(module.normalized_shape).prod())
    return _elementwise(normalised.reshape(n, -1, features), gradients.reshape(n, k, -1, features), names)


def _group_norm(module: nn.GroupNorm, names: frozenset[str], x: Tensor, gradients: Tensor) -> Factors:
    normalised = group_norm(x, module.num_groups, eps=module.eps)
    return _elementwise(_channels_last(normalised, 1), _channels_last(gradients, 2), names)


def _batch_norm(module: nn.BatchNorm2d, names: frozenset[str], x: Tensor, gradients: Tensor) -> Factors:
    assert module.running_mean is not None
    assert module.running_var is not None
    shape = (1, -1, *([1] * (x.ndim - 2)))
    deviation = (module.running_var + module.eps).sqrt()
    normalised = (x - module.running_mean.reshape(shape)) / deviation.reshape(shape)
    return _elementwise(_channels_last(normalised, 1), _channels_last(gradients, 2), names)


def _embedding(module: nn.Embedding, names: frozenset[str], x: Tensor, gradients: Tensor) -> Factors:
    n, k = gradients.shape[:2]
    tokens = x.long()
    if module.padding_idx is not None:  # its row has no gradient
        tokens = tokens.masked_fill(tokens == module.padding_idx, -1)
    shaped = gradients.reshape(n, k, 1, -1, gradients.shape[-1])
    return Factors(tokens.reshape(n, 1, -1, 1), shaped, module.num_embeddings)


def _elementwise(normalised: Tensor, gradients: Tensor, names: frozenset[str]) -> Factors:
    """Return factors of weights that multiply features one by one: each is a group, [n, t, c] and [n, k, t, c]."""
    inputs = normalised.transpose(1, 2)[..., None]
    return Factors(_with_bias(inputs, names), gradients.transpose(2, 3)[..., None])


def _channels_last(values: Tensor, dim: int) -> Tensor:
    """Return values with the channels of ``dim`` last and all positions in one dimension before them."""
    return values.reshape(*values.shape[: dim + 1], -1).transpose(dim, dim + 1)


def _with_bias(inputs: Tensor, names: frozenset[str]) -> Tensor:
    """Return the inputs of the weights, if these are in the kernel, and a one for the bias, if it is."""
    if "weight" not in names:
        return torch.ones_like(inputs[..., :1])
    return _with_one(inputs) if "bias" in names else inputs


def _with_one(inputs: Tensor) -> Tensor:
    """Return inputs and a further one that is always one."""
    return torch.cat([inputs, torch.ones_like(inputs[..., :1])], -1)


BUILDERS: dict[type[nn.Module], Build] = {
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Conv3d: _convolution,
    nn.Embedding: _embedding,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm3d: _batch_norm,
}
