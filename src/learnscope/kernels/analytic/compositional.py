"""A kernel on images that is composed of patches, Gaussian kernels and averages, without any network behind it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import unfold

from learnscope.errors import BudgetError, InputError
from learnscope.kernels.analytic.convolutional import convolved, pooled

DEFAULT_BUDGET = 2**26  # little, so that blocks stay in the fast memory
COPIES = 3  # tensors of a block's size that are alive at once
FILTER = 9  # weights of a 3 × 3 filter: convolved(k, 9) is the sum over its offsets


def compositional(x1: Tensor, x2: Tensor | None = None, *, levels: int = 2, budget: int = DEFAULT_BUDGET) -> Tensor:
    """Return the kernel of Shankar et al. on images: patches, a Gaussian kernel, averages, and again.

    Of each image there are features at every position p. Each level replaces the kernel between positions of two images
    by that of their 3 × 3 neighbourhoods with zeros around the image, normalises it and puts it through a Gaussian,

        k(p, p') ← exp(c - 1),   c = Σ_δ k(p + δ, p' + δ) / √(Σ_δ k(p + δ, p + δ) · Σ_δ k(p' + δ, p' + δ)),

    where a neighbourhood of zeros has c = 0. Levels are separated by averages over 2 × 2 positions; at the end the
    average is taken over all positions of both images. The first kernel is the product of pixels.

    Args:
        x1: [n, channels, height, width] images, both sides divisible by 2^(levels - 1).
        x2: [n', channels, height, width], ``x1`` by default.
        levels: number of neighbourhoods.
        budget: bytes that a block of pairs may take.

    Returns:
        [n, n'], values in (0, 1], in the dtype of the images.

    Raises:
        InputError: if the images are not of one size, their sides not divisible, or there is no level.
        BudgetError: if the budget is too small for one pair of images.

    Cost: O(n n' (height · width)² channels) time; memory under ``budget`` beyond the result.

    Source: Shankar et al. 2020, Neural Kernels Without Tangents, sections 2 and 3.

    Examples:
        >>> x = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        >>> kernel = compositional(x, torch.cat([x, 3 * x]))  # it hangs on directions of neighbourhoods alone
        >>> print(round(float(kernel[0, 1] / kernel[0, 0]), 6))
        1.0
    """
    x2 = x1 if x2 is None else x2
    _check(x1, x2, levels)
    positions = x1.shape[2] * x1.shape[3]
    least = COPIES * positions**2 * x1.element_size()
    if budget < least:
        raise BudgetError(f"budget={budget} is too small for one pair of images of {positions} pixels: give {least}.")
    rows = max(1, min(len(x1), math.isqrt(budget // least)))
    columns = budget // least // rows
    first, second = _variances(x1, levels), _variances(x2, levels)
    kernel = x1.new_empty(len(x1), len(x2))
    for i in range(0, len(x1), rows):
        for j in range(0, len(x2), columns):
            ours, theirs = slice(i, i + rows), slice(j, j + columns)
            block = gaussian_patches(x1[ours], x2[theirs])
            for a, b in zip(first, second, strict=True):
                block = _level(pooled(block), a[ours, None], b[None, theirs])
            kernel[ours, theirs] = block.mean((-4, -3, -2, -1))
    return kernel


def gaussian_patches(x1: Tensor, x2: Tensor) -> Tensor:
    """Return exp(c - 1) between the neighbourhoods of all pixels, [n, n', height, width, height', width']."""
    size = x1.shape[-2:]
    cosines = _directions(x1) @ _directions(x2).mT  # one product for all pairs of all positions
    return cosines.sub_(1).exp_().view(len(x1), *size, len(x2), *size).permute(0, 3, 1, 2, 4, 5)


def _directions(x: Tensor) -> Tensor:
    """Return neighbourhoods as unit vectors, or zero, [n · positions, 9 · channels]."""
    patches = unfold(x, 3, padding=1).mT.flatten(0, 1)
    norms = torch.linalg.vector_norm(patches, dim=-1, keepdim=True)
    return patches / torch.where(norms > 0, norms, 1.0)


def _level(kernel: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return exp(c - 1) of neighbourhoods, given √Σ_δ k(p + δ, p + δ) of both images."""
    return torch.exp(convolved(kernel, FILTER) / (first[..., :, :, None, None] * second[..., None, None, :, :]) - 1)


def _variances(x: Tensor, levels: int) -> list[Tensor]:
    """Return √Σ_δ k(p + δ, p + δ) at each position before every level but the first, a list of [n, height, width]."""
    chunks = [_variances_of(image, levels) for image in x.split(1)]
    return [torch.cat(each) for each in zip(*chunks, strict=True)]


def _variances_of(x: Tensor, levels: int) -> list[Tensor]:
    kernel, found = gaussian_patches(x, x), []
    for _ in range(levels - 1):
        kernel = pooled(kernel)
        found.append(torch.einsum("...hwhw->...hw", convolved(kernel, FILTER)).sqrt()[0])
        kernel = _level(kernel, found[-1][None], found[-1][None])
    return found


def _check(x1: Tensor, x2: Tensor, levels: int) -> None:
    if levels < 1:
        raise InputError(f"levels is {levels}: the kernel has at least one level.")
    for x in (x1, x2):
        if x.ndim != 4 or x.shape[2] % 2 ** (levels - 1) or x.shape[3] % 2 ** (levels - 1):
            raise InputError(
                f"images have the shape {list(x.shape)}: give [n, channels, height, width], sides divisible by "
                f"{2 ** (levels - 1)} for {levels} levels."
            )
    if x1.shape[1:] != x2.shape[1:]:
        raise InputError(f"images of {list(x1.shape[1:])} and {list(x2.shape[1:])} differ: give one size.")
