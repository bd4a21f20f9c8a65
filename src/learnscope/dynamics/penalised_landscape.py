"""Critical points of ½ ‖A - T‖² + λ Σ_l ‖W_l‖² over the factors of A = W_L ... W₁, for T with given singular values.

In every mode of T a balanced critical point has either s = 0 or a solution of s = t - 2 λ s^(2/L - 1), so there is one
of every rank. For two layers only the one with all modes that can be positive is a minimum; for three and more layers
s = 0 is a minimum of its mode as well, because the product has no terms of second order in the weights there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import jacrev

from learnscope.dynamics.representation_cost import penalised_singular_values, representation_cost
from learnscope.networks.deep_linear import balanced_factors, product


def point_of_rank(target: Tensor, depth: int, penalty: float, rank: int) -> list[Tensor]:
    """Return the balanced critical point whose first ``rank`` modes are positive and whose others are 0.

    Args:
        target: [r] singular values of the target, decreasing.
        depth: the number of layers L, at least 2.
        penalty: λ ≥ 0, small enough for these modes to exist.
        rank: number of modes, from 0 to r.

    Returns:
        L factors [r, r], diagonal.

    Examples:
        >>> point = point_of_rank(torch.tensor([1.5, 1.0], dtype=torch.float64), depth=3, penalty=0.25, rank=1)
        >>> product(point).tolist()
        [[1.0, 0.0], [0.0, 0.0]]
    """
    kept = penalised_singular_values(target, depth, penalty) * (torch.arange(len(target)) < rank)
    return balanced_factors(kept.diag(), depth)


def least_penalised_loss(target: Tensor, depth: int, penalty: float) -> Tensor:
    """Return the global minimum of ½ ‖A - T‖² + λ Σ_l ‖W_l‖²: mode by mode the lower of its two minima.

    Args:
        target: [..., r] singular values of the target.
        depth: the number of layers L, at least 2.
        penalty: λ ≥ 0.

    Returns:
        [...].

    Source: the least weights of a product, :func:`~learnscope.dynamics.representation_cost.representation_cost`, and
    von Neumann's trace inequality, by which A shares the singular vectors of T.

    Examples:
        >>> float(least_penalised_loss(torch.tensor([1.0, 0.1]), depth=2, penalty=0.25))  # 0.375 + 0.005
        0.38
    """
    s = penalised_singular_values(target, depth, penalty)
    positive = (s - target).square() / 2 + penalty * representation_cost(s[..., None], depth)
    return torch.minimum(positive, target.square() / 2).sum(-1)


def smallest_hessian_eigenvalue(factors: Sequence[Tensor], target: Tensor, penalty: float) -> Tensor:
    """Return the smallest eigenvalue of the Hessian of ½ ‖A - T‖² + λ Σ_l ‖W_l‖² in all weights.

    At the balanced critical point of two layers that lacks the mode t it is 2 λ - t, a strict saddle for t > 2 λ. With
    three layers it is 0, along the rotations of hidden units, however many modes are missing.

    Args:
        factors: (W₁, ..., W_L), matrices.
        target: [outputs, inputs] the matrix T.
        penalty: λ.

    Cost: O(p²) memory and p backward passes for p weights in all.

    Examples:
        >>> values = torch.tensor([1.0, 0.5], dtype=torch.float64)
        >>> saddle = point_of_rank(values, depth=2, penalty=0.1, rank=1)
        >>> float(smallest_hessian_eigenvalue(saddle, values.diag(), penalty=0.1))
        -0.3
    """
    sizes = [factor.numel() for factor in factors]

    def loss(weights: Tensor) -> Tensor:
        parts = [part.view_as(factor) for part, factor in zip(weights.split(sizes), factors, strict=True)]
        return (product(parts) - target).square().sum() / 2 + penalty * weights.square().sum()

    point = torch.cat([factor.flatten() for factor in factors])
    return torch.linalg.eigvalsh(jacrev(jacrev(loss))(point))[0]
