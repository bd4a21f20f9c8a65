"""The order in which gradient descent sees the points."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from learnscope.errors import InputError


@dataclass(frozen=True, slots=True)
class Descent:
    """Gradient descent with Polyak's heavy ball: u ← m u + v and θ ← θ + η u, v being the velocity of the flow.

    Attributes:
        learning_rate: η; without momentum a step is one of Euler's method for the flow, of length η.
        momentum: m, from 0 to below 1.
        batch_size: points in a step, None for all.
        replacement: whether batches are drawn independently, a point perhaps twice, or else are the successive pieces
            of an endless sequence of permutations.
    """

    learning_rate: float
    momentum: float = 0.0
    batch_size: int | None = None
    replacement: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate is {self.learning_rate:g}; give a positive number.")
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum is {self.momentum:g}; give a number from 0 to below 1.")
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; give at least 1, or None for all points.")


class Batches:
    """The batches of one training, drawn from the generator in their order, however many at a time.

    Examples:
        >>> drawn = Batches(4, Descent(1.0, batch_size=3), torch.Generator().manual_seed(0))
        >>> rows = torch.cat([drawn.take(3), drawn.take(1)])  # three permutations of four
        >>> [sorted(piece.tolist()) for piece in rows.flatten().split(4)]
        [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]]
    """

    def __init__(self, n: int, descent: Descent, generator: torch.Generator | None) -> None:
        if generator is None or descent.batch_size is None:
            raise InputError("batches need randomness and a size; give generators and batch_size.")
        self.n, self.size, self.replacement, self.generator = n, descent.batch_size, descent.replacement, generator
        self.left = torch.empty(0, dtype=torch.int64, device=generator.device)

    def take(self, count: int) -> Tensor:
        """Return the rows [count, batch_size] of the next batches, on the generator's device."""
        needed, device = count * self.size, self.generator.device
        if self.replacement:
            return torch.randint(self.n, (needed,), generator=self.generator, device=device).view(count, -1)
        missing = math.ceil((needed - len(self.left)) / self.n)
        drawn = [torch.randperm(self.n, generator=self.generator, device=device) for _ in range(missing)]
        rows = torch.cat([self.left, *drawn])
        self.left = rows[needed:]
        return rows[:needed].view(count, -1)


def batches(n: int, descent: Descent, generator: torch.Generator | None) -> Iterator[Tensor]:
    """Yield without end the rows [batch_size] of one batch after another, on the generator's device."""
    drawn = Batches(n, descent, generator)
    while True:
        yield drawn.take(1)[0]
