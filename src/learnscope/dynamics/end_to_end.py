"""The flow of the product A = W_N ... W_1 of a deep linear network: directly, and where it closes on few matrices.

Every factor follows its own gradient, dW_j/dt = -∂L/∂W_j for a loss L(A), in the time of that flow, without a
learning rate. Balanced factors, W_{j+1}ᵀ W_{j+1} = W_j W_jᵀ, stay balanced, and then A alone says how A moves
(Arora, Cohen, Hazan 2018). With two factors, A and the Gram matrices of both layers say it from any weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Unpack

import torch
from torch import Tensor

from learnscope.dynamics.gradient_flow import Tolerances, Trajectory, integrate
from learnscope.errors import InputError
from learnscope.networks.deep_linear import factor_gradients, product

Gradient = Callable[[Tensor], Tensor]


def preconditioned_gradient(matrix: Tensor, gradient: Tensor, depth: int) -> Tensor:
    """Return ψ_A(G) = Σ_{j=1}^N (A Aᵀ)^((N-j)/N) G (Aᵀ A)^((j-1)/N), so that dA/dt = -ψ_A(∇L(A)).

    With A = U S Vᵀ it multiplies the entry (r, c) of Uᵀ G V by Σ_j σ_r^(2(N-j)/N) σ_c^(2(j-1)/N). On the diagonal
    this is N σ_r^(2-2/N), so directions in which A is large already are amplified. N = 1 gives G itself.

    Args:
        matrix: [..., outputs, inputs] the product A, any floating dtype, which the result keeps.
        gradient: [..., outputs, inputs] the gradient G of the loss with respect to A.
        depth: the number of factors N, at least 1.

    Returns:
        [..., outputs, inputs]; NaN where A is not finite.

    Raises:
        InputError: the depth is not positive.

    Cost: one singular value decomposition, O((outputs + inputs)³) time and O((outputs + inputs)²) memory.

    Source: Arora, Cohen, Hazan 2018, Theorem 1.

    Examples:
        Two factors on the diagonal, 2 σ G:

        >>> A = torch.diag(torch.tensor([3.0, 0.5]))
        >>> preconditioned_gradient(A, torch.eye(2), depth=2).diagonal().tolist()
        [6.0, 1.0]
    """
    _check_depth(depth)
    if depth == 1:
        return gradient
    finite = torch.isfinite(matrix).all(dim=(-2, -1), keepdim=True)
    U, s, Vh = torch.linalg.svd(torch.where(finite, matrix, 0.0))
    rows, columns = _padded(s, matrix.shape[-2]), _padded(s, matrix.shape[-1])
    exponents = [(2 * (depth - j) / depth, 2 * (j - 1) / depth) for j in range(1, depth + 1)]
    gain = sum(
        (rows[..., :, None] ** left * columns[..., None, :] ** right for left, right in exponents), rows.new_zeros(())
    )
    return torch.where(finite, U @ (gain * (U.mT @ gradient @ Vh.mT)) @ Vh, torch.nan)


def singular_value_velocity(matrix: Tensor, gradient: Tensor, depth: int) -> Tensor:
    """Return dσ_r/dt = -N σ_r^(2-2/N) u_rᵀ G v_r for each singular value σ_r of A, largest first.

    Args:
        matrix: [..., outputs, inputs] the product A with distinct singular values, any floating dtype.
        gradient: [..., outputs, inputs] the gradient G of the loss with respect to A.
        depth: the number of factors N, at least 1.

    Returns:
        [..., min(outputs, inputs)].

    Raises:
        InputError: the depth is not positive.

    Cost: one thin singular value decomposition.

    Source: Arora, Cohen, Hu, Luo 2019, Theorem 3.

    Examples:
        >>> A = torch.diag(torch.tensor([4.0, 1.0]))
        >>> singular_value_velocity(A, -torch.eye(2), depth=2).tolist()
        [8.0, 2.0]
    """
    _check_depth(depth)
    U, s, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return -depth * s ** (2 - 2 / depth) * torch.einsum("...ir,...ij,...rj->...r", U, gradient, Vh)


def asymmetry_of_one_output(row: Tensor, target: Tensor, covariance: Tensor, depth: int) -> Tensor:
    """Return J - Jᵀ of the field F(A) = ψ_A((A - Y) C) for one output; zero where F may be a gradient.

    With columns w = Aᵀ and g = C (w - Yᵀ),

        J - Jᵀ = |w|^(-2/N) ((N - 1) (w wᵀ C - C w wᵀ) - ((N - 1) (N - 2) / N) (g wᵀ - w gᵀ)).

    It vanishes for N = 1, and for N = 2 if C is a multiple of 1; at C = 1, F is the gradient of (2/3) |w|³ - |w| w·y.

    Args:
        row: [..., 1, inputs] the product A, not zero.
        target: [..., 1, inputs] Y, the minimum of the loss ½ (A - Y) C (A - Y)ᵀ.
        covariance: [..., inputs, inputs] C, symmetric.
        depth: the number of factors N, at least 1.

    Returns:
        [..., inputs, inputs].

    Source: differentiation of Arora, Cohen, Hazan 2018, Theorem 1, for one output.

    Examples:
        >>> row, target = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])
        >>> asymmetry_of_one_output(row, target, torch.eye(2), depth=2).abs().max().item()
        0.0
        >>> asymmetry_of_one_output(row, target, torch.eye(2), depth=3).tolist()
        [[0.0, -2.0], [2.0, 0.0]]
    """
    _check_depth(depth)
    w, g = row.mT, covariance @ (row - target).mT
    curvature, pull = w @ w.mT @ covariance, g @ w.mT
    total = (depth - 1) * (curvature - curvature.mT) - (depth - 1) * (depth - 2) / depth * (pull - pull.mT)
    return torch.linalg.matrix_norm(w, keepdim=True) ** (-2 / depth) * total


def end_to_end_flow(
    gradient: Gradient,
    initial: Tensor,
    depth: int,
    times: Tensor | Sequence[float],
    **tolerances: Unpack[Tolerances],
) -> Trajectory:
    """Integrate dA/dt = -ψ_A(∇L(A)) from the product of balanced factors.

    For N > 1 neither the rank of A nor the sign of its determinant, if it is square, changes in finite time: from
    the wrong side the flow ends at a saddle.

    Args:
        gradient: maps A [..., outputs, inputs] to ∇L(A) of the same shape.
        initial: [..., outputs, inputs] the product at time 0. Any matrix is a product of balanced factors if no layer
            is narrower than its rank. A = 0 is a fixed point for two factors and more.
        depth: the number of factors N, at least 1.
        times: as for :func:`~learnscope.dynamics.gradient_flow.integrate`, which also gives the result.
        tolerances: passed on to it.

    Cost: six times :func:`preconditioned_gradient` and the gradient for a step, whatever the depth and the widths.
        While a singular value goes to zero the field is not smooth and steps become short.

    Source: Arora, Cohen, Hazan 2018, Theorem 1.

    Examples:
        >>> flow = end_to_end_flow(lambda A: A - 2.0, torch.full((1, 1), 0.1, dtype=torch.float64), 2, [0.5, 1.0])
        >>> flow.states.flatten().tolist()
        [0.56000, 1.48368]
    """

    def field(matrix: Tensor) -> Tensor:
        return -preconditioned_gradient(matrix, gradient(matrix), depth)

    return integrate(field, initial, times, state_dims=2, **tolerances)


def factor_flow(
    gradient: Gradient, factors: Sequence[Tensor], times: Tensor | Sequence[float], **tolerances: Unpack[Tolerances]
) -> tuple[list[Tensor], Trajectory]:
    """Integrate dW_j/dt = -∂L(W_N ... W_1)/∂W_j, from any factors: the slow twin of the closed flows.

    Args:
        gradient: maps A [..., outputs, inputs] to ∇L(A) of the same shape.
        factors: (W_1, ..., W_N) at time 0, [..., d_j, d_{j-1}] with the same leading dimensions.
        times: as for :func:`~learnscope.dynamics.gradient_flow.integrate`.
        tolerances: passed on to it; they refer to the norm of all factors together.

    Returns:
        The factors at the times, [T, ..., d_j, d_{j-1}], and the trajectory of all their entries in one row.

    Cost: about 18 N matrix products a step.

    Examples:
        >>> W = [torch.ones(1, 1, dtype=torch.float64)] * 2
        >>> (first, second), flow = factor_flow(lambda A: A, W, [1.5])  # dw/dt = -w³
        >>> round(float(first), 6), bool(flow.converged)
        (0.5, True)
    """
    shapes = [factor.shape[-2:] for factor in factors]

    def split(row: Tensor) -> list[Tensor]:
        parts = row.split([shape.numel() for shape in shapes], dim=-1)
        return [part.unflatten(-1, shape) for part, shape in zip(parts, shapes, strict=True)]

    def joined(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([part.flatten(-2) for part in parts], dim=-1)

    def field(row: Tensor) -> Tensor:
        parts = split(row)
        return -joined(factor_gradients(parts, gradient(product(parts))))

    flow = integrate(field, joined(factors), times, **tolerances)
    return split(flow.states), flow


def two_layer_flow(
    gradient: Gradient, gram: Tensor, inputs: int, times: Tensor | Sequence[float], **tolerances: Unpack[Tolerances]
) -> Trajectory:
    """Integrate the flow of a two-layer network of any width from any weights, closed on one Gram matrix.

    Stack Z = (W_1ᵀ; W_2), with a row for each input and each output. Then dZ/dt = -H Z with H = (0, Gᵀ; G, 0), so
    Q = Z Zᵀ follows dQ/dt = -(H Q + Q H), in which the width does not occur. The lower left block of Q is A = W_2 W_1,
    the other two are W_1ᵀ W_1 and W_2 W_2ᵀ. Q = σ² 1 is the limit of independent weights of infinite width whose
    output starts at zero.

    Args:
        gradient: maps A [..., outputs, inputs] to ∇L(A) of the same shape.
        gram: [..., inputs + outputs, inputs + outputs] Q at time 0, symmetric and positive semidefinite.
        inputs: the number of inputs.
        times: as for :func:`~learnscope.dynamics.gradient_flow.integrate`, which also gives the result.
        tolerances: passed on to it.

    Returns:
        The trajectory of Q; the product is ``states[..., inputs:, :inputs]``.

    Cost: two products of matrices of size inputs + outputs for an evaluation, whatever the width. For a hidden layer
        narrower than inputs and outputs, rounding errors leave the rank of Q: use :func:`factor_flow`.

    Source: the chain rule.

    Examples:
        Balanced weights, 2 a (1 - a):

        >>> start = torch.full((2, 2), 0.5, dtype=torch.float64)
        >>> flow = two_layer_flow(lambda A: A - 1.0, start, 1, [1.0])
        >>> expected = two_layer_mode(torch.tensor(0.5), torch.tensor(1.0), torch.tensor(1.0))
        >>> round(float(flow.states[0, 1, 0] - expected), 6)
        0.0
    """

    def field(gram: Tensor) -> Tensor:
        slope = gradient(gram[..., inputs:, :inputs])
        top, bottom = slope.mT @ gram[..., inputs:, :], slope @ gram[..., :inputs, :]
        half = torch.cat([top, bottom], dim=-2)
        return -(half + half.mT)

    return integrate(field, gram, times, state_dims=2, **tolerances)


def two_layer_mode(initial: Tensor, target: Tensor, times: Tensor) -> Tensor:
    """Return the strength a(t) of one mode of a balanced two-layer network on white inputs.

    For the loss ½‖A - Y‖² and A aligned with the singular vectors of Y, each mode follows da/dt = 2 a (s - a), so
    a(t) = s / (1 + (s / a₀ - 1) exp(-2 s t)): a logistic curve that waits for log(s / a₀ - 1) / (2 s).

    Args:
        initial: [...] strength a₀ > 0 at time 0.
        target: [...] singular value s > 0 of Y.
        times: [...] in the time of the flow of the factors; all three broadcast.

    Source: Saxe, McClelland, Ganguli 2014, with τ = 1.

    Examples:
        >>> two_layer_mode(torch.tensor(0.5), torch.tensor(1.0), torch.tensor([0.0, 100.0])).tolist()
        [0.5, 1.0]
    """
    return target / (1 + (target / initial - 1) * torch.exp(-2 * target * times))


def _padded(values: Tensor, size: int) -> Tensor:
    return torch.nn.functional.pad(values, (0, size - values.shape[-1]))


def _check_depth(depth: int) -> None:
    if depth < 1:
        raise InputError(f"depth is {depth}; give the number of factors, 1 or more.")
