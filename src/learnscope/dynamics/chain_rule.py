"""Products of stacks of factors and their gradients, in memory that is used again at every step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor


class ChainRule:
    """W_N ... W₁ and the gradients of the factors, for stacks of matrices that change in place between the calls.

    What it returns is overwritten by the next call. ``networks.deep_linear`` has the same without memory of its own.

    Args:
        factors: (W₁, ..., W_N), [members, d_l, d_{l-1}], contiguous; shapes that fit, at least one factor.

    Cost: memory of the factors, their gradients, and N - 1 products and signals [members, d_l, d_0].

    Examples:
        >>> factors = [torch.full((1, 1, 1), 2.0), torch.full((1, 1, 1), 3.0)]
        >>> chain = ChainRule(factors)
        >>> float(chain.difference(torch.tensor([[5.0]]))), [float(g) for g in chain.gradients(torch.ones(1, 1, 1))]
        (1.0, [3.0, 2.0])
    """

    def __init__(self, factors: Sequence[Tensor]) -> None:
        self.factors = factors
        self._inner = [factors[0], *(_like(factor, factors[0]) for factor in factors[1:-1])]
        self._end = _like(factors[-1], factors[0])
        self._gradients = [torch.empty_like(factor) for factor in factors]
        self._behind = [self._gradients[0], *(_like(factor, factors[0]) for factor in factors[1:-1])]
        # A view costs as much time as a small sum.
        self._inner_transposed = [inner.mT for inner in self._inner]
        self._factors_transposed = [factor.mT for factor in factors]

    def difference(self, target: Tensor) -> Tensor:
        """Return W_N ... W₁ - T, with T of its shape [members, d_N, d_0] or [d_N, d_0]."""
        if len(self.factors) == 1:
            return torch.sub(self.factors[0], target, out=self._end)
        for factor, (inner, outer) in zip(self.factors[1:-1], itertools.pairwise(self._inner), strict=True):
            torch.bmm(factor, inner, out=outer)
        return torch.bmm(self.factors[-1], self._inner[-1], out=self._end).sub_(target)

    def gradients(self, gradient: Tensor) -> list[Tensor]:
        """Return ∂L/∂W_j = (W_N ... W_{j+1})ᵀ G (W_{j-1} ... W₁)ᵀ at the factors of the last difference.

        Args:
            gradient: [members, d_N, d_0] the gradient G of the loss with respect to the product.
        """
        if len(self.factors) == 1:
            return [self._gradients[0].copy_(gradient)]
        for j in range(len(self.factors) - 1, 0, -1):
            torch.bmm(gradient, self._inner_transposed[j - 1], out=self._gradients[j])
            gradient = torch.bmm(self._factors_transposed[j], gradient, out=self._behind[j - 1])
        return self._gradients


def _like(outer: Tensor, inner: Tensor) -> Tensor:
    """Return memory for the product of two stacks."""
    return outer.new_empty(len(outer), outer.shape[1], inner.shape[2])
