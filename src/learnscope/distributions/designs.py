"""Random designs for regression: rows are examples, columns are inputs.

All have entries of mean 0 and, where it is finite, variance 1. They are drawn in float64 unless told otherwise, on
the generator's device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from learnscope.errors import InputError


def gaussian_design(
    n_train: int,
    dim: int,
    generator: torch.Generator,
    *,
    batch: Sequence[int] = (),
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Draw independent entries N(0, 1): [*batch, n_train, dim].

    Raises:
        InputError: a size is not positive.

    Examples:
        >>> gaussian_design(3, 2, torch.Generator().manual_seed(0), batch=(5,)).shape
        torch.Size([5, 3, 2])
    """
    _require_positive(n_train=n_train, dim=dim)
    return torch.randn(*batch, n_train, dim, generator=generator, dtype=dtype, device=generator.device)


def autoregressive_design(
    n_train: int,
    dim: int,
    correlation: float,
    generator: torch.Generator,
    *,
    batch: Sequence[int] = (),
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Draw rows N(0, Σ) with Σⱼₖ = ρ^|j − k|, the stationary autoregression xⱼ = ρ xⱼ₋₁ + √(1 − ρ²) zⱼ.

    For many columns the eigenvalues of Σ fill [(1 − ρ)/(1 + ρ), (1 + ρ)/(1 − ρ)].

    Args:
        n_train: number of rows.
        dim: number of columns.
        correlation: ρ, between −1 and 1.
        generator: source of the draws.
        batch: leading dimensions of the result.
        dtype: of the result.

    Returns:
        [*batch, n_train, dim].

    Raises:
        InputError: a size that is not positive, or a correlation that is not between −1 and 1.

    Examples:
        >>> x = autoregressive_design(20_000, 2, 0.5, torch.Generator().manual_seed(0))
        >>> (x.mT @ x / 20_000).round(decimals=1).tolist()
        [[1.0, 0.5], [0.5, 1.0]]
    """
    if not -1 < correlation < 1:
        raise InputError(f"correlation is {correlation:g}, but it must lie between -1 and 1 for a stationary series.")
    noise = gaussian_design(n_train, dim, generator, batch=batch, dtype=dtype)
    fresh = (1 - correlation**2) ** 0.5
    columns = [noise[..., 0]]
    for k in range(1, dim):
        columns.append(correlation * columns[-1] + fresh * noise[..., k])
    return torch.stack(columns, dim=-1)


def student_design(
    n_train: int,
    dim: int,
    degrees_of_freedom: int,
    generator: torch.Generator,
    *,
    batch: Sequence[int] = (),
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Draw independent entries from Student's t with ν degrees of freedom: z₀ / √(Σ zᵢ² / ν), i = 1 … ν.

    Their density falls like |x|^(−ν − 1); the variance ν / (ν − 2) is infinite for ν ≤ 2. They are not rescaled.

    Args:
        n_train: number of rows.
        dim: number of columns.
        degrees_of_freedom: ν, a whole number.
        generator: source of the draws.
        batch: leading dimensions of the result.
        dtype: of the result.

    Returns:
        [*batch, n_train, dim].

    Raises:
        InputError: a size or the number of degrees of freedom is not positive.

    Cost: ν + 1 draws an entry, one ν at a time, in three times the memory of the result.

    Examples:
        >>> x = student_design(1000, 100, 5, torch.Generator().manual_seed(0))
        >>> round(float(x.square().mean()), 1)
        1.7
    """
    _require_positive(degrees_of_freedom=degrees_of_freedom)
    numerator = gaussian_design(n_train, dim, generator, batch=batch, dtype=dtype)
    squares = torch.zeros_like(numerator)
    for _ in range(degrees_of_freedom):
        squares += gaussian_design(n_train, dim, generator, batch=batch, dtype=dtype).square_()
    return numerator / (squares / degrees_of_freedom).sqrt()


def shifted(design: Tensor, shift: float | Tensor) -> Tensor:
    """Return X + c 1 1ᵀ, the same number c added to every entry: a design with a mean.

    Args:
        design: [..., n, d].
        shift: c, a number or [...], which broadcasts with the leading dimensions.

    Returns:
        [..., n, d] in the dtype of the design.

    Examples:
        >>> shifted(torch.zeros(1, 2), torch.tensor([1.0, 3.0])).tolist()
        [[[1.0, 1.0]], [[3.0, 3.0]]]
    """
    return design + torch.as_tensor(shift, dtype=design.dtype, device=design.device)[..., None, None]


def _require_positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"{name} is {size}, but a design needs at least 1; give a positive number.")
