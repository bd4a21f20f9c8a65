"""The linear residual network x → (I + A_L) … (I + A₁) x, and its loss against a target map.

The loss is f(A) = ½ ‖(I + A_L) … (I + A₁) − B‖² in Frobenius norm, which is half the expected squared error on inputs
of mean 0 and covariance I with targets B x. Factors are stacked as [..., L, d, d], the first one applied first.

Source: M. Hardt, T. Ma (2017), Identity matters in deep learning, section 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learnscope.networks.deep_linear import factor_gradients, prefix_products, product


def residual_maps(factors: Tensor) -> Tensor:
    """Return I + Aₖ of every factor, [..., L, d, d].

    Examples:
        >>> residual_maps(torch.zeros(1, 2, 2)).tolist()
        [[[1.0, 0.0], [0.0, 1.0]]]
    """
    return factors + torch.eye(factors.shape[-1], dtype=factors.dtype, device=factors.device)


def residual_loss(factors: Tensor, target: Tensor) -> Tensor:
    """Return ½ ‖(I + A_L) … (I + A₁) − B‖² of factors [..., L, d, d] and targets [..., d, d]: [...].

    Cost: L d³ multiplications.

    Examples:
        >>> float(residual_loss(torch.ones(3, 1, 1), torch.tensor([[6.0]])))
        2.0
    """
    return (product(residual_maps(factors).unbind(-3)) - target).square().sum((-2, -1)) / 2


def residual_gradient(factors: Tensor, target: Tensor) -> Tensor:
    """Return the gradient of the loss in each factor, [..., L, d, d].

    It is Pᵀ E Qᵀ with E the error of the product, P the product of the maps after the factor and Q of those before.

    Cost: about 3 L d³ multiplications and three times the memory of the factors.

    Examples:
        >>> residual_gradient(torch.ones(3, 1, 1), torch.tensor([[6.0]])).flatten().tolist()
        [8.0, 8.0, 8.0]
    """
    maps = residual_maps(factors).unbind(-3)
    prefixes = prefix_products(maps)
    return torch.stack(factor_gradients(maps, prefixes[-1] - target, prefixes=prefixes), dim=-3)


def largest_norm(factors: Tensor) -> Tensor:
    """Return max ‖Aₖ‖, the largest spectral norm of the factors [..., L, d, d]: [...].

    Examples:
        >>> float(largest_norm(torch.tensor([[[0.5]], [[-2.0]]])))
        2.0
    """
    return torch.linalg.matrix_norm(factors, ord=2).amax(-1)


def squared_gradient_bound(loss: Tensor, radius: Tensor | float, depth: int) -> Tensor:
    """Return 2 L (1 − τ)^(2 (L − 1)) f, below which ‖∇f‖² cannot be where all ‖Aₖ‖ ≤ τ < 1.

    Each of the L gradients is Pᵀ E Qᵀ, where P and Q are made of L − 1 maps with singular values of at least 1 − τ.
    So inside of the unit ball every critical point is a global minimum with f = 0. At A = 0 the bound is attained.

    Args:
        loss: [...] f.
        radius: τ, a number or [...].
        depth: L.

    Examples:
        >>> float(squared_gradient_bound(torch.tensor(3.0), 0.0, 5))
        30.0
    """
    slack = 1 - torch.as_tensor(radius, dtype=loss.dtype, device=loss.device)
    return 2 * depth * slack ** (2 * (depth - 1)) * loss
