"""A small residual network with batch normalisation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from learnscope.errors import InputError
from learnscope.networks.initialisation import convolution, linear, require_positive


class Residual(nn.Module):
    """A residual network in the form for small images: stem, stages of blocks, global mean, output.

    The first stage keeps the image's size and has ``width`` channels; every later stage halves the size and
    doubles the channels. Works for images of any size. Layers are called ``conv1``, ``norm1``, ``relu1``,
    then ``stage1.block1.conv1`` and so on, ``pool``, ``flatten``, ``output``. Standard parametrisation, He's
    initialisation: W ~ N(0, 2 / fan_in), b = 0, drawn from ``generator`` alone; normalisations start with
    scale 1 and shift 0, and the convolutions before them have no bias.

    Source: K. He, X. Zhang, S. Ren, J. Sun (2016), Deep residual learning for image recognition, section 4.2;
    shortcuts that change the shape are convolutions of 1 × 1 (their option B).

    Args:
        channels: channels of the images.
        outputs: number of classes.
        width: channels of the first stage.
        blocks: number of blocks in each stage; (3, 3, 3) with width 16 is the authors' 20-layer network.
        generator: source of the initial weights; its device becomes the network's.

    Raises:
        InputError: a size is not positive, or there is no stage.

    Examples:
        >>> network = Residual(3, 10, generator=torch.Generator().manual_seed(0))
        >>> network(torch.zeros(5, 3, 32, 32)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        width: int = 16,
        blocks: Sequence[int] = (1, 1, 1),
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if not blocks:
            raise InputError("blocks is empty, but a residual network needs a stage; give (1,), say.")
        self.conv1 = convolution(channels, width, generator, bias=False)
        self.norm1 = _normalisation(width, generator)
        self.relu1 = nn.ReLU()
        before = width
        for number, count in enumerate(blocks, start=1):
            after = width * 2 ** (number - 1)
            self.add_module(f"stage{number}", _stage(before, after, count, 1 if number == 1 else 2, generator))
            before = after
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.output = linear(before, outputs, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [n, outputs] of images [n, channels, height, width]."""
        for layer in self.children():
            x = layer(x)
        return x


class Block(nn.Module):
    """Two convolutions beside a shortcut: relu(norm(conv(relu(norm(conv(x))))) + shortcut(x)).

    Args:
        channels: channels that come in.
        outputs: channels that go out.
        stride: 1 keeps the image's size, 2 halves it.
        generator: source of the initial weights.

    Raises:
        InputError: a number of channels is not positive.
    """

    def __init__(self, channels: int, outputs: int, stride: int, generator: torch.Generator) -> None:
        super().__init__()
        self.conv1 = convolution(channels, outputs, generator, stride=stride, bias=False)
        self.norm1 = _normalisation(outputs, generator)
        self.relu1 = nn.ReLU()
        self.conv2 = convolution(outputs, outputs, generator, bias=False)
        self.norm2 = _normalisation(outputs, generator)
        self.shortcut = _shortcut(channels, outputs, stride, generator)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return images [n, outputs, ⌈height / stride⌉, ⌈width / stride⌉]."""
        inside = self.relu1(self.norm1(self.conv1(x)))
        return self.relu2(self.norm2(self.conv2(inside)) + self.shortcut(x))


def _stage(channels: int, outputs: int, count: int, stride: int, generator: torch.Generator) -> nn.Sequential:
    """Chain blocks, of which the first one changes the shape."""
    require_positive(blocks=count)
    named: OrderedDict[str, nn.Module] = OrderedDict(block1=Block(channels, outputs, stride, generator))
    for number in range(2, count + 1):
        named[f"block{number}"] = Block(outputs, outputs, 1, generator)
    return nn.Sequential(named)


def _shortcut(channels: int, outputs: int, stride: int, generator: torch.Generator) -> nn.Module:
    """Pass the input on as it is where shapes agree, else through a convolution of 1 × 1."""
    if channels == outputs and stride == 1:
        return nn.Identity()
    narrow = convolution(channels, outputs, generator, kernel=1, stride=stride, bias=False)
    return nn.Sequential(OrderedDict(conv=narrow, norm=_normalisation(outputs, generator)))


def _normalisation(channels: int, generator: torch.Generator) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, device=generator.device)
