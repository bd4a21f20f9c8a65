"""Layers drawn from an explicit generator: the global random state is neither used nor changed.

The parametrisation is the standard one with He's scaling: W ~ N(0, 2 / fan_in) entry by entry, where
fan_in counts the inputs of one output (kernel area × input channels for a convolution), and biases are
zero. Then a layer of ReLUs keeps the mean square of its inputs, whatever its width.

Source: K. He, X. Zhang, S. Ren, J. Sun (2015), Delving deep into rectifiers, equation 10.
"""

from __future__ import annotations

from typing import TypeVar, cast

import torch
from torch import nn
from torch.nn.utils import skip_init

from learnscope.errors import InputError

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer with weights N(0, 2 / inputs) and zero biases, on the generator's device.

    Raises:
        InputError: a size is not positive.

    Examples:
        >>> layer = linear(512, 512, torch.Generator().manual_seed(0))
        >>> round(layer.weight.square().mean().item() * 512, 1)
        2.0
    """
    require_positive(inputs=inputs, outputs=outputs)
    layer = skip_init(nn.Linear, inputs, outputs, device=generator.device)
    return _drawn(cast(nn.Linear, layer), generator)


def convolution(
    channels: int,
    outputs: int,
    generator: torch.Generator,
    *,
    kernel: int = 3,
    stride: int = 1,
    bias: bool = True,
) -> nn.Conv2d:
    """Return a convolution with weights N(0, 2 / (kernel² · channels)) and zero biases.

    It is padded by kernel // 2, so that an odd kernel with stride 1 keeps the image's size.

    Raises:
        InputError: a number of channels is not positive.

    Examples:
        >>> layer = convolution(3, 8, torch.Generator().manual_seed(0))
        >>> layer(torch.zeros(1, 3, 5, 7)).shape
        torch.Size([1, 8, 5, 7])
    """
    require_positive(channels=channels, outputs=outputs)
    layer = skip_init(
        nn.Conv2d,
        channels,
        outputs,
        kernel,
        stride=stride,
        padding=kernel // 2,
        bias=bias,
        device=generator.device,
    )
    return _drawn(cast(nn.Conv2d, layer), generator)


def require_positive(**sizes: int) -> None:
    """Raise an InputError that names the first size that is not positive."""
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"{name} is {size}, but a layer needs at least 1; give a positive number.")


def _drawn(layer: Layer, generator: torch.Generator) -> Layer:
    """Fill an uninitialised layer and return it."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
