"""One layer's kernel from its factors, in whichever of three ways takes the fewest multiplications."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from learnscope.kernels.tangent.layers import Factors

Way = Literal["layerwise", "jacobian", "positions"]


def formed(factors: Factors) -> Tensor:
    """Return the Jacobian J = Σ_t X_t ⊗ G_t as [n, k, parameters]."""
    return torch.einsum("ngta,nkgtb->nkgab", factors.inputs, factors.gradients).flatten(2)


def from_jacobians(first: Tensor, second: Tensor, *, trace: bool) -> Tensor:
    """Return J J'ᵀ from [n, k, parameters] and [m, k, parameters]: [n, m, k, k], or [n, m] summed over equal k."""
    n, k, _ = first.shape
    m = len(second)
    if trace:
        return first.flatten(1) @ second.flatten(1).T
    product = first.flatten(0, 1) @ second.flatten(0, 1).T
    return product.reshape(n, k, m, k).transpose(1, 2)


def from_products(first: Factors, second: Factors, *, trace: bool) -> Tensor:
    """Return the kernel of a layer used at one position: Σ_g (X X'ᵀ) ∘ (G G'ᵀ), without forming the Jacobian."""
    kernel: Tensor | None = None
    for g in range(first.inputs.shape[1]):
        inputs = first.inputs[:, g, 0] @ second.inputs[:, g, 0].T
        gradients = from_jacobians(first.gradients[:, :, g, 0], second.gradients[:, :, g, 0], trace=trace)
        part = gradients.mul_(inputs if trace else inputs[:, :, None, None])
        kernel = part if kernel is None else kernel.add_(part)
    assert kernel is not None
    return kernel


def from_positions(first: Factors, second: Factors, *, trace: bool) -> Tensor:
    """Return the kernel of a layer used at many positions: the sum over pairs of them of (X_t · X'_s)(G_t · G'_s)."""
    inputs = torch.einsum("ngta,mgsa->gntms", first.inputs, second.inputs)
    if trace:
        gradients = torch.einsum("nkgtb,mkgsb->gntms", first.gradients, second.gradients)
        return torch.einsum("gntms,gntms->nm", inputs, gradients)
    n, k, groups, positions, _ = first.gradients.shape
    m, others = len(second.inputs), second.inputs.shape[2]
    kernel = first.inputs.new_zeros(n, m, k, k)
    for g in range(groups):  # a scalar at a time, so that no [n, k, t, m, k, s] is held
        for i in range(k):
            left = first.gradients[:, i, g].reshape(n * positions, -1)
            for j in range(k):
                right = second.gradients[:, j, g].reshape(m * others, -1)
                product = (left @ right.T).reshape(n, positions, m, others)
                kernel[:, :, i, j] += (product * inputs[g]).sum((1, 3))
    return kernel


def layer_kernel(first: Factors, second: Factors, way: Way, *, trace: bool) -> Tensor:
    """Return a layer's kernel between two sets of examples: [n, m, k, k], or [n, m] if only the trace is wanted."""
    single = first.inputs.shape[2] == second.inputs.shape[2] == 1
    if way == "jacobian":
        return from_jacobians(formed(first), formed(second), trace=trace)
    return from_products(first, second, trace=trace) if single else from_positions(first, second, trace=trace)


def cheapest(factors: Factors, n: int, m: int, *, trace: bool) -> Way:
    """Return the way that takes the fewest multiplications for n × m examples with factors like these."""
    _, groups, positions, a = factors.inputs.shape
    k, b = factors.gradients.shape[1], factors.gradients.shape[-1]
    pairs = n * m * (k if trace else k * k)
    jacobian = groups * a * b * ((n + m) * k * positions + pairs)
    products = groups * positions**2 * (n * m * (a + 1) + pairs * (b + 1))
    if products <= jacobian:
        return "layerwise" if positions == 1 else "positions"
    return "jacobian"
