"""Linear layers by the quickest library: torch's takes twice as long on some processors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from learnscope.matrix_products import product


@contextmanager
def quick_linear_layers(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let linear layers among the modules multiply by :func:`learnscope.matrix_products.product` until the end.

    That is done to matrices on a CPU; all else is left to torch. Results differ by rounding only.
    Gradients flow to the inputs of such a layer, and not to its weights and bias: enough for whoever asks for gradients
    by what modules return. Backward passes that compute activations again belong in here as well.

    Examples:
        >>> layer, x = nn.Linear(3, 1), torch.ones(2, 3, requires_grad=True)
        >>> with quick_linear_layers([layer]):
        ...     y = layer(x)
        >>> torch.allclose(torch.autograd.grad(y.sum(), x)[0], layer.weight)
        True
    """
    layers = [module for module in modules if type(module) is nn.Linear and "forward" not in vars(module)]
    for layer in layers:
        layer.forward = partial(_forward, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _forward(layer: nn.Linear, input: Tensor) -> Tensor:
    quick = type(input) is Tensor and input.ndim == 2 and input.device.type == "cpu"
    own = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
    if quick and all(each.is_leaf and each.dtype == input.dtype for each in own):
        return _Linear.apply(input, *own)
    return nn.Linear.forward(layer, input)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        ctx.save_for_backward(weight)
        return product(x, weight, plus=bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        return product(gradients[0], weight.mT), None, None
