"""A small convolutional network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from learnscope.errors import InputError
from learnscope.networks.initialisation import convolution, linear


class Convolutional(nn.Module):
    """Convolutions of 3 × 3, each with ReLU and 2 × 2 max pooling, then one hidden layer and the output.

    Layers are called ``conv1``, ``relu1``, ``pool1``, ``conv2``, …, ``flatten``, ``fc1``, ``fc1_relu``,
    ``output``. Standard parametrisation, He's initialisation: W ~ N(0, 2 / fan_in), b = 0, drawn from
    ``generator`` alone.

    Args:
        channels: channels of the images.
        outputs: number of classes.
        widths: channels after each convolution.
        hidden: units of the hidden layer.
        size: height and width of the images; each pooling halves them, rounding down.
        generator: source of the initial weights; its device becomes the network's.

    Raises:
        InputError: a size is not positive, or the images are too small for so many poolings.

    Examples:
        >>> network = Convolutional(1, 10, size=(8, 8), generator=torch.Generator().manual_seed(0))
        >>> network(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        widths: Sequence[int] = (16, 32),
        hidden: int = 64,
        *,
        size: tuple[int, int],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        height, width = (side // 2 ** len(widths) for side in size)
        if min(height, width) < 1:
            raise InputError(
                f"Images of {size[0]} × {size[1]} pixels vanish after {len(widths)} poolings that halve them; "
                f"give fewer widths."
            )
        for number, (before, after) in enumerate(zip((channels, *widths), widths, strict=False), start=1):
            self.add_module(f"conv{number}", convolution(before, after, generator))
            self.add_module(f"relu{number}", nn.ReLU())
            self.add_module(f"pool{number}", nn.MaxPool2d(2))
        self.add_module("flatten", nn.Flatten())
        self.add_module("fc1", linear((channels, *widths)[-1] * height * width, hidden, generator))
        self.add_module("fc1_relu", nn.ReLU())
        self.add_module("output", linear(hidden, outputs, generator))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [n, outputs] of images [n, channels, height, width]."""
        for layer in self.children():
            x = layer(x)
        return x
