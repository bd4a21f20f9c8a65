"""The least value of a convex quadratic function of numbers between 0 and 1."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve

RIDGE = 1e-10  # of the largest entry of the diagonal: equal rows have one solution, and rounding leaves an inverse
TINY = 1e-30  # ridge where Q is zero
SWEEPS = 3  # over all numbers, which settle most of them before the first equations are solved


class BoxMinimum(NamedTuple):
    """Where the least value is.

    Attributes:
        place: s [n].
        residual: the largest component of the gradient Q s + c that does not push against a side of the box.
        converged: whether the residual is within the tolerance.
    """

    place: np.ndarray
    residual: float
    converged: bool


def box_minimum(
    quadratic: np.ndarray, linear: np.ndarray, start: np.ndarray, *, tolerance: float, max_steps: int | None = None
) -> BoxMinimum:
    """Minimise s·Q s / 2 + c·s over 0 ≤ s ≤ 1 by an active set.

    Each number is moved to its own best place in turn, a few times over. Then those that are inside of the box move
    to their common minimum, or up to where the first meets a side, and stays there; once they are at it, the number at
    a side that is pulled inside most is let go.

    Args:
        quadratic: Q [n, n], symmetric and positive semidefinite, float64.
        linear: c [n].
        start: [n], from which it begins.
        tolerance: of the residual, in units of c.
        max_steps: sets of equations that are solved at most, 50 and ten for each number by default.

    Cost: O(n² + k³) for each number that meets or leaves a side, with k of them inside.

    Source: Nocedal, Wright 2006, Numerical Optimization, section 16.5.

    Examples:
        >>> box_minimum(np.eye(2), np.array([-0.5, -3.0]), np.zeros(2), tolerance=1e-9).place.tolist()
        [0.5, 1.0]
    """
    place = _one_by_one(quadratic, linear, np.clip(start, 0.0, 1.0))
    inside = (place > 0) & (place < 1)
    ridge = max(RIDGE * float(quadratic.diagonal().max(initial=0.0)), TINY)
    residual = np.inf
    for _ in range(max_steps if max_steps is not None else 50 + 10 * len(place)):
        gradient = quadratic @ place + linear
        (free,) = inside.nonzero()
        if len(free) and np.abs(gradient[free]).max() > tolerance:
            direction = _newton(quadratic[np.ix_(free, free)], gradient[free], ridge)
            room = np.where(direction > 0, 1 - place[free], place[free])
            with np.errstate(divide="ignore"):
                shares = np.where(direction != 0, room / np.abs(direction), np.inf)
            share = min(1.0, float(shares.min()))
            place[free] = np.clip(place[free] + share * direction, 0.0, 1.0)
            met = free[shares <= share] if share < 1 else free[:0]
            place[met] = np.round(place[met])
            inside[met] = False
            if len(met):
                continue
            gradient = quadratic @ place + linear
        pulled = np.where(inside, np.abs(gradient), np.where(place <= 0, -gradient, gradient))
        residual = max(0.0, float(pulled.max(initial=0.0)))
        if residual <= tolerance:
            return BoxMinimum(place, residual, True)
        inside[pulled.argmax()] = True
    return BoxMinimum(place, residual, False)


def _one_by_one(quadratic: np.ndarray, linear: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return where each number in turn has been moved to its best place, which never raises the function."""
    diagonal = quadratic.diagonal()
    for _ in range(SWEEPS):
        for k in (diagonal > 0).nonzero()[0]:
            place[k] = min(max(place[k] - (quadratic[k] @ place + linear[k]) / diagonal[k], 0.0), 1.0)
    return place


def _newton(quadratic: np.ndarray, gradient: np.ndarray, ridge: float) -> np.ndarray:
    """Return −(Q + ridge)⁻¹ g."""
    quadratic[np.diag_indices(len(gradient))] += ridge
    return -cho_solve(cho_factor(quadratic, overwrite_a=True, check_finite=False), gradient, check_finite=False)
