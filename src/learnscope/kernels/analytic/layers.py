"""What each layer of an infinitely wide ReLU network adds to its tangent kernel, on a sphere."""

from __future__ import annotations

import torch
from torch import Tensor

from learnscope.errors import InputError
from learnscope.kernels.analytic.activations import relu_moments
from learnscope.kernels.analytic.sphere import funk_hecke


def layer_kernels(cosine: Tensor, depth: int) -> Tensor:
    """Return the tangent kernels Θ^(1) ... Θ^(depth) of the layers of a fully connected ReLU network: [depth, ...].

    With inputs on the sphere of radius √d, no biases, and the NTK parametrisation with weights of variance 2,

        Θ^(l)(r) = S_{l-1}(r) Π_{l ≤ k < depth} S'_k(r),   S_0 = r,   S_k = s_0(S_{k-1}),   S'_k = s_1(S_{k-1}),

    where r is the cosine of the angle between two inputs, s_1(r) = (π - arccos r)/π and s_0(r) = [√(1 - r²) + r (π -
    arccos r)]/π. Every layer has Θ^(l)(1) = 1. They sum to half the kernel of
    :func:`~learnscope.kernels.infinite_width`, which carries the variance 2 of the read-out's weights.

    At high degrees k the eigenvalues of layers below the read-out are in the proportion of the numbers depth - l of
    ReLUs above them, averaged over even and odd k: each ReLU adds -√(2 (1 - r))/π near r = 1. The read-out has none,
    and its eigenvalues fall faster by k².

    Args:
        cosine: [...] of angles, in [-1, 1].
        depth: number of layers of weights.

    Raises:
        InputError: if the depth is not positive.

    Cost: O(depth) operations a cosine.

    Source: Jacot, Gabriel, Hongler 2018, Theorem 1; Dandi, Jacot 2021, section 3; the law at high degrees follows
        Bietti, Bach 2021, Theorem 1.

    Examples:
        >>> layer_kernels(torch.tensor([1.0, 0.0, -1.0]), 2).tolist()  # r (π - arccos r)/π, and s_0(r)
        [[1.0, 0.0, 0.0], [1.0, 0.318, 0.0]]
    """
    if depth < 1:
        raise InputError(f"the depth is {depth}: a network has at least one layer of weights.")
    one = torch.ones_like(cosine)
    signals, slopes = [cosine], []
    for _ in range(depth - 1):
        value, slope = relu_moments(one, signals[-1], one)
        signals.append(2 * value)
        slopes.append(2 * slope)
    kernels, above = [], one
    for signal, slope in zip(reversed(signals), reversed([*slopes, one]), strict=True):
        above = above * slope
        kernels.append(signal * above)
    return torch.stack(kernels[::-1])


def layer_eigenvalues(dim: int, depth: int, max_degree: int) -> Tensor:
    """Return the eigenvalues of the layers' kernels for harmonics of each degree: [depth, max_degree + 1], float64.

    Args:
        dim: d of the unit sphere, with its uniform measure.
        depth: number of layers of weights.
        max_degree: the highest degree.

    Raises:
        InputError: as :func:`layer_kernels` and :func:`~learnscope.kernels.analytic.sphere.funk_hecke`.

    Examples:
        >>> layer_eigenvalues(3, 1, 2).tolist()  # a linear model has degree 1 only
        [[0.0, 0.333, 0.0]]
    """
    return funk_hecke(lambda cosine: layer_kernels(cosine, depth), dim, max_degree)
