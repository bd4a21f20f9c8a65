"""The Frobenius norm of a symmetric operator that is known by its products with vectors only."""

from __future__ import annotations

import torch
from torch import Tensor

from learnscope.errors import InputError
from learnscope.estimate import Estimate, sample_mean
from learnscope.kernels.lanczos import Eigenpairs, Product

PRECISE = 0.05  # relative standard error up to which an estimate can be taken at its word


def frobenius_norm(product: Product, leading: Eigenpairs, *, generator: torch.Generator, probes: int = 20) -> Estimate:
    """Estimate ‖K‖ = √tr K² of a symmetric operator from random probes, with its largest eigenpairs set apart.

    With V the k leading vectors and P = 1 − V Vᵀ, tr K² = ‖K V‖² + tr P K² P holds for any orthonormal V. The first
    term is exact; for Ritz pairs it is Σ λ² + residual². Only the second is estimated, as the mean of ‖K P z‖² over
    vectors z of random signs. Without the deflation the few eigenvalues that make up most of tr K² are seen through a
    heavy tail, and a mean over few probes comes out far too low.

    Args:
        product: v ↦ K v on vectors [size].
        leading: eigenpairs with vectors [size, k]; they need not have converged.
        generator: of the probes.
        probes: number of random vectors.

    Returns:
        A float64 scalar with n the number of probes; the standard error is that of the mean of ‖K P z‖² over probes,
        divided by 2 ‖K‖, and 0 where the leading vectors span everything. Converged up to 5 % of standard error.

    Raises:
        InputError: with fewer than two probes, which have no standard error.

    Cost: one product a probe.

    Source: Hutchinson 1990 for the probes; deflation after Gambhir, Stathopoulos, Orginos 2017.

    Examples:
        >>> from learnscope.kernels.lanczos import top_eigenpairs
        >>> diagonal, generator = torch.tensor([4.0, 2.0, 2.0, 1.0]), torch.Generator().manual_seed(0)
        >>> leading = top_eigenpairs(lambda v: diagonal * v, diagonal, 1, generator=generator)
        >>> print(f"{float(frobenius_norm(lambda v: diagonal * v, leading, generator=generator)):.4f}")  # √(16+4+4+1)
        5.0000
    """
    if probes < 2:
        raise InputError(f"probes={probes} leaves no standard error: take 2 or more.")
    vectors = leading.vectors
    exact = (leading.values.double().square() + leading.residuals.double().square()).sum()
    if vectors.shape[0] == vectors.shape[1]:
        rest = sample_mean(exact.new_zeros(probes))
    else:
        rest = sample_mean(torch.stack([_probe(product, vectors, generator) for _ in range(probes)]))
    value = (exact + rest.value).sqrt()
    error = rest.standard_error / (2 * value.clamp(min=torch.finfo(value.dtype).tiny))
    return Estimate(
        value=value,
        standard_error=error,
        n=rest.n,
        converged=torch.isfinite(value) & (error <= PRECISE * value),
        estimator="Frobenius norm by random sign vectors (Hutchinson 1990) outside of the leading eigenvectors",
        notes=(f"{len(leading.values)} eigenpairs hold {float(exact / value.square()):.1%} of the square, exactly",),
    )


def _probe(product: Product, vectors: Tensor, generator: torch.Generator) -> Tensor:
    signs = torch.randint(0, 2, (len(vectors),), generator=generator, device=generator.device)
    probe = (2 * signs - 1).to(vectors)
    return product(probe - vectors @ (vectors.mT @ probe)).double().square().sum()
