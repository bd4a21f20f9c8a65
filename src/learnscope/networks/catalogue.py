"""The networks that can be asked for by name."""

from __future__ import annotations

import math

import torch

from learnscope.errors import InputError, nearest_names
from learnscope.networks.convolutional import Convolutional
from learnscope.networks.fully_connected import FullyConnected
from learnscope.networks.residual import Residual

NAMES = ("cnn", "mlp", "resnet")
MLP_WIDTHS = (256, 128, 64)


def build(
    name: str, images_shape: tuple[int, int, int], n_classes: int, generator: torch.Generator
) -> FullyConnected | Convolutional | Residual:
    """Return a small network for images: ``cnn``, ``mlp`` or ``resnet``.

    Args:
        name: which network.
        images_shape: channels, height, width.
        n_classes: number of outputs.
        generator: source of the initial weights; the global random state is not used.

    Raises:
        InputError: no network has this name, or the images are too small for it.

    Examples:
        >>> network = build("mlp", (1, 8, 8), 10, torch.Generator().manual_seed(0))
        >>> sum(parameter.numel() for parameter in network.parameters())  # 64·256+256 + 256·128+128 + …
        58442
    """
    channels, height, width = images_shape
    if name == "cnn":
        return Convolutional(channels, n_classes, size=(height, width), generator=generator)
    if name == "mlp":
        return FullyConnected(math.prod(images_shape), MLP_WIDTHS, n_classes, generator=generator)
    if name == "resnet":
        return Residual(channels, n_classes, generator=generator)
    raise InputError(f"There is no network called {name!r}; the nearest names are {nearest_names(name, NAMES)}.")
