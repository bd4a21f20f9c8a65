"""The largest eigenvalues of a symmetric operator that is known by its products with vectors only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from learnscope.errors import InputError

Product = Callable[[Tensor], Tensor]

CHECK = 5  # products between looks at the eigenvalues
ROUNDING = 20  # in units of the dtype's, relative to the largest eigenvalue: what a product is off by itself


@dataclass(frozen=True, slots=True, eq=False)
class Eigenpairs:
    """The largest eigenvalues of a symmetric operator.

    Attributes:
        values: [k] eigenvalues λ, descending, each as often as its multiplicity.
        vectors: [size, k] orthonormal eigenvectors v; of the operator's own shape where it has one.
        residuals: [k] ‖K v − λ v‖: there is an eigenvalue within that distance of λ.
        converged: [k] whether the residual is within the tolerance, and a fresh start from a random vector in the
            complement of all earlier ones ended without a larger eigenvalue.
        products: number of products with the operator.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    converged: Tensor
    products: int


def top_eigenpairs(
    product: Product,
    like: Tensor,
    k: int,
    *,
    generator: torch.Generator,
    tolerance: float | None = None,
    max_products: int | None = None,
) -> Eigenpairs:
    """Return the k largest eigenvalues of a symmetric positive semidefinite operator, by Lanczos iteration.

    Every new vector is orthogonalised against all others until rounding, so that no eigenvalue comes back as a ghost.
    One sequence of products sees one eigenvector of each eigenvalue only; so when k pairs have converged, the
    iteration starts afresh from a random vector in the complement, until that shows nothing larger than the k-th.

    Args:
        product: v ↦ K v on vectors [size].
        like: [size] a tensor of the operator's size, dtype and device.
        k: how many.
        generator: of the starts; which eigenpairs are found does not depend on it.
        tolerance: largest residual of a converged pair, relative to its own eigenvalue, which is off by as much at
            most; the root of the dtype's rounding by default. No pair is held to less than 20 roundings of the largest
            eigenvalue.
        max_products: bound on the products; 200 + 20 k by default. If it ends the search, the pairs are as good as
            their residuals and ``converged`` say.

    Returns:
        Eigenpairs in the dtype and on the device of ``like``; NaN and not converged if a product is not finite.

    Raises:
        InputError: if k is not between 1 and size, or max_products is below k.

    Cost: as many products as needed, about 2 k + 50 where eigenvalues decay; 4 size · products² for the
        orthogonalisation; memory of 2 max_products vectors.

    Source: Lanczos 1950; full reorthogonalisation: Parlett 1998, chapter 13.

    Examples:
        >>> diagonal = torch.tensor([5.0, 3.0, 5.0, 1.0])
        >>> found = top_eigenpairs(lambda v: diagonal * v, diagonal, 3, generator=torch.Generator().manual_seed(0))
        >>> found.values.tolist(), bool(found.converged.all())
        ([5.0, 5.0, 3.0], True)
    """
    size = len(like)
    if not 1 <= k <= size:
        raise InputError(f"k is {k}, but the operator has {size} eigenvalues: ask for 1 to {size}.")
    limit = min(size, 200 + 20 * k if max_products is None else max_products)
    if limit < k:
        raise InputError(f"max_products={limit} is too few for k={k} eigenpairs: allow {k} or more.")
    least, space = torch.finfo(like.dtype).eps ** 0.5, _Space(like, limit, generator)
    while True:
        space.advance(product)
        if not space.finite:
            return _unknown(like, k, space.count)
        fresh = space.closed
        if space.count >= k and (space.closed or space.count % CHECK == 0 or space.count == limit):
            found, exhausted = space.eigenpairs(k, least if tolerance is None else tolerance)
            if space.count == limit or bool(found.converged.all()):
                return found
            certify = space.start == 0 and space.count >= 0.75 * limit  # at least what there is by then
            fresh = space.closed or exhausted or certify
        if fresh:
            space.restart()


class _Space:
    """An orthonormal basis, what the operator makes of it, and the next direction."""

    def __init__(self, like: Tensor, limit: int, generator: torch.Generator) -> None:
        self.basis, self.images = like.new_empty(limit, len(like)), like.new_empty(limit, len(like))
        self.projected = like.new_zeros(limit, limit)
        self.count, self.start, self.scale = 0, 0, 0.0
        self.rounding = ROUNDING * torch.finfo(like.dtype).eps
        self.generator = generator
        self.next = self._unit(self._random())
        self.finite, self.closed = True, False

    def advance(self, product: Product) -> None:
        """Take the next direction into the basis; what is new in its image comes next."""
        m = self.count
        self.basis[m], self.images[m] = self.next, product(self.next)
        self.count += 1
        length = float(self.images[m].norm())
        self.scale, self.finite = max(self.scale, length), length < float("inf")  # false for NaN
        self.projected[m, : m + 1] = self.projected[: m + 1, m] = self.basis[: m + 1] @ self.images[m]
        remainder = self._orthogonal(self.images[m])
        rest = float(remainder.norm())
        self.closed = rest <= self.rounding * self.scale
        if self.finite and not self.closed:
            self.next = self._unit(remainder / rest)

    def restart(self) -> None:
        """Go on from a random direction in the complement of the basis."""
        self.start = self.count
        self.next = self._unit(self._random())

    def eigenpairs(self, k: int, tolerance: float) -> tuple[Eigenpairs, bool]:
        """Return the k largest Ritz pairs of the basis, and whether this start has nothing more to tell of them."""
        m = self.count
        values, weights = torch.linalg.eigh(self.projected[:m, :m])
        values, weights = values[-k:].flip(0), weights[:, -k:].flip(1)
        vectors = self.basis[:m].mT @ weights
        residuals = (self.images[:m].mT @ weights - vectors * values).norm(dim=0)
        allowed = (tolerance * values).clamp(min=self.rounding * float(values[0]))
        good = residuals <= allowed
        settled, largest = self._hidden(float(allowed[-1]))
        converged = good & settled & (values >= largest - allowed)
        return Eigenpairs(values, vectors, residuals, converged, m), bool(good.all()) and (settled or self.start == 0)

    def _hidden(self, allowed: float) -> tuple[bool, float]:
        """Return whether the latest fresh start has found the largest eigenvalue in its complement, and that value.

        A basis of the whole space hides nothing; the first start has no complement to look at.
        """
        if self.count == len(self.next):
            return True, -float("inf")
        if self.start == 0:
            return False, float("inf")
        recent = slice(self.start, self.count)
        values, weights = torch.linalg.eigh(self.projected[recent, recent])
        vector, image = weights[:, -1] @ self.basis[recent], weights[:, -1] @ self.images[recent]
        earlier = self.basis[: self.start]
        residual = image - values[-1] * vector - earlier.mT @ (earlier @ image)
        return float(residual.norm()) <= allowed, float(values[-1])

    def _random(self) -> Tensor:
        size = self.basis.shape[1]
        drawn = torch.randn(size, generator=self.generator, dtype=torch.float64, device=self.generator.device)
        return drawn.to(self.basis)

    def _orthogonal(self, vector: Tensor) -> Tensor:
        known = self.basis[: self.count]
        for _ in range(2):  # once loses digits where little is left; twice is enough
            vector = vector - known.mT @ (known @ vector)
        return vector

    def _unit(self, vector: Tensor) -> Tensor:
        for _ in range(2):  # a short remainder shows its rounding only at full length
            vector = self._orthogonal(vector)
            vector = vector / vector.norm()
        return vector


def _unknown(like: Tensor, k: int, products: int) -> Eigenpairs:
    nothing = like.new_full((k,), torch.nan)
    none = torch.zeros(k, dtype=torch.bool, device=like.device)
    return Eigenpairs(nothing, like.new_full((len(like), k), torch.nan), nothing, none, products)
