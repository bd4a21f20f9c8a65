"""Intrinsic dimension: how many coordinates the examples of a layer need, from distances to near neighbours."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from learnscope.errors import InputError, nearest_names
from learnscope.estimate import Estimate
from learnscope.observables.duplicates import first_of_each, groups_of_equal_rows
from learnscope.observables.features import as_matrix
from learnscope.observables.neighbours import Neighbours, nearest_neighbours

Method = Literal["two-nn", "two-nn-likelihood", "levina-bickel"]
FRACTION = 0.9
# √(∫₀^p T(F)²/(1 − F)² dF) / ∫₀^p q² dF with q = −log(1 − F), T(F) = ∫_F^p q, p = 0.9: the spread of the fit.
FIT_DEVIATION = 1.0762
LEVINA_BICKEL_NEIGHBOURS = 20
FEWEST_EXAMPLES = 3
FEW_EXAMPLES = 50
RESAMPLES = 200


def intrinsic_dimension(
    h: Tensor,
    *,
    method: Method = "two-nn",
    neighbours: Neighbours | None = None,
    generator: torch.Generator | None = None,
) -> Estimate:
    """Estimate the dimension d of the manifold that the examples lie on.

    With r_j the distance to the j-th neighbour and μ = r₂/r₁, F(μ) = 1 − μ^(−d) where the density is constant:

    - ``two-nn``: slope through the origin of −log(1 − i/N) against log μ₍ᵢ₎ for the smallest 90 % of μ
      (Facco, d'Errico, Rodriguez, Laio 2017, equation 6); standard error 1.076 d/√N, the spread of that slope.
    - ``two-nn-likelihood``: (N − 1) / Σ log μ, unbiased (Denti, Doimo, Laio, Mira 2022); error d/√(N − 2).
    - ``levina-bickel``: [1/(N(k−1)) Σᵢ Σ_{j<k} log(r_k/r_j)]⁻¹, k = 20 or all that there are (Levina and Bickel
      2004, equation 8, with the inverses averaged as in MacKay and Ghahramani 2005); error d/√(N(k − 1)).

    The standard errors take examples as independent; as near neighbours share distances, the spread over samples
    is 10 to 35 % larger.

    Only distinct rows are used: examples that repeat another one exactly are dropped first, and counted in
    ``notes``. All three read low when d is large for N, because most examples then lie at the boundary: a cube
    of dimension 10 reads about 8.3 from 2,000 examples. ``converged`` is False when d > log₂(N)/2, that is when
    a grid of N points in d dimensions has fewer than four to a side, and below 50 distinct examples.

    Args:
        h: [n, d] features, any real dtype; distances in float64.
        method: which estimator.
        neighbours: ``nearest_neighbours(h, k)`` of the same features, with k ≥ 2 (k ≥ 3 for Levina-Bickel);
            searched for when absent, or when ``h`` has repeated rows.
        generator: with one, the standard error is the deviation over 200 resamplings of the examples
            instead; that also sees departures from a constant density.

    Returns:
        A scalar estimate; NaN, not converged, when fewer than 3 distinct examples are left or all neighbours
        are equally far.

    Raises:
        InputError: for fewer than 3 examples, features that are not a finite matrix, an unknown method, or
            neighbours of other data.

    Cost: one search for 2 (Levina-Bickel: 20) neighbours, see ``nearest_neighbours``; O(N log N) beyond.

    Examples:
        >>> line = torch.rand(4000, 1, generator=torch.Generator().manual_seed(0)) @ torch.ones(1, 30)
        >>> round(float(intrinsic_dimension(line)), 1)
        1.0
    """
    if method not in _ESTIMATORS:
        raise InputError(f"{method!r} is no method: choose among {nearest_names(method, _ESTIMATORS)}")
    h = as_matrix(h, least=FEWEST_EXAMPLES)
    needed = LEVINA_BICKEL_NEIGHBOURS if method == "levina-bickel" else 2
    found, dropped = _distinct_neighbours(h, needed, neighbours)
    return _estimate(method, found, dropped, generator)


def intrinsic_dimensions(h: Tensor, neighbours: Neighbours | None = None) -> dict[str, Estimate]:
    """Estimate the intrinsic dimension by all three methods from one search of neighbours.

    Args:
        h: [n, d] features, see :func:`intrinsic_dimension`.
        neighbours: as there; Levina-Bickel takes as many as are given, up to 20.

    Returns:
        An estimate by name of the method.

    Raises:
        InputError: as :func:`intrinsic_dimension`.

    Cost: one search for 20 neighbours, see ``nearest_neighbours``.

    Examples:
        >>> square = torch.rand(3000, 2, generator=torch.Generator().manual_seed(0))
        >>> [round(float(estimate)) for estimate in intrinsic_dimensions(square).values()]
        [2, 2, 2]
    """
    h = as_matrix(h, least=FEWEST_EXAMPLES)
    given = LEVINA_BICKEL_NEIGHBOURS if neighbours is None else neighbours.distances.shape[1]
    found, dropped = _distinct_neighbours(h, min(given, LEVINA_BICKEL_NEIGHBOURS), neighbours)
    return {method: _estimate(method, found, dropped, None) for method in _ESTIMATORS}


def _distinct_neighbours(h: Tensor, k: int, given: Neighbours | None) -> tuple[Neighbours | None, int]:
    """Return up to k neighbours among the distinct rows, None where there are too few rows, and how many fell."""
    if given is not None and len(given.distances) != len(h):
        raise InputError(
            f"the neighbours are those of {len(given.distances)} examples, but there are {len(h)}: "
            "search them again with nearest_neighbours(h, k)"
        )
    k = min(k, len(h) - 1)
    if given is None or given.distances.shape[1] < k:
        given = nearest_neighbours(h, k)
    if bool((given.distances[:, 0] > 0).all()):
        return Neighbours(given.distances[:, :k], given.indices[:, :k]), 0
    distinct = h[first_of_each(groups_of_equal_rows(h))]
    dropped = len(h) - len(distinct)
    if len(distinct) < FEWEST_EXAMPLES:
        return None, dropped
    return nearest_neighbours(distinct, min(k, len(distinct) - 1)), dropped


def _estimate(method: str, found: Neighbours | None, dropped: int, generator: torch.Generator | None) -> Estimate:
    """Return the estimate of one method with its error, verdict and notes."""
    notes = [f"{dropped} examples that repeat another one exactly were dropped"] if dropped else []
    value, n = math.nan, 0
    error = math.nan
    if found is None:
        notes.append("fewer than 3 distinct examples are left")
    else:
        n = len(found.distances)
        logarithms = _logarithms(method, found.distances)
        value = _ESTIMATORS[method](logarithms)
        error = (
            _FACTORS[method](*found.distances.shape) * value
            if generator is None
            else _bootstrap(method, logarithms, generator)
        )
    notes += _doubts(value, n) if found is not None else []
    trusted = math.isfinite(value) and n >= FEW_EXAMPLES and value <= math.log2(n) / 2
    device = found.distances.device if found is not None else None
    return Estimate(
        value=torch.tensor(value, dtype=torch.float64, device=device),
        standard_error=torch.tensor(error, dtype=torch.float64, device=device),
        n=torch.tensor(n, device=device),
        converged=torch.tensor(trusted, device=device),
        estimator=_NAMES[method],
        notes=tuple(notes),
    )


def _doubts(value: float, n: int) -> list[str]:
    """Return what speaks against taking a dimension measured on n examples at its word."""
    if not math.isfinite(value):
        return ["all neighbours of an example are equally far, as on a grid"]
    doubts = []
    if n < FEW_EXAMPLES:
        doubts.append(f"only {n} distinct examples are left, and 50 are the least for a stable answer")
    if value > math.log2(n) / 2:
        doubts.append(f"reads low: a dimension above log2(n)/2 = {math.log2(n) / 2:.1f} needs more examples than {n}")
    return doubts


def _logarithms(method: str, distances: Tensor) -> Tensor:
    """Return log(r₂/r₁), or for Levina-Bickel the mean over j < k of log(r_k/r_j), of each example: [n]."""
    logarithms = distances.log()
    if method == "levina-bickel":
        return logarithms[:, -1] - logarithms[:, :-1].mean(dim=1)
    return logarithms[:, 1] - logarithms[:, 0]


def _fit(logarithms: Tensor) -> float:
    """Return the slope through the origin of −log(1 − i/N) against log μ₍ᵢ₎ for i ≤ 0.9 N (at least one)."""
    n = len(logarithms)
    most = max(1, int(FRACTION * n))
    x = logarithms.sort().values[:most]
    i = torch.arange(1, most + 1, dtype=x.dtype, device=x.device)
    return _ratio(-(x * torch.log1p(-i / n)).sum(), x.square().sum())


def _likelihood(logarithms: Tensor) -> float:
    """Return (N − 1) / Σ log μ."""
    return _ratio(torch.tensor(len(logarithms) - 1.0), logarithms.sum())


def _inverse_mean(logarithms: Tensor) -> float:
    """Return the inverse of the mean."""
    return _ratio(torch.tensor(1.0), logarithms.mean())


def _ratio(numerator: Tensor, denominator: Tensor) -> float:
    """Return a quotient, NaN where the denominator is not positive."""
    return float(numerator) / float(denominator) if denominator > 0 else math.nan


def _bootstrap(method: str, logarithms: Tensor, generator: torch.Generator) -> float:
    """Return the deviation of an estimator over resamplings of the examples."""
    n = len(logarithms)
    draws = [torch.randint(n, (n,), generator=generator, device=generator.device) for _ in range(RESAMPLES)]
    values = [_ESTIMATORS[method](logarithms[draw.to(logarithms.device)]) for draw in draws]
    return float(torch.tensor(values, dtype=torch.float64).std())


_ESTIMATORS: dict[str, Callable[[Tensor], float]] = {
    "two-nn": _fit,
    "two-nn-likelihood": _likelihood,
    "levina-bickel": _inverse_mean,
}
_FACTORS: dict[str, Callable[[int, int], float]] = {
    "two-nn": lambda n, k: FIT_DEVIATION / math.sqrt(n),
    "two-nn-likelihood": lambda n, k: 1 / math.sqrt(n - 2),
    "levina-bickel": lambda n, k: 1 / math.sqrt(n * (k - 1)),
}
_NAMES = {
    "two-nn": "TwoNN, linear fit on the smallest 90 % (Facco et al. 2017)",
    "two-nn-likelihood": "TwoNN, unbiased maximum likelihood (Facco et al. 2017; Denti et al. 2022)",
    "levina-bickel": "Levina-Bickel 2004, inverses averaged (MacKay and Ghahramani 2005)",
}
