"""What a matrix costs in the weights of a deep linear network: L2 on the layers is a Schatten quasi-norm of A.

min ‖W₁‖² + ... + ‖W_L‖² over W_L ... W₁ = A is R(A; L) = L Σ_i s_i(A)^(2/L), reached by balanced factors (Dai, Karzand,
Srebro 2021, Theorem 1). For L = 2 this is twice the nuclear norm; with growing L it counts the rank.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learnscope.errors import InputError

NEWTON_STEPS = 60  # from the right of a convex function's root: at worst it halves the distance to a double root


def representation_cost(singular_values: Tensor, depth: int) -> Tensor:
    """Return R(A; L) = L Σ_i s_i^(2/L), the least sum of squares of the weights of L layers with product A.

    Args:
        singular_values: [..., r] of A, at least 0.
        depth: the number of layers L, at least 1; no layer is narrower than the rank.

    Returns:
        [...].

    Raises:
        InputError: the depth is not positive.

    Source: Dai, Karzand, Srebro 2021, Theorem 1; Jacot 2023, section 3 for its dependence on L.

    Examples:
        >>> s = torch.tensor([4.0, 1.0, 0.0])
        >>> float(representation_cost(s, 1)), float(representation_cost(s, 2)), float(representation_cost(s, 4))
        (17.0, 10.0, 12.0)
    """
    if depth < 1:
        raise InputError(f"depth is {depth}; give the number of layers, 1 or more.")
    return depth * (singular_values ** (2 / depth)).sum(-1)


def representation_cost_coefficients(singular_values: Tensor) -> Tensor:
    """Return R₀, R₁, R₂ of R(A; L) = L R₀ + R₁ + R₂ / L + O(1 / L²) for growing depth L.

    R₀ is the rank, R₁ = 2 Σ log s_i and R₂ = 2 Σ (log s_i)², over the positive singular values; the next term is
    (4/3) Σ (log s_i)³ / L².

    Args:
        singular_values: [..., r] of A; exactly 0 where the rank ends.

    Returns:
        [..., 3].

    Source: Jacot 2023, section 3.1; R₁ is twice the logarithm of the pseudo-determinant.

    Examples:
        >>> representation_cost_coefficients(torch.tensor([1.0, 1.0, 0.0])).tolist()
        [2.0, 0.0, 0.0]
    """
    positive = singular_values > 0
    logarithms = torch.where(positive, singular_values, 1.0).log()
    rank = positive.sum(-1).to(logarithms.dtype)
    return torch.stack([rank, 2 * logarithms.sum(-1), 2 * logarithms.square().sum(-1)], dim=-1)


def shifted_target(singular_values: Tensor, depth: int, penalty: float) -> Tensor:
    """Return the target whose minimum of ½‖A - T‖² + λ Σ_l ‖W_l‖² has the given singular values, not shrunken ones.

    In each mode the penalised loss is ½ (s - t)² + λ L s^(2/L), stationary at s = t - 2 λ s^(2/L - 1), so t is
    s + 2 λ s^(2/L - 1); modes with s = 0 stay 0.

    Args:
        singular_values: [..., r] of the minimum that is wanted.
        depth: the number of layers L, at least 1.
        penalty: λ.

    Returns:
        [..., r] the singular values of the target. The minimum is a local one if
        1 > 2 λ (1 - 2/L) s^(2/L - 2) for every positive s.

    Examples:
        >>> shifted_target(torch.tensor([1.0, 0.0]), depth=3, penalty=0.25).tolist()
        [1.5, 0.0]
    """
    positive = torch.where(singular_values > 0, singular_values, 1.0)
    return torch.where(singular_values > 0, positive + 2 * penalty * positive ** (2 / depth - 1), 0.0)


def penalised_singular_values(target: Tensor, depth: int, penalty: float) -> Tensor:
    """Return where modes of ½‖A - T‖² + λ Σ_l ‖W_l‖² have a minimum besides 0, the inverse of :func:`shifted_target`.

    Each mode has the loss ½ (s - t)² + λ L s^(2/L), whose largest stationary point solves s = t - 2 λ s^(2/L - 1). For
    L = 2 it is t - 2 λ or 0, and then 0 is no minimum. For L > 2 it exists as long as 2 λ is at most
    max_s (t - s) s^(1 - 2/L), and 0 is a minimum as well.

    Args:
        target: [..., r] singular values t ≥ 0 of the target.
        depth: the number of layers L, at least 2.
        penalty: λ ≥ 0.

    Returns:
        [..., r]; 0 where there is no minimum but 0.

    Raises:
        InputError: the depth is less than 2.

    Source: the stationarity of the reduced loss; Jacot et al. 2022, section 4, for its local minima.

    Examples:
        >>> t = torch.tensor([1.5, 0.5], dtype=torch.float64)
        >>> penalised_singular_values(t, depth=3, penalty=0.25).tolist(), penalised_singular_values(t, 2, 0.1).tolist()
        ([1.0, 0.0], [1.3, 0.3])
    """
    if depth < 2:
        raise InputError(f"depth is {depth}; give the number of layers, 2 or more.")
    if depth == 2:
        return (target - 2 * penalty).clamp(min=0)
    power = 1 - 2 / depth
    turn = target * power / (1 + power)  # where (t - s) s^power is largest
    exists = (target > 0) & ((target - turn) * turn**power >= 2 * penalty)
    s = torch.where(exists, target, 1.0)
    for _ in range(NEWTON_STEPS):
        slope = 1 - 2 * penalty * power * s ** (-power - 1)
        step = (s - target + 2 * penalty * s**-power) / slope
        s = torch.where(exists & (slope > 0), torch.maximum(s - step, turn), s)
    return torch.where(exists, s, 0.0)
