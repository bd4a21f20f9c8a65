"""A number that says how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """An estimated quantity with its standard error and its caveats.

    Attributes:
        value: the estimate; any batch shape, NaN where it could not be computed.
        standard_error: one standard deviation of the estimator, same shape; NaN where unknown.
        n: number of examples that the estimate rests on, same shape (after dropping duplicates, say).
        converged: whether the estimate can be taken at its word, same shape; False where it is biased,
            where an iteration stopped early, or where too few examples were left.
        estimator: what was computed, in words, with its source.
        notes: what a reader should know before quoting the number.
        bounds: lower and upper end of a 95 % interval where one was computed, by bootstrap say.
    """

    value: Tensor
    standard_error: Tensor
    n: Tensor
    converged: Tensor
    estimator: str
    notes: tuple[str, ...] = field(default=())
    bounds: tuple[Tensor, Tensor] | None = None

    def __float__(self) -> float:
        return float(self.value)

    def interval(self) -> tuple[Tensor, Tensor]:
        """Return a 95 % interval: the computed bounds, else value ± 1.96 standard errors."""
        if self.bounds is not None:
            return self.bounds
        half = 1.96 * self.standard_error
        return self.value - half, self.value + half

    def __repr__(self) -> str:
        if self.value.ndim == 0:
            doubt = "" if bool(self.converged) else ", not converged"
            error = float(self.standard_error)
            return f"Estimate({float(self.value):.4g} ± {error:.2g}, n={int(self.n)}{doubt})"
        return f"Estimate(shape={tuple(self.value.shape)}, estimator={self.estimator!r})"


def sample_mean(values: Tensor, dim: int = -1) -> Estimate:
    """Estimate a mean from independent draws: x̄ = Σ xᵢ / n, with standard error s / √n.

    Args:
        values: [..., n], any real or boolean dtype; computed in float64.
        dim: the dimension of the draws.

    Returns:
        An estimate of the shape of ``values`` without ``dim``; standard error NaN when n < 2.

    Examples:
        >>> sample_mean(torch.tensor([1.0, 2.0, 3.0]))
        Estimate(2 ± 0.58, n=3)
    """
    values = values.double()
    n = values.shape[dim]
    mean = values.mean(dim)
    deviation = values.std(dim) if n > 1 else torch.full_like(mean, torch.nan)
    return Estimate(
        value=mean,
        standard_error=deviation / max(n, 1) ** 0.5,
        n=torch.full(mean.shape, n, dtype=torch.int64),
        converged=torch.isfinite(mean),
        estimator="sample mean",
    )
