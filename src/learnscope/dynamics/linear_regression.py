"""Least squares by gradient descent and its relatives, and what the spectrum of the design says of it.

The loss is L(w) = ½ ‖X w − y‖², a sum over examples (not a mean), for a design X [n, d]. Time is counted in steps;
what is a learning rate η here is η n for the mean of the squares. Weights that fit are many when d > n: the one
of least norm is X⁺y, and gradient descent from w₀ ends at X⁺y + (1 − X⁺X) w₀, since each of its steps lies in
the span of the rows of X.

Everything is batched: leading dimensions of design, targets, weights and learning rates broadcast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from learnscope.errors import InputError

State = tuple[Tensor, ...]


def gradient_descent(
    design: Tensor, targets: Tensor, initial: Tensor, learning_rate: float | Tensor, steps: Sequence[int]
) -> Tensor:
    """Follow w ← w − η Xᵀ(X w − y) and return the weights after the given numbers of steps.

    Args:
        design: [..., n, d] the design X, any floating dtype, which is kept.
        targets: [..., n] the targets y.
        initial: [..., d] weights before the first step.
        learning_rate: η, a number or [...].
        steps: increasing numbers of steps, 0 being the start.

    Returns:
        [len(steps), ..., d].

    Raises:
        InputError: steps that are none, negative or not increasing.

    Cost: 4 n d multiplications a step for each member of the batch.

    Examples:
        >>> x, y = torch.tensor([[2.0, 0.0]]), torch.tensor([6.0])
        >>> gradient_descent(x, y, torch.tensor([0.0, 5.0]), 0.25, [0, 1]).tolist()
        [[0.0, 5.0], [3.0, 5.0]]
    """
    rate = _per_member(learning_rate, initial)

    def advance(state: State, _: int) -> State:
        return (state[0] - rate * gradient(design, targets, state[0]),)

    return _path((initial,), steps, advance)


def stochastic_gradient_descent(
    design: Tensor,
    targets: Tensor,
    initial: Tensor,
    learning_rate: float | Tensor,
    steps: Sequence[int],
    generator: torch.Generator,
) -> Tensor:
    """Follow w ← w − η xᵢ (xᵢ·w − yᵢ), one example a step, drawn uniformly with replacement.

    All members of a batch see the same sequence of examples. With η about 1 / ‖x‖² this is the randomised method
    of Kaczmarz: on targets that can be fitted, the squared error falls by 1 − λ_min / ‖X‖² a step on average, λ_min
    being the least positive eigenvalue of XᵀX (Strohmer, Vershynin 2009, theorem 2).

    Args:
        design: [..., n, d] the design X, any floating dtype, which is kept.
        targets: [..., n] the targets y.
        initial: [..., d] weights before the first step.
        learning_rate: η, a number or [...].
        steps: increasing numbers of steps, 0 being the start; n steps are one pass over the data on average.
        generator: source of the order of the examples, on the CPU.

    Returns:
        [len(steps), ..., d].

    Raises:
        InputError: steps that are none, negative or not increasing.

    Cost: 2 d multiplications a step for each member of the batch.

    Examples:
        >>> x, y = torch.tensor([[2.0, 0.0]]), torch.tensor([6.0])
        >>> stochastic_gradient_descent(x, y, torch.zeros(2), 0.25, [1], torch.Generator().manual_seed(0)).tolist()
        [[3.0, 0.0]]
    """
    _check_steps(steps)
    rate = _per_member(learning_rate, initial)
    order = torch.randint(design.shape[-2], (steps[-1],), generator=generator).tolist()
    rows, values = design.unbind(-2), targets.unbind(-1)

    def advance(state: State, step: int) -> State:
        row, (weights,) = rows[order[step]], state
        residual = (row * weights).sum(-1, keepdim=True) - values[order[step]][..., None]
        return (weights - rate * residual * row,)

    return _path((initial,), steps, advance)


def sign_descent(
    design: Tensor, targets: Tensor, initial: Tensor, learning_rate: float | Tensor, steps: Sequence[int]
) -> Tensor:
    """Follow w ← w − η sign(Xᵀ(X w − y)): arguments, result and errors as for :func:`gradient_descent`.

    Each step has the length η √d, in general outside of the span of the rows of X.

    Examples:
        >>> x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([5.0])
        >>> sign_descent(x, y, torch.zeros(2), 0.5, [1]).tolist()
        [[0.5, 0.5]]
    """
    rate = _per_member(learning_rate, initial)

    def advance(state: State, _: int) -> State:
        return (state[0] - rate * gradient(design, targets, state[0]).sign(),)

    return _path((initial,), steps, advance)


def adam(
    design: Tensor,
    targets: Tensor,
    initial: Tensor,
    learning_rate: float | Tensor,
    steps: Sequence[int],
    *,
    decay: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
) -> Tensor:
    """Follow Adam on the gradient of all examples: arguments, result and errors as for :func:`gradient_descent`.

    Args:
        design: [..., n, d] the design X.
        targets: [..., n] the targets y.
        initial: [..., d] weights before the first step.
        learning_rate: η, a number or [...].
        steps: increasing numbers of steps, 0 being the start.
        decay: how much of the running means of gradient and squared gradient a step keeps.
        epsilon: what is added to the root of the latter.

    Source: Kingma, Ba 2015, algorithm 1.

    Examples:
        >>> x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([5.0])
        >>> adam(x, y, torch.zeros(2), 0.5, [1]).round(decimals=4).tolist()
        [[0.5, 0.5]]
    """
    rate, (first, second) = _per_member(learning_rate, initial), decay

    def advance(state: State, step: int) -> State:
        weights, mean, square = state
        slope = gradient(design, targets, weights)
        mean = first * mean + (1 - first) * slope
        square = second * square + (1 - second) * slope.square()
        size = (square / (1 - second ** (step + 1))).sqrt() + epsilon
        return weights - rate * mean / (1 - first ** (step + 1)) / size, mean, square

    still = torch.zeros_like(initial)
    return _path((initial, still, still), steps, advance)


def gradient(design: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Return Xᵀ(X w − y), [..., d], of designs [..., n, d], targets [..., n] and weights [..., d].

    Examples:
        >>> gradient(torch.eye(2), torch.tensor([1.0, 2.0]), torch.zeros(2)).tolist()
        [-1.0, -2.0]
    """
    residual = (design @ weights[..., None])[..., 0] - targets
    return (design.mT @ residual[..., None])[..., 0]


def minimum_norm_solution(design: Tensor, targets: Tensor) -> Tensor:
    """Return X⁺y, the shortest of all weights that minimise ‖X w − y‖: [..., n, d] and [..., n] → [..., d].

    Cost: a singular value decomposition of the design.

    Examples:
        >>> minimum_norm_solution(torch.tensor([[3.0, 4.0]]), torch.tensor([5.0])).tolist()
        [0.6, 0.8]
    """
    return (torch.linalg.pinv(design) @ targets[..., None])[..., 0]


def row_space_part(design: Tensor, weights: Tensor) -> Tensor:
    """Return X⁺X w, the projection of weights [..., d] onto the span of the rows of X [..., n, d].

    Cost: a singular value decomposition of the design.

    Examples:
        >>> row_space_part(torch.tensor([[2.0, 0.0]]), torch.tensor([3.0, 4.0])).tolist()
        [3.0, 0.0]
    """
    return (torch.linalg.pinv(design) @ (design @ weights[..., None]))[..., 0]


def contraction_factor(eigenvalues: Tensor, learning_rate: float | Tensor) -> Tensor:
    """Return max |1 − η λ|, by which gradient descent shrinks the error w − w* in the end, a step.

    It is below 1 if and only if 0 < η < 2 / λ_max; at η = 1 / λ_max it is 1 − 1/κ, κ = λ_max / λ_min.

    Args:
        eigenvalues: [..., r] positive eigenvalues of XᵀX; the others belong to directions that never move.
        learning_rate: η, a number or [...].

    Examples:
        >>> spectrum = torch.tensor([1.0, 4.0])
        >>> contraction_factor(spectrum, torch.tensor([0.25, 0.5, 0.6])).round(decimals=4).tolist()
        [0.75, 1.0, 1.4]
    """
    return (1 - _per_member(learning_rate, eigenvalues) * eigenvalues).abs().amax(-1)


def mean_square_error(eigenvalues: Tensor, energy: Tensor, learning_rate: float | Tensor, steps: Tensor) -> Tensor:
    """Return ‖w_t − w*‖² of gradient descent in closed form: Σ eᵢ (1 − η λᵢ)^(2t).

    Args:
        eigenvalues: [..., r] eigenvalues λᵢ of XᵀX.
        energy: [..., r] squared components eᵢ of w₀ − w* along the eigenvectors; or the masses of a law of
            eigenvalues, which gives the mean over isotropic w₀ − w*.
        learning_rate: η, a number or [...].
        steps: [T] numbers of steps t, which need not be whole as long as η λ ≤ 1.

    Returns:
        [..., T].

    Examples:
        >>> mean_square_error(torch.tensor([1.0, 2.0]), torch.ones(2), 0.25, torch.tensor([0.0, 1.0])).tolist()
        [2.0, 0.8125]
    """
    shrinkage = (1 - _per_member(learning_rate, eigenvalues) * eigenvalues).abs()
    return (energy[..., None, :] * shrinkage[..., None, :] ** (2 * steps[:, None])).sum(-1)


def steps_to_shrink(eigenvalues: Tensor, energy: Tensor, factor: float, longest: float = 1e12) -> Tensor:
    """Return after how many steps at η = 1 / λ_max the error ‖w_t − w*‖ is ``factor`` times the initial one.

    For a small factor that is about log(1 / factor) / −log(1 − 1/κ), or κ log(1 / factor) when κ is large, less what
    the error gains from the slowest directions holding only a part of it at the start.

    Args:
        eigenvalues: [..., r] positive eigenvalues of XᵀX.
        energy: [..., r] as for :func:`mean_square_error`.
        factor: between 0 and 1.
        longest: where the search ends, in steps.

    Returns:
        [...] float64, to 12 digits; ``longest`` where it takes longer than that.

    Raises:
        InputError: a factor that is not between 0 and 1.

    Cost: 64 evaluations of the error.

    Examples:
        >>> spectrum = torch.tensor([1.0, 2.0], dtype=torch.float64)
        >>> round(float(steps_to_shrink(spectrum, torch.tensor([1.0, 0.0]), 2.0**-10)), 6)
        10.0
    """
    if not 0 < factor < 1:
        raise InputError(f"factor is {factor:g}, but the error can only shrink to a share between 0 and 1 of itself.")
    relative = (eigenvalues / eigenvalues.amax(-1, keepdim=True)).double()
    energy = energy.double().expand_as(relative)
    target = factor**2 * energy.sum(-1)
    low = torch.zeros(relative.shape[:-1], dtype=torch.float64, device=relative.device)
    high = torch.full_like(low, math.log1p(longest))
    for _ in range(64):
        middle = (low + high) / 2
        error = (energy * (1 - relative) ** (2 * torch.expm1(middle)[..., None])).sum(-1)
        low, high = torch.where(error > target, middle, low), torch.where(error > target, high, middle)
    return torch.expm1(high)


def _path(state: State, steps: Sequence[int], advance: Callable[[State, int], State]) -> Tensor:
    """Return the first part of the state after each of the numbers of steps."""
    _check_steps(steps)
    kept, done = [], 0
    for step in steps:
        for number in range(done, step):
            state = advance(state, number)
        done = step
        kept.append(state[0])
    return torch.stack(torch.broadcast_tensors(*kept))


def _per_member(learning_rate: float | Tensor, like: Tensor) -> Tensor:
    """Return learning rates [...] as [..., 1], to go with vectors."""
    return torch.as_tensor(learning_rate, dtype=like.dtype, device=like.device)[..., None]


def _check_steps(steps: Sequence[int]) -> None:
    if not steps or steps[0] < 0 or any(b <= a for a, b in pairwise(steps)):
        raise InputError(f"steps are {list(steps)}, but one or more increasing numbers from 0 on are needed.")
