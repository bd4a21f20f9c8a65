"""Kernels of convolutional networks of infinitely many channels: 3 × 3 convolutions, ReLU, average and global pooling.

Pooling mixes positions, so the recursion runs on the covariance of every position of one image with every position of
the other, [..., height, width, height', width'].
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from learnscope.errors import BudgetError, InputError
from learnscope.kernels.analytic.activations import InfiniteWidthKernels, relu_moments

Step = Literal["convolution", "relu", "pool"]
POOL_AFTER = {5: (2, 3), 7: (2, 4), 10: (3, 6)}  # convolutions after which positions are averaged two by two
DEFAULT_BUDGET = 2**30
WORKING_COPIES = 8  # tensors of a block's size that are alive at once


class Pair(NamedTuple):
    """Covariance and tangent kernel of the units at every position of one image with every position of the other."""

    covariance: Tensor
    tangent: Tensor


def myrtle(
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    depth: Literal[5, 7, 10] = 5,
    weight_variance: float = 2.0,
    budget: int = DEFAULT_BUDGET,
) -> InfiniteWidthKernels:
    """Return the kernels of the Myrtle network of ``depth`` layers with infinitely many channels.

    Its convolutions, 4, 6 or 9 of them, are 3 × 3 with zeros around the image, without biases, each followed by ReLU.
    Positions are averaged 2 × 2 after the second and third (5), second and fourth (7), or third and sixth (10), and
    all of them at the end, before a linear read-out. In the NTK parametrisation a convolution maps covariances by
    (σ_w²/9) Σ_δ K(p + δ, p' + δ), and the tangent kernel by the same map plus the new covariance.

    Args:
        x1: [n, channels, height, width] images, both sides divisible by 4.
        x2: [n', channels, height, width], ``x1`` by default.
        depth: 5, 7 or 10.
        weight_variance: σ_w² of convolutions and read-out; 2 keeps the size of ReLU networks.
        budget: bytes that the covariances of a block of pairs may take.

    Returns:
        The kernels [n, n'], in the dtype of the images; float64 where they are to be inverted.

    Raises:
        InputError: if the depth is not known, or the images are not of the same size or not divisible by 4.
        BudgetError: if the budget is too small for one pair of images.

    Cost: O(depth n n' (height · width)²) time; memory under ``budget`` beyond the result and a variance for each
        position and layer of each image.

    Source: Shankar et al. 2020, Neural Kernels Without Tangents, section 3; Arora et al. 2019, On Exact Computation
        with an Infinitely Wide Neural Net, section 4.

    Examples:
        >>> x = torch.ones(1, 1, 4, 4, dtype=torch.float64)
        >>> kernels = myrtle(x, torch.cat([x, 2 * x]))  # without biases the kernels grow with the size of an image
        >>> print(round(float(kernels.tangent[0, 1] / kernels.tangent[0, 0]), 6))
        2.0
    """
    x2 = x1 if x2 is None else x2
    steps = _steps(depth)
    _check(x1, x2)
    positions = x1.shape[2] * x1.shape[3]
    pairs = budget // (WORKING_COPIES * positions**2 * x1.element_size())
    if pairs < 1:
        least = WORKING_COPIES * positions**2 * x1.element_size()
        raise BudgetError(f"budget={budget} is too small for one pair of images of {positions} pixels: give {least}.")
    rows = max(1, min(len(x1), int(pairs**0.5)))
    columns = max(1, pairs // rows)
    first = variances(x1, steps, weight_variance, columns)
    second = first if x2 is x1 else variances(x2, steps, weight_variance, columns)
    nngp, tangent = (x1.new_empty(len(x1), len(x2)) for _ in range(2))
    for i in range(0, len(x1), rows):
        for j in range(0, len(x2), columns):
            block = input_covariance(x1[i : i + rows, None], x2[None, j : j + columns], weight_variance)
            ours = [each[i : i + rows, None] for each in first]
            theirs = [each[None, j : j + columns] for each in second]
            result = propagate(block, steps, ours, theirs, weight_variance)
            nngp[i : i + rows, j : j + columns] = result.covariance
            tangent[i : i + rows, j : j + columns] = result.tangent
    return InfiniteWidthKernels(nngp, tangent)


def input_covariance(x1: Tensor, x2: Tensor, weight_variance: float) -> Pair:
    """Return what the first convolution makes of images [..., channels, height, width]."""
    covariance = convolved(torch.einsum("...chw,...cuv->...hwuv", x1, x2) / x1.shape[-3], weight_variance)
    return Pair(covariance, covariance.clone())


def propagate(
    pair: Pair, steps: tuple[Step, ...], first: list[Tensor], second: list[Tensor], weight_variance: float
) -> Pair:
    """Return the kernels of the outputs, [...], from those after the first convolution.

    Args:
        pair: covariances [..., height, width, height', width'].
        steps: what follows the first convolution.
        first: [..., height, width] variances of the first images before each ReLU.
        second: those of the second images.
        weight_variance: of convolutions and read-out.
    """
    covariance, tangent = pair
    relus = iter(zip(first, second, strict=True))
    for step in steps:
        if step == "convolution":
            covariance = convolved(covariance, weight_variance)
            tangent = covariance + convolved(tangent, weight_variance)
        elif step == "relu":
            ours, theirs = next(relus)
            covariance, slope = relu_moments(ours[..., :, :, None, None], covariance, theirs[..., None, None, :, :])
            tangent = slope * tangent
        else:
            covariance, tangent = pooled(covariance), pooled(tangent)
    everywhere = (-4, -3, -2, -1)
    covariance = weight_variance * covariance.mean(everywhere)
    return Pair(covariance, covariance + weight_variance * tangent.mean(everywhere))


def variances(x: Tensor, steps: tuple[Step, ...], weight_variance: float, at_once: int) -> list[Tensor]:
    """Return the variance at each position before each ReLU, a list of [n, height, width]."""
    chunks = [_variances(chunk, steps, weight_variance) for chunk in x.split(at_once)]
    return [torch.cat(each) for each in zip(*chunks, strict=True)]


def _variances(x: Tensor, steps: tuple[Step, ...], weight_variance: float) -> list[Tensor]:
    covariance = input_covariance(x, x, weight_variance).covariance
    found = []
    for step in steps:
        if step == "convolution":
            covariance = convolved(covariance, weight_variance)
        elif step == "relu":
            variance = torch.einsum("...hwhw->...hw", covariance)
            found.append(variance)
            covariance, _ = relu_moments(variance[..., :, :, None, None], covariance, variance[..., None, None, :, :])
        else:
            covariance = pooled(covariance)
    return found


def convolved(covariance: Tensor, weight_variance: float) -> Tensor:
    """Return (σ_w²/9) Σ_δ K(p + δ, p' + δ) over the nine offsets of a 3 × 3 filter, with zeros around the image."""
    for dims, margin in (((-4, -2), (0, 0, 1, 1, 0, 0, 1, 1)), ((-3, -1), (1, 1, 0, 0, 1, 1, 0, 0))):
        padded = pad(covariance, margin)  # heights, then widths: the sum over offsets factorises
        n = covariance.shape[dims[0]]
        shifted = [padded.narrow(dims[0], k, n).narrow(dims[1], k, n) for k in range(3)]
        covariance = shifted[0] + shifted[1] + shifted[2]
    return weight_variance / 9 * covariance


def pooled(covariance: Tensor) -> Tensor:
    """Return covariances of averages over 2 × 2 positions, of both images."""
    for dim in (-4, -3, -2, -1):
        pairs = covariance.unflatten(dim, (covariance.shape[dim] // 2, 2))
        covariance = pairs.select(dim, 0) + pairs.select(dim, 1)  # several times faster than means over two
    return covariance / 16


def _steps(depth: int) -> tuple[Step, ...]:
    if depth not in POOL_AFTER:
        raise InputError(f"depth is {depth}: the Myrtle networks have 5, 7 or 10 layers.")
    steps: list[Step] = []
    for k in range(1, depth):
        steps.extend(("convolution", "relu"))
        if k in POOL_AFTER[depth]:
            steps.append("pool")
    return tuple(steps[1:])  # the first convolution is that of the inputs


def _check(x1: Tensor, x2: Tensor) -> None:
    for x in (x1, x2):
        if x.ndim != 4 or x.shape[2] % 4 or x.shape[3] % 4:
            raise InputError(
                f"images have the shape {tuple(x.shape)}: give [n, channels, height, width], sides divisible by 4."
            )
    if x1.shape[1:] != x2.shape[1:]:
        raise InputError(
            f"images of {tuple(x1.shape[1:])} and {tuple(x2.shape[1:])} cannot be compared: give one size."
        )
