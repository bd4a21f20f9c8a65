"""Gradient descent on stacks of independent deep linear networks.

The networks of a stack have the same shape and run at once; learning rates, penalties, targets and initial weights
differ by member. The loss of a member is Σ_ij w_ij (A_ij - T_ij)² + λ Σ_l ‖W_l‖² with A = W_N ... W₁, the gradients are
written out, and members that are finished leave, so that the others go on faster. A step of plain descent is the time
η of gradient flow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from learnscope.dynamics.stack import Block, Descent, Observer, SquaredError, Stack
from learnscope.networks.deep_linear import product

__all__ = ["Descent", "GroupRMSprop", "SquaredError", "descend", "descend_on_entries", "log_spaced_steps"]

DRAWN_AT_ONCE = 1000  # entries for each member, so that drawing them costs little beside the steps


class GroupRMSprop:
    """RMSprop with one second moment for all the weights of a network, so that a step keeps the gradient's direction.

    v ← β v + (1 - β) Σ_l ‖g_l‖², and the learning rate is divided by √(v / (1 - βᵗ)) + ε.

    Source: Arora, Cohen, Hu, Luo 2019, appendix D.2, and the code published with it.

    Args:
        decay: β.
        epsilon: ε.
    """

    def __init__(self, decay: float = 0.99, epsilon: float = 1e-4) -> None:
        self.decay, self.epsilon = decay, epsilon
        self._moment: Tensor | None = None
        self._steps = 0

    def gain(self, gradients: Sequence[Tensor]) -> Tensor:
        """Take up one step's gradients; return by how much [members] the learning rate is multiplied."""
        rows = [gradient.flatten(-2) for gradient in gradients]
        fresh = torch.stack([torch.linalg.vecdot(row, row) for row in rows]).sum(0).mul_(1 - self.decay)
        self._moment = fresh if self._moment is None else fresh.add_(self._moment, alpha=self.decay)
        self._steps += 1
        return (self._moment / (1 - self.decay**self._steps)).sqrt_().add_(self.epsilon).reciprocal_()

    def keep(self, places: Tensor) -> None:
        """Forget all members but those at these places."""
        if self._moment is not None:
            self._moment = self._moment[places]


def log_spaced_steps(last: int, per_decade: int = 8) -> list[int]:
    """Return step 0 and steps from 1 to ``last``, ``per_decade`` or a few more a decade, fewer where they coincide.

    Examples:
        >>> log_spaced_steps(100, 3)
        [0, 1, 2, 5, 10, 22, 46, 100]
    """
    if last < 1:
        return [0]
    spaces = max(1, math.ceil(math.log10(last) * per_decade))
    return sorted({0, *(round(last ** (k / spaces)) for k in range(spaces + 1))})


def descend(
    factors: Sequence[Tensor],
    loss: SquaredError,
    learning_rate: float | Tensor,
    *,
    n_steps: int,
    penalty: float | Tensor = 0.0,
    tolerance: float | None = None,
    rule: GroupRMSprop | None = None,
    observers: Mapping[str, Observer] | None = None,
    observed_steps: Sequence[int] = (),
) -> Descent:
    """Run W_l ← W_l - η (∂L/∂W_l + 2 λ W_l) on all factors at once, for every member of a stack.

    A member leaves once its loss, without the penalty, is at most the tolerance or no longer finite.

    Args:
        factors: initial (W₁, ..., W_N), [members, d_l, d_{l-1}], any floating dtype; not changed.
        loss: of the product.
        learning_rate: η, one number or [members].
        n_steps: most steps that are taken.
        penalty: λ, one number or [members].
        tolerance: of the loss; without one, every member takes all steps.
        rule: a fresh one that adapts the learning rate; plain gradient descent without.
        observers: by name, functions of the factors of all members that return [members, ...].
        observed_steps: when they are called, such as :func:`log_spaced_steps`.

    Raises:
        InputError: the factors have no stack dimension, or an argument has not one number for each member.

    Cost: 3N - 3 products of matrices for a step and member; memory of about twice the factors, and the
        gradients and products of a block of members that fits into the cache.

    Examples:
        Two scalar networks w₂ w₁ with target 1, the second of which stands still:

        >>> start = [torch.full((2, 1, 1), 0.5), torch.full((2, 1, 1), 0.5)]
        >>> loss = SquaredError(torch.ones(1, 1), torch.full((1, 1), 0.5))
        >>> end = descend(start, loss, torch.tensor([0.1, 0.0]), n_steps=200)
        >>> product(end.factors).flatten().tolist()
        [1.0, 0.25]
    """
    stack = Stack(factors, loss, learning_rate, penalty, rule)

    def step(block: Block) -> None:
        value, gradient = block.loss.of_difference(block.chain.difference(block.loss.target))
        if tolerance is None or block.release(value, tolerance) is None:
            block.move(block.chain.gradients(gradient))

    steps, observed = stack.watch(step, n_steps, observers or {}, observed_steps)
    if tolerance is not None:
        for block in stack.blocks:
            block.release(block.loss.value(product(block.factors)), tolerance)
    return stack.outcome(steps, observed)


def descend_on_entries(
    factors: Sequence[Tensor],
    loss: SquaredError,
    learning_rate: float | Tensor,
    generator: torch.Generator,
    *,
    n_steps: int,
    penalty: float | Tensor = 0.0,
    observers: Mapping[str, Observer] | None = None,
    observed_steps: Sequence[int] = (),
) -> Descent:
    """Run stochastic gradient descent with one random entry of the matrix a step, drawn for each member by itself.

    Entry (i, j) is drawn with probability w_ij / Σw, and a step descends (Σw) (A_ij - T_ij)² + λ Σ_l ‖W_l‖², whose mean
    is the loss of :func:`descend`. The gradient of A_ij is an outer product in every layer, so a step needs products of
    matrices with vectors only.

    Args:
        factors: as for :func:`descend`, as are the result and the arguments not described here.
        loss: of the product; every member needs an entry of positive weight.
        learning_rate: η, one number or [members].
        generator: source of the entries, on the device of the factors.
        n_steps: steps that every member takes.
        penalty: λ, one number or [members].
        observers: by name, functions of the factors.
        observed_steps: when they are called.

    Raises:
        InputError: the factors have no stack dimension, or an argument has not one number for each member.

    Cost: O(Σ_l d_l d_{l-1}) time for a step and member.

    Examples:
        A single entry leaves nothing to chance:

        >>> start, loss = [torch.full((1, 1, 1), 0.5)], SquaredError(torch.ones(1, 1), torch.full((1, 1), 0.5))
        >>> end = descend_on_entries(start, loss, 0.1, torch.Generator().manual_seed(0), n_steps=2)
        >>> float(end.factors[0])  # 1 - 0.5 · 0.9²
        0.595
    """
    stack = Stack(factors, loss, learning_rate, penalty, at_once=True)
    entries = _entries(stack.blocks[0], generator)

    def step(block: Block) -> None:
        block.move(_entry_gradients(block.factors, *next(entries)))

    return stack.outcome(*stack.watch(step, n_steps, observers or {}, observed_steps))


def _entries(block: Block, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Yield for every step the unit vectors of a random row and column, the target there, and the total weight."""
    rows, columns = block.factors[-1].shape[-2], block.factors[0].shape[-1]
    shape = (len(block.members), rows, columns)
    weight, target = (matrix.expand(shape).flatten(1) for matrix in (block.loss.weight, block.loss.target))
    total = weight.sum(-1)[:, None, None]
    row_vectors = torch.eye(rows, dtype=target.dtype, device=target.device)
    column_vectors = torch.eye(columns, dtype=target.dtype, device=target.device)
    while True:
        drawn = torch.multinomial(weight, DRAWN_AT_ONCE, replacement=True, generator=generator)
        goals = target.gather(1, drawn)
        for entry, goal in zip(drawn.T, goals.T, strict=True):
            row, column = row_vectors[entry // columns], column_vectors[entry % columns]
            yield row[:, None, :], column[:, :, None], goal[:, None, None], total


def _entry_gradients(factors: list[Tensor], row: Tensor, column: Tensor, goal: Tensor, total: Tensor) -> list[Tensor]:
    """Return the gradients of total · (row · A · column - goal)² for stacks of unit vectors, as a row and a column."""
    forward = [column]
    for factor in factors:
        forward.append(factor @ forward[-1])
    backward = 2 * total * (row @ forward[-1] - goal) * row
    gradients: list[Tensor] = []
    for factor, inner in zip(reversed(factors), reversed(forward[:-1]), strict=True):
        gradients.append(backward.mT @ inner.mT)
        backward = backward @ factor
    return gradients[::-1]
