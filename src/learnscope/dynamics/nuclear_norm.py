"""Matrix completion by the nuclear norm ‖A‖_* = Σ_i s_i(A): the convex problem that two layers with L2 solve.

Since min ‖W₁‖² + ‖W₂‖² over W₂ W₁ = A is 2 ‖A‖_* (Srebro, Rennie, Jaakkola 2004), a penalty λ on the weights of two
wide enough layers is a penalty 2 λ ‖A‖_* on their product.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from learnscope.errors import InputError

STEP = 4.0  # of the multipliers, in units of the bound over ‖T‖₂: few steps with and without a penalty, by trial
CHECKED_EVERY = 25  # steps, since a check costs about as much as a step


@dataclass(frozen=True, slots=True, eq=False)
class ConvexSolution:
    """A matrix, and a proof of how good it is.

    Attributes:
        matrix: [..., rows, columns]; without a penalty it agrees with the target on the observed entries.
        objective: [...] what it achieves.
        gap: [...] at most so much less can be achieved: objective minus that of a feasible dual point.
        converged: [...] whether the gap is within the tolerance.
    """

    matrix: Tensor
    objective: Tensor
    gap: Tensor
    converged: Tensor


def soft_threshold(matrix: Tensor, threshold: float | Tensor) -> Tensor:
    """Return argmin_X ½‖X - A‖² + t ‖X‖_*: A with its singular values lowered by t, those below t set to zero.

    Args:
        matrix: [..., rows, columns] the matrix A.
        threshold: t ≥ 0, one number or [...].

    Source: Cai, Candès, Shen 2010, Theorem 2.1.

    Examples:
        >>> soft_threshold(torch.diag(torch.tensor([3.0, 0.5])), 1.0).diagonal().tolist()
        [2.0, 0.0]
    """
    U, s, Vh = torch.linalg.svd(matrix, full_matrices=False)
    lowered = (s - torch.as_tensor(threshold, dtype=s.dtype, device=s.device)[..., None]).clamp(min=0)
    return (U * lowered[..., None, :]) @ Vh


def complete(
    target: Tensor, observed: Tensor, penalty: float = 0.0, *, tolerance: float = 1e-6, max_steps: int = 20_000
) -> ConvexSolution:
    """Minimise Σ_observed (A_ij - T_ij)² + μ ‖A‖_*, or ‖A‖_* among the A that agree with T where observed if μ = 0.

    By the alternating direction method of multipliers with step ρ: a soft threshold of the singular values, then a
    closed form for each entry. The multipliers, scaled until their spectral norm is at most μ (or 1), are a feasible
    point Y of the dual problem, max <T, Y> - Σ Y_ij² / 4 (without the squares if μ = 0), which gives the gap.

    Args:
        target: [..., rows, columns] floating; entries that are not observed are ignored.
        observed: [..., rows, columns] booleans.
        penalty: μ ≥ 0; the limit μ → 0 is the problem with constraints.
        tolerance: of the gap, as a share of the objective.
        max_steps: after which the best so far is returned, not converged.

    Returns:
        The solution, in the dtype of the target.

    Raises:
        InputError: the penalty is negative.

    Cost: a singular value decomposition, O(rows · columns · min(rows, columns)), a step; some hundred steps with a
        penalty, up to some thousand without.

    Source: Boyd et al. 2011, sections 3 and 5; Mazumder, Hastie, Tibshirani 2010 for the problem with a penalty.

    Examples:
        The entry that is not seen makes the rank 1, and the nuclear norm 2:

        >>> seen = torch.tensor([[True, True], [True, False]])
        >>> solution = complete(torch.ones(2, 2, dtype=torch.float64), seen)
        >>> round(float(solution.matrix[1, 1]), 3), bool(solution.converged)
        (1.0, True)
    """
    if penalty < 0:
        raise InputError(f"penalty is {penalty:g}; give 0 or a positive number.")
    known = torch.where(observed, target, 0.0)
    bound = penalty or 1.0
    size = torch.linalg.matrix_norm(known, 2)[..., None, None]
    rho = STEP * bound / torch.where(size > 0, size, 1.0)
    fitted, scaled = known, torch.zeros_like(known)
    solution = _certified(fitted, known, observed, scaled, penalty, tolerance)
    for step in range(1, max_steps + 1):
        X = soft_threshold(fitted - scaled, (bound / rho)[..., 0, 0])
        shifted = X + scaled
        wanted = (2 * known + rho * shifted) / (2 + rho) if penalty else known
        fitted = torch.where(observed, wanted, shifted)
        scaled = shifted - fitted
        if step % CHECKED_EVERY == 0 or step == max_steps:
            solution = _certified(X, known, observed, -rho * scaled, penalty, tolerance)
            if bool(solution.converged.all()):
                break
    return solution


def _certified(
    matrix: Tensor, known: Tensor, observed: Tensor, multipliers: Tensor, penalty: float, tolerance: float
) -> ConvexSolution:
    """Make the matrix and the multipliers feasible, and compare the two objectives."""
    bound = penalty or 1.0
    excess = torch.linalg.matrix_norm(multipliers, 2) / bound
    Y = multipliers / excess.clamp(min=1.0)[..., None, None]
    dual = (known * Y).sum((-2, -1))
    if penalty:
        misfit = torch.where(observed, matrix - known, 0.0).square().sum((-2, -1))
        dual = dual - Y.square().sum((-2, -1)) / 4
    else:
        matrix = torch.where(observed, known, matrix)
        misfit = torch.zeros_like(dual)
    objective = misfit + bound * torch.linalg.matrix_norm(matrix, "nuc")
    gap = objective - dual
    return ConvexSolution(matrix, objective, gap, gap <= tolerance * objective)
