"""Kernels of fully connected networks of infinite width."""

from __future__ import annotations

from torch import Tensor

from learnscope.errors import InputError
from learnscope.kernels.analytic.activations import Activation, InfiniteWidthKernels, moments


def infinite_width(
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    depth: int,
    activation: Activation = "relu",
    weight_variance: float = 2.0,
    bias_variance: float = 0.0,
) -> InfiniteWidthKernels:
    """Return the kernels of an infinitely wide fully connected network.

    The network has ``depth`` layers of weights, z_{l+1} = √(σ_w²/n_l) W_l σ(z_l) + σ_b b_l (the NTK parametrisation,
    with no activation on the inputs and all weights and biases N(0, 1) and trained), and a scalar output. With
    Σ_1(x, x') = σ_w² x·x'/d + σ_b² and Θ_1 = Σ_1,

        Σ_{l+1} = σ_w² E[σ(u)σ(v)] + σ_b²,   Θ_{l+1} = Σ_{l+1} + σ_w² E[σ'(u)σ'(v)] Θ_l,   (u, v) ~ N(0, Σ_l).

    Args:
        x1: [n, ...] inputs; all but the first dimension are flattened.
        x2: [n', ...] inputs, ``x1`` by default.
        depth: number of layers of weights; 1 is a linear model.
        activation: "relu", "erf" or "linear".
        weight_variance: σ_w²; 2 keeps the size of ReLU networks (He et al. 2015).
        bias_variance: σ_b².

    Returns:
        The kernels [n, n'], in the dtype of the inputs; use float64 where they are inverted.

    Raises:
        InputError: if the inputs differ in size, the depth is not positive, or the activation is not known.

    Cost: O(n n' (d + depth)) time, a few [n, n'] matrices of memory.

    Source: Jacot, Gabriel, Hongler 2018, Proposition 1 and Theorem 1; Lee et al. 2018, equation 5.

    Examples:
        >>> import torch
        >>> x = torch.eye(2, dtype=torch.float64)
        >>> kernels = infinite_width(x, depth=2)  # at right angles: Σ = √(1·1)/π · 1, Θ = Σ + 2 · 1/4 · 0
        >>> print(f"{float(kernels.nngp[0, 1]):.4f} {float(kernels.tangent[0, 0]):.4f}")
        0.3183 2.0000
    """
    if depth < 1:
        raise InputError(f"depth is {depth}: a network has at least one layer of weights.")
    x1 = x1.flatten(1)
    x2 = x1 if x2 is None else x2.flatten(1)
    if x1.shape[1] != x2.shape[1]:
        raise InputError(f"x1 has {x1.shape[1]} values an example and x2 has {x2.shape[1]}: give both the same inputs.")
    expected = moments(activation)
    scale = weight_variance / x1.shape[1]
    cross = scale * x1 @ x2.T + bias_variance
    first = (scale * x1.square().sum(1) + bias_variance)[:, None]
    second = (scale * x2.square().sum(1) + bias_variance)[None, :]
    tangent = cross.clone()
    for _ in range(depth - 1):
        value, slope = expected(first, cross, second)
        first, second = (weight_variance * expected(v, v, v)[0] + bias_variance for v in (first, second))
        cross = weight_variance * value + bias_variance
        tangent = cross + weight_variance * slope * tangent
    return InfiniteWidthKernels(cross, tangent)
