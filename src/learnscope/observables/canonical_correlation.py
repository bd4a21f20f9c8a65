"""Canonical correlations between layers (SVCCA, PWCCA), and CKA, from small bases of their activations."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from learnscope.errors import InputError
from learnscope.matrix_products import product_over_examples
from learnscope.observables.decomposition import Centred, centred_by_parts, leading_eigenvectors
from learnscope.observables.features import as_matrix
from learnscope.observables.similarity import alignment, debiased_hsic, own_hsic
from learnscope.threads import LITTLE, alone_if_little, one_after_another, side_by_side

# Below this ratio of singular values, rounding of float32 products would show in the vectors.
SINGLE_PRECISION_RANGE = 1e-2
# Up to so many multiplications, some milliseconds of work, threads are not worth their start.
LEAST_SHARED = 2**27
# Below this sum of squares, squares of float32 would vanish.
LEAST_ENERGY = 1e-20


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """A truncated singular value decomposition X ≈ U S Vᵀ of centred activations; zeros may pad any of it.

    Attributes:
        vectors: [..., n, r] U, orthonormal columns: one direction among the examples each.
        singular_values: [..., r] S, descending; zero marks padding.
        loadings: [..., r, d] S Vᵀ, so that X ≈ vectors @ loadings.
        explained: [...] float64, the share of the variance that is kept, NaN for constant activations.
    """

    vectors: Tensor
    singular_values: Tensor
    loadings: Tensor
    explained: Tensor


def principal_basis(h: Tensor, *, variance: float = 0.99, most: int | None = None) -> Basis:
    """Compute the leading principal components of a layer, enough of them to keep a share of its variance.

    The smaller Gram matrix of the centred activations, XᵀX or XXᵀ, is summed and decomposed in float64. Its
    terms are multiplied in float32 first if ``h`` has no more digits; when a kept singular value then turns
    out below a hundredth of the largest, everything is done again in float64. Singular values below √ε of the
    largest are rounding and count as zero.

    Args:
        h: [n, d] activations, any real dtype.
        variance: in (0, 1], the share of the variance Σ S² that the kept components reach.
        most: keep at most so many, and fewer of the variance.

    Returns:
        A basis of the smallest rank that reaches ``variance``, 0 for constant activations; float64 for float64
        (and wide integer) activations, else float32.

    Raises:
        InputError: for other than a finite matrix, ``variance`` outside (0, 1] or ``most`` below 1.

    Cost: n d min(n, d)/2 multiplications in the precision of ``h`` and an eigendecomposition O(min(n, d)³) in
    float64, n d r multiplications; a centred copy of the activations and the Gram matrix in float64.

    Examples:
        >>> h = torch.tensor([[2.0, 0.0, 7.0], [-2.0, 0.0, 7.0], [0.0, 1.0, 7.0], [0.0, -1.0, 7.0]])
        >>> basis = principal_basis(h)
        >>> (basis.singular_values**2).round().tolist(), round(float(basis.explained), 2)
        ([8.0, 2.0], 1.0)
    """
    h = as_matrix(h)
    if not 0 < variance <= 1:
        raise InputError(f"variance = {variance} was asked for, but a share between 0 and 1 is needed, such as 0.99")
    if most is not None and most < 1:
        raise InputError(f"most = {most} components were asked for, but at least 1 is needed")
    with alone_if_little(_multiplications(h)):
        return _basis(h, variance, most)


def principal_bases(layers: Sequence[Tensor], *, variance: float = 0.99, most: int | None = None) -> list[Basis]:
    """Compute the principal basis of each of several layers, on a CPU side by side on the threads that torch may use.

    Args:
        layers: [n, d] activations each, see :func:`principal_basis`, as for the rest.
        variance: as there.
        most: as there.

    Returns:
        What :func:`principal_basis` returns for each, to the last digit.

    Raises:
        InputError: as there.

    Cost: as there for each; memory for as many at a time as there are threads.

    Examples:
        >>> h = torch.eye(6)[:, :3]
        >>> [len(basis.singular_values) for basis in principal_bases([h, h[:, :2], h[:, :1]])]
        [3, 2, 1]
    """
    work = [_multiplications(h) for h in layers]
    apart = sum(work) > LEAST_SHARED and max(work) <= LITTLE
    with side_by_side(len(layers)) if apart else nullcontext(one_after_another) as run:
        return run(partial(principal_basis, variance=variance, most=most), layers)


def _multiplications(h: Tensor) -> float:
    """Return about how many a basis takes; infinitely many where it is not for the CPU to say."""
    return h.numel() * min(h.shape, default=0) if h.device.type == "cpu" else torch.inf


def _basis(h: Tensor, variance: float, most: int | None) -> Basis:
    """Return the basis of a finite matrix, see :func:`principal_basis`."""
    x = centred_by_parts(h, h.dtype)
    values, vectors, explained = _decomposed(x, variance, most)
    if h.dtype != torch.float64 and (not len(values) or values[-1] < SINGLE_PRECISION_RANGE * values[0]):
        x = centred_by_parts(h, torch.float64)
        values, vectors, explained = _decomposed(x, variance, most)
    if h.shape[1] <= h.shape[0]:
        left, loadings = x.along(vectors / values), values[:, None] * vectors.mT
    else:
        left, loadings = vectors, x.along(vectors).mT.contiguous()
    scale = x.scale.double()
    return Basis(left.to(h.dtype), (values * scale).to(h.dtype), (loadings * scale).to(h.dtype), explained)


def _decomposed(x: Centred, variance: float, most: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return kept singular values [r], singular vectors of the shorter side, and the share of variance, in float64.

    None are kept where squares overflow or vanish.
    """
    gram = x.gram()
    energy = gram.trace()
    if not LEAST_ENERGY < energy < torch.inf:
        return gram.new_zeros(0), gram[:, :0], energy.new_tensor(torch.nan)
    eigenvalues, vectors = leading_eigenvectors(gram, lambda values: _rank(values, variance, len(x.h), most))
    kept = eigenvalues[: vectors.shape[1]]
    return kept.sqrt(), vectors, kept.sum() / energy


def _rank(values: Tensor, variance: float, size: int, most: int | None) -> int:
    """Return the smallest rank whose eigenvalues, descending, reach a share of their sum; rounding counts as zero."""
    energies = values.clamp(min=0)
    before = energies.cumsum(0) - energies
    noise = size * torch.finfo(torch.float64).eps * energies[0]
    rank = int(((before < variance * energies.sum()) & (energies > noise)).sum())
    return rank if most is None else min(rank, most)


def padded(basis: Basis, components: int, units: int) -> Basis:
    """Return the basis [n, r], [r, d] with zeros up to ``components`` components and ``units`` units.

    Raises:
        InputError: when the basis is already larger.

    Examples:
        >>> basis = Basis(torch.ones(4, 1) / 2, torch.ones(1), torch.ones(1, 3), torch.tensor(1.0))
        >>> wide = padded(basis, 2, 5)
        >>> wide.vectors.shape, wide.loadings.shape
        (torch.Size([4, 2]), torch.Size([2, 5]))
    """
    r, d = basis.loadings.shape[-2:]
    if r > components or d > units:
        raise InputError(
            f"a basis of {r} components and {d} units does not fit into {components} components and {units} "
            "units: allow more"
        )
    pad = torch.nn.functional.pad
    return Basis(
        vectors=pad(basis.vectors, (0, components - r)),
        singular_values=pad(basis.singular_values, (0, components - r)),
        loadings=pad(basis.loadings, (0, units - d, 0, components - r)),
        explained=basis.explained,
    )


def canonical_correlations(a: Basis, b: Basis) -> Tensor:
    """Compute the canonical correlations between two layers: the singular values of UₐᵀU_b.

    Args:
        a: basis of one layer, leading dimensions broadcast against those of ``b``.
        b: basis of the other, from the same examples in the same order.

    Returns:
        [..., min(components)] float64 in [0, 1], descending; zero beyond the smaller rank.

    Raises:
        InputError: for different numbers of examples.

    Cost: n rₐ r_b multiplications in the precision of the bases, O(min(r)³) in float64.

    Examples:
        >>> h = torch.eye(6)[:, :2]
        >>> canonical_correlations(principal_basis(h), principal_basis(5 * h.flip(1) - 1)).round(decimals=5)
        tensor([1., 1.], dtype=torch.float64)
    """
    overlap = _overlap(a, b)
    small = overlap.mT if overlap.shape[-2] < overlap.shape[-1] else overlap
    squares = torch.linalg.eigvalsh(small.mT @ small).flip(-1)
    return squares.clamp(0.0, 1.0).sqrt()


def svcca(a: Basis, b: Basis) -> Tensor:
    """Compute SVCCA: the mean of the first min(rₐ, r_b) canonical correlations (Raghu et al. 2017).

    Args:
        a: basis of one layer, as of ``principal_basis(h, variance=0.99)``; leading dimensions broadcast.
        b: basis of the other.

    Returns:
        [...] float64 in [0, 1]; NaN where a rank is 0.

    Raises:
        InputError: for different numbers of examples.

    Cost: as :func:`canonical_correlations`.

    Examples:
        >>> h = torch.eye(6)[:, :2]
        >>> round(float(svcca(principal_basis(h), principal_basis(-h))), 5)
        1.0
    """
    return canonical_correlations(a, b).sum(-1) / torch.minimum(_ranks(a), _ranks(b))


def pwcca(a: Basis, b: Basis) -> Tensor:
    """Compute PWCCA: Σ αᵢ ρᵢ / Σ αᵢ, canonical correlations weighted by what they explain of ``a``.

    αᵢ = Σⱼ |⟨hᵢ, xⱼ⟩| for the canonical directions hᵢ of ``a`` and the activations xⱼ of its units, kept
    components only (Morcos, Raghu, Bengio 2018, equation 3). Not symmetric; either layer may be the wider one.

    Args:
        a: basis of the layer that is explained; leading dimensions broadcast.
        b: basis of the other layer.

    Returns:
        [...] float64 in [0, 1]; NaN where a rank is 0.

    Raises:
        InputError: for different numbers of examples.

    Cost: n rₐ r_b + rₐ² d multiplications and O(rₐ³), the latter two in float64.

    Examples:
        >>> h = torch.eye(6)[:, :2]
        >>> round(float(pwcca(principal_basis(h), principal_basis(-h))), 5)
        1.0
    """
    overlap = _overlap(a, b)
    # Padding becomes eigenvalue −1, and thus comes after every direction of the layer itself.
    squares, directions = torch.linalg.eigh(overlap @ overlap.mT - torch.diag_embed((a.singular_values == 0).double()))
    weights = (directions.flip(-1).mT @ a.loadings.double()).abs().sum(-1)
    order = torch.arange(weights.shape[-1], device=weights.device)
    weights = weights * (order < torch.minimum(_ranks(a), _ranks(b))[..., None])
    return (weights * squares.flip(-1).clamp(0.0, 1.0).sqrt()).sum(-1) / weights.sum(-1)


def basis_cka(a: Basis, b: Basis) -> Tensor:
    """Compute the debiased linear CKA of two layers from their bases alone, see ``similarity.cka``.

    It is the CKA of the truncated activations U S; rotating them by V changes nothing.

    Args:
        a: basis of one layer; leading dimensions broadcast.
        b: basis of the other.

    Returns:
        [...] float64 in [−1, 1]; NaN where a rank is 0.

    Raises:
        InputError: for different numbers of examples, or fewer than 4.

    Cost: n rₐ r_b multiplications in the precision of the bases.

    Examples:
        >>> h = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
        >>> round(float(basis_cka(principal_basis(h), principal_basis(-h))), 5)
        1.0
    """
    if a.vectors.shape[-2] < 4:
        raise InputError(f"{a.vectors.shape[-2]} examples were given, but CKA needs at least 4: use a larger probe")
    cross = a.singular_values.double()[..., :, None] * _overlap(a, b) * b.singular_values.double()[..., None, :]
    own_a, own_b = (basis.singular_values.double().pow(4).sum(-1) for basis in (a, b))
    norms_a, norms_b = _norms(a), _norms(b)
    return alignment(
        debiased_hsic(cross.square().sum((-2, -1)), norms_a, norms_b),
        own_hsic(own_a, norms_a, a.vectors.dtype),
        own_hsic(own_b, norms_b, b.vectors.dtype),
        least=-1.0,
    )


def _ranks(basis: Basis) -> Tensor:
    """Return the number of components that are not padding: [...]."""
    return (basis.singular_values > 0).sum(-1)


def _overlap(a: Basis, b: Basis) -> Tensor:
    """Return UₐᵀU_b [..., rₐ, r_b] in float64, multiplied in the precision of the bases."""
    if a.vectors.shape[-2] != b.vectors.shape[-2]:
        raise InputError(
            f"the bases are of {a.vectors.shape[-2]} and {b.vectors.shape[-2]} examples, but the same examples "
            "in the same order are needed"
        )
    dtype = torch.promote_types(a.vectors.dtype, b.vectors.dtype)
    x, y = a.vectors.to(dtype), b.vectors.to(dtype)
    return product_over_examples(x, y) if x.ndim == y.ndim == 2 else (x.mT @ y).double()


def _norms(basis: Basis) -> Tensor:
    """Return ‖xᵢ‖² of the truncated activations of every example: [..., n] float64."""
    scaled = basis.vectors * basis.singular_values[..., None, :]
    return torch.linalg.vector_norm(scaled, dim=-1, dtype=torch.float64).square()
