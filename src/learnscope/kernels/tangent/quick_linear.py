"""Linear layers by the quickest library: torch's takes twice as long on some processors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from learnscope.matrix_products import product


def linear(layer: nn.Linear, input: Tensor) -> Tensor:
    """Return the outputs of a layer, of matrices on a CPU by :func:`learnscope.matrix_products.product`.

    All else is left to torch. Results differ by rounding only. Gradients flow to the inputs, and not to weights and
    biases.

    Examples:
        >>> layer, x = nn.Linear(3, 1), torch.ones(2, 3, requires_grad=True)
        >>> torch.allclose(torch.autograd.grad(linear(layer, x).sum(), x)[0], layer.weight)
        True
    """
    weight, bias = layer.weight, layer.bias
    if type(input) is Tensor and input.ndim == 2 and input.device.type == "cpu" and _is_own(weight, input):
        if bias is None:
            return _Linear.apply(input, weight)
        if _is_own(bias, input):
            return _Linear.apply(input, weight, bias)
    return nn.Linear.forward(layer, input)


def _is_own(parameter: Tensor, input: Tensor) -> bool:
    """Return whether a parameter hangs on nothing else, and is of the dtype of the inputs."""
    return parameter.is_leaf and parameter.dtype == input.dtype


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        ctx.save_for_backward(weight)
        return product(x, weight, plus=bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        return product(gradients[0], weight.mT), None, None
