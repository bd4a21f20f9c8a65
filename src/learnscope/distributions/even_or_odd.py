"""Even against odd digits: random splits of an image set with two labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from learnscope.distributions.images import Images
from learnscope.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class EvenOrOdd:
    """Images of digits with labels +1 for even and −1 for odd ones.

    Attributes:
        x: [p, channels, height, width] images to train on, float32, centred.
        y: [p] labels, float32.
        digits: [p] the digits themselves, int64.
        x_test: images to test on.
        y_test: their labels.
        digits_test: their digits.
        redrawn: how many draws before this one had training images of one label only.
    """

    x: Tensor
    y: Tensor
    digits: Tensor
    x_test: Tensor
    y_test: Tensor
    digits_test: Tensor
    redrawn: int


def even_or_odd(images: Images, n_train: int, n_test: int, generator: torch.Generator) -> EvenOrOdd:
    """Draw images for training and testing, without replacement, from all images of a set.

    The mean image of the set is subtracted, and pixels are scaled so that their mean square is 1. At least one even and
    one odd digit are among those to train on: a draw without is repeated,
    and counted.

    Raises:
        InputError: for fewer than two training images or no test images, or more than the set has.

    Examples:
        >>> from learnscope.distributions.images import digits
        >>> sample = even_or_odd(digits(), 100, 500, torch.Generator().manual_seed(0))
        >>> sample.x.shape, sample.x_test.shape, sorted(set(sample.y.tolist()))
        (torch.Size([100, 1, 8, 8]), torch.Size([500, 1, 8, 8]), [-1.0, 1.0])
    """
    x, digits = torch.cat([images.x_train, images.x_test]), torch.cat([images.y_train, images.y_test])
    if n_train < 2 or n_test < 1 or n_train + n_test > len(x):
        raise InputError(
            f"{n_train} images to train and {n_test} to test on; {images.name} has {len(x)}, ask for two or more to "
            "train on and one or more to test on."
        )
    centred = x - x.mean(0)
    centred /= centred.square().mean().sqrt()
    labels = 1.0 - 2.0 * (digits % 2)
    redrawn = 0
    while True:
        order = torch.randperm(len(x), generator=generator)
        train, test = order[:n_train], order[n_train : n_train + n_test]
        if bool((labels[train] != labels[train[0]]).any()):
            parts = [of[rows] for rows in (train, test) for of in (centred, labels, digits)]
            return EvenOrOdd(*parts, redrawn=redrawn)
        redrawn += 1
