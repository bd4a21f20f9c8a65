"""Leading singular vectors of centred activations, some examples at a time and no more vectors than are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from learnscope.matrix_products import add_square, product
from learnscope.observables.tridiagonal import tridiagonal, tridiagonal_eigenvectors

# Rows that are centred at a time.
ROWS = 1536
# From that size on, to take only the eigenvectors wanted back from the tridiagonal matrix is quicker.
WIDE = 256
# Rows whose products are summed at a time: rounding of equal terms does not cancel, and reaches 5e-5 in float32 here.
TERMS = 768


@dataclass(frozen=True, slots=True, eq=False)
class Centred:
    """Activations less their mean over the examples, x = (h − mean − rest)/scale, with the long side first.

    They are made some rows at a time, which stay in the cache. Constant features give exactly zero.

    Attributes:
        h: [long, short], that is [n, d] if n ≥ d and else [d, n].
        mean: as ``h``, expanded.
        rest: as ``h``, expanded; what rounding leaves of the mean.
        scale: [] the largest magnitude when computed in float64, so that squares neither overflow nor vanish, else 1.
    """

    h: Tensor
    mean: Tensor
    rest: Tensor
    scale: Tensor

    def parts(self) -> Iterator[Tensor]:
        """Yield x, 1,536 rows at a time."""
        wide = self.mean.dtype == torch.float64
        for h, mean, rest in zip(*(each.split(ROWS) for each in (self.h, self.mean, self.rest)), strict=True):
            part = (h.to(mean.dtype) - mean).sub_(rest)
            yield part.div_(self.scale) if wide else part

    def gram(self) -> Tensor:
        """Return xᵀx [short, short] float64, on and above the diagonal only, summed in float64 over 1,536 rows each.

        Cost: see :func:`~learnscope.matrix_products.add_square`, with all rows.
        """
        short = self.h.shape[1]
        gram = torch.zeros(short, short, dtype=torch.float64, device=self.h.device)
        sums, memory = self.mean.new_empty(short, short), self.mean.new_empty(short * TERMS)
        for part in self.parts():
            sums.zero_()
            for terms in part.split(TERMS):
                add_square(sums, terms, memory)
            gram += sums
        return gram

    def along(self, directions: Tensor) -> Tensor:
        """Return x v [long, r] for directions v [short, r]; each column lies in one piece, as products want it."""
        rows = directions.mT.to(self.mean.dtype).contiguous()
        found = rows.new_empty(len(rows), len(self.h))
        for part, place in zip(self.parts(), found.split(ROWS, dim=1), strict=True):
            product(rows, part, out=place)
        return found.mT


def centred_by_parts(h: Tensor, dtype: torch.dtype) -> Centred:
    """Return activations [n, d] centred, in ``dtype``, which is float32 or float64.

    Examples:
        >>> x = centred_by_parts(torch.tensor([[2.0, 7.0], [-2.0, 7.0], [3.0, 7.0]]), torch.float32)
        >>> x.gram().triu()
        tensor([[14.,  0.],
                [ 0.,  0.]], dtype=torch.float64)
    """
    exact = _mean(h.split(ROWS))
    mean = exact.to(dtype)
    rest, scale = (exact - mean).to(dtype), torch.ones((), dtype=dtype, device=h.device)
    if dtype == torch.float64:
        rest = _mean(part - mean for part in h.split(ROWS))
        scale = torch.stack([(part - mean).abs().amax() for part in h.split(ROWS)]).amax()
    sides = [h, mean.expand_as(h), rest.expand_as(h)]
    h, mean, rest = sides if len(h) >= h.shape[1] else [side.mT for side in sides]
    return Centred(h, mean, rest, torch.where(scale == 0, 1.0, scale))


def _mean(parts: Iterable[Tensor]) -> Tensor:
    """Return the mean over all examples, in float64, where equal numbers of float32 add up exactly."""
    sums, counts = zip(*((part.sum(dim=0, dtype=torch.float64), len(part)) for part in parts), strict=True)
    return torch.stack(sums).sum(dim=0) / sum(counts)


def leading_eigenvectors(matrix: Tensor, rank: Callable[[Tensor], int]) -> tuple[Tensor, Tensor]:
    """Return all eigenvalues of a symmetric matrix, and the eigenvectors of as many of the largest as wanted.

    On a CPU, a matrix of 256 rows or more is made tridiagonal, and only what is wanted is taken back from there.

    Args:
        matrix: [d, d] float64; only what is on and above the diagonal counts.
        rank: says from the eigenvalues how many eigenvectors are wanted.

    Returns:
        [d] eigenvalues, descending, and [d, rank] orthonormal columns.

    Cost: 4/3 d³ + O(d²) (1 + rank) operations in float64, half of these in matrix products.

    Examples:
        >>> values, vectors = leading_eigenvectors(torch.diag(torch.tensor([1.0, 3.0, 2.0]).double()), lambda _: 1)
        >>> values.tolist(), vectors.abs().flatten().tolist()
        ([3.0, 2.0, 1.0], [0.0, 1.0, 0.0])
    """
    if matrix.device.type != "cpu" or len(matrix) < WIDE:
        values, vectors = (each.flip(-1) for each in torch.linalg.eigh(matrix, UPLO="U"))
        return values, vectors[:, : rank(values)]
    # LAPACK stores columns first: its lower triangle is our upper one.
    reflectors, diagonal, beside, factors = tridiagonal(matrix.numpy().T)
    found, turned = map(torch.from_numpy, tridiagonal_eigenvectors(diagonal, beside))
    values = found.flip(0)
    vectors = turned[:, len(matrix) - rank(values) :].flip(1)
    vectors[1:] = torch.ormqr(torch.from_numpy(reflectors[1:, :-1]), torch.from_numpy(factors), vectors[1:])
    return values, vectors
