"""Standard errors of SVCCA and PWCCA from the influence of each example (delta method; Hampel 1974).

With u_k and v_k an example's scores along the k-th canonical directions of two layers, of variance 1, moving a share ε
of the distribution to it changes the canonical correlation ρ_k by ε (u_k v_k - ρ_k (u_k² + v_k²) / 2) (Romanazzi 1992).

The principal components that a basis keeps are taken as given. That they, and their number, were chosen on the same
examples is not accounted for, because what was left out is not in a basis. For layers that learned MNIST, the errors
were 0.8 to 1.4 of the scatter between probes with the same components, but 0.1 to 1.3 of all of the scatter; they are
too small above all where few components are kept, of which another probe keeps one more or other ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from learnscope.observables.canonical_correlation import Basis

# the variance of an angle in a plane of directions that are told apart by nothing: uniform on ±π/4
FREE_ANGLE = math.pi**2 / 48


def svcca_error(a: Basis, b: Basis) -> Tensor:
    """Return the standard error of SVCCA, the principal components being given.

    IFᵢ = Σ_k (u_k v_k - ρ_k (u_k² + v_k²) / 2) / min(rₐ, r_b).

    Args:
        a: basis of one layer, [..., n, r]; leading dimensions broadcast against those of ``b``.
        b: basis of the other.

    Returns:
        [...] float64; 0 for equal layers up to rounding, NaN where a rank is 0.

    Cost: n (rₐ² + rₐ r_b + r_b²) multiplications in the precision of the bases, a singular value decomposition
    O(rₐ r_b min(r)) in float64.

    Examples:
        >>> from learnscope.observables.canonical_correlation import principal_basis
        >>> x = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])
        >>> y = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
        >>> float(svcca_error(principal_basis(x), principal_basis(x)))
        0.0
        >>> round(float(svcca_error(principal_basis(x), principal_basis(y))), 4)  # uv = ±1, over √n
        0.5774
    """
    return _each(_svcca_error, a, b)


def pwcca_error(a: Basis, b: Basis) -> Tensor:
    """Return the standard error of PWCCA = Σ α_k ρ_k / Σ α_k, the principal components being given.

    Besides ρ_k the weights move, for the canonical directions turn into each other. Between directions k and m of the
    first layer the angle changes by N_mk / (ρ_k² - ρ_m²) with N_mk = ρ_k u_m (v_k - ρ_k u_k) + ρ_m v_m (u_k - ρ_k v_k).
    Where the probe cannot tell two correlations apart, that would be more than a turn; so the divisor is
    ±√((ρ_k² - ρ_m²)² + Var N_mk / (n σ²)), Var N_mk that of normal scores, which keeps the variance of the angle below
    σ² = π²/48, that of an angle of which nothing is known.

    Args:
        a: basis of the layer that is explained, [..., n, r]; leading dimensions broadcast.
        b: basis of the other layer.

    Returns:
        [...] float64; 0 for equal layers up to rounding, NaN where a rank is 0.

    Cost: as :func:`svcca_error`, and rₐ² d multiplications in float64.

    Examples:
        >>> from learnscope.observables.canonical_correlation import principal_basis
        >>> basis = principal_basis(torch.eye(6)[:, :2])
        >>> round(float(pwcca_error(basis, basis)), 5)
        0.0
    """
    return _each(_pwcca_error, a, b)


def _each(function: Callable[[Basis, Basis], Tensor], a: Basis, b: Basis) -> Tensor:
    """Apply a function to every pair of bases, without their padding; NaN where nothing else is left."""
    shape = torch.broadcast_shapes(a.singular_values.shape[:-1], b.singular_values.shape[:-1])
    unknown = torch.tensor(torch.nan, dtype=torch.float64, device=a.vectors.device)
    errors = [
        function(one, other) if len(one.singular_values) and len(other.singular_values) else unknown
        for one, other in zip(_unpadded(a, shape), _unpadded(b, shape), strict=True)
    ]
    return torch.stack(errors).reshape(shape)


def _unpadded(basis: Basis, shape: torch.Size) -> list[Basis]:
    parts = ((basis.vectors, 2), (basis.singular_values, 1), (basis.loadings, 2), (basis.explained, 0))
    flat = [
        part.expand(*shape, *part.shape[part.ndim - own :]).flatten(0, len(shape) - 1) if shape else part[None]
        for part, own in parts
    ]
    vectors, values, loadings, explained = flat
    ranks = (values > 0).sum(-1).tolist()
    return [Basis(vectors[i, :, :r], values[i, :r], loadings[i, :r], explained[i]) for i, r in enumerate(ranks)]


def _canonical(a: Basis, b: Basis) -> tuple[Tensor, Tensor, Tensor]:
    """Return canonical directions [rₐ, rₐ], correlations [k] and directions [r_b, k], k = min(rₐ, r_b), in float64."""
    dtype = torch.promote_types(a.vectors.dtype, b.vectors.dtype)
    overlap = (a.vectors.to(dtype).mT @ b.vectors.to(dtype)).double()
    left, rho, right = torch.linalg.svd(overlap, full_matrices=True)
    return left, rho.clamp(max=1.0), right.mT[:, : len(rho)]


def _svcca_error(a: Basis, b: Basis) -> Tensor:
    left, rho, right = _canonical(a, b)
    k = len(rho)
    left, half = left[:, :k], rho / (2 * k)
    return _standard_error(a, b, left @ right.mT / k, -(left * half) @ left.mT, -(right * half) @ right.mT)


def _pwcca_error(a: Basis, b: Basis) -> Tensor:
    left, rho, right = _canonical(a, b)
    k = len(rho)
    rho = torch.nn.functional.pad(rho, (0, len(left) - k))
    shares = left.mT @ a.loadings.double()  # covariances of the canonical directions with the units
    alpha = shares.abs().sum(-1) * (torch.arange(len(left), device=rho.device) < k)
    weights, similarity = alpha / alpha.sum(), (alpha * rho).sum() / alpha.sum()
    # what PWCCA gains when direction k (column) grows by a little of direction m (row)
    gain = shares @ shares.sign().mT * (alpha > 0) * (rho - similarity) / alpha.sum()
    growth, turn = torch.diag(gain.diagonal()), gain - torch.diag(gain.diagonal())
    rate = turn / _gaps(rho, len(a.vectors))
    both = torch.diag(weights) + rate * rho + (rate * rho[:, None]).mT
    first = growth / 2 + turn - rate * rho**2 - torch.diag(weights * rho / 2)
    second = -rate * rho * rho[:, None] - torch.diag(weights * rho / 2)
    return _standard_error(
        a, b, left @ both[:, :k] @ right.mT, left @ first @ left.mT, right @ second[:k, :k] @ right.mT
    )


def _gaps(rho: Tensor, n: int) -> Tensor:
    """Return ρ_k² - ρ_m² [m, k], kept away from zero by its own sampling error; infinite on the diagonal."""
    squares = rho**2
    gap = squares - squares[:, None]
    variance = (1 - squares) * (squares + squares[:, None] - 2 * squares * squares[:, None]) / n
    kept = (gap**2 + variance / FREE_ANGLE).sqrt()
    return torch.where(kept > 0, torch.where(gap < 0, -kept, kept), torch.inf).fill_diagonal_(torch.inf)


def _standard_error(a: Basis, b: Basis, both: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return the standard error of a statistic whose influence is n (xᵢ both yᵢᵀ + xᵢ first xᵢᵀ + yᵢ second yᵢᵀ)."""
    dtype = torch.promote_types(a.vectors.dtype, b.vectors.dtype)
    x, y = a.vectors.to(dtype), b.vectors.to(dtype)
    forms = ((x, both, y), (x, first, x), (y, second, y))
    influence = sum(((one @ form.to(dtype)) * other).sum(-1, dtype=torch.float64) for one, form, other in forms)
    assert isinstance(influence, Tensor)
    return influence.std() * len(x) ** 0.5
