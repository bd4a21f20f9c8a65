"""Few coordinates that bound distances from below, so that most pairs of examples need no more than these."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from learnscope.matrix_products import product
from learnscope.observables.screening import TRIES, Screen, kth_smallest, screen, smallest
from learnscope.threads import Run

First = TypeVar("First")
Second = TypeVar("Second")
# Directions that are found, from a sample of that size, and the step of how many of them a sketch has.
DIRECTIONS, STEP, SAMPLE = 128, 32, 512
# Examples that sketches are tried on; and with fewer in all, to find directions takes longer than it saves.
TRIAL, FEWEST = 16, 2048
# A product of one pair alone takes the time of so many multiplications in a matrix product for each of its terms.
ALONE = 16
# Features whose products are summed at once, for such sums to be exact to some digits; the rounding of float32.
TERMS, UNIT = 1024, 2.0**-24


def screens(x: Tensor, k: int, run: Run) -> list[Screen]:
    """Return screens with few coordinates, whose distances are lower bounds, and one with all; or that alone.

    The examples' leading principal coordinates s = Px and what they leave out, ρ = ‖x − PᵀPx‖, bound distances
    from below, as |ρᵢ − ρⱼ| ≤ ‖residualᵢ − residualⱼ‖. First come 32, 64, 96 or 128 coordinates, then perhaps all 128
    for the pairs that are left, as is the quickest for 16 examples; none with fewer than 384 features or 2,048
    examples, or where all coordinates are quicker.

    Args:
        x: [n, d] centred features, float32.
        k: number of neighbours sought.
        run: does pieces of work.

    Cost: n d (128 + 16) multiplications.
    """
    n, d = x.shape
    if d < 3 * DIRECTIONS or n < FEWEST:
        return [screen(x, run)]
    directions, exact = _both(lambda: leading_directions(x[:: -(-n // SAMPLE)]), lambda: screen(x), run)
    coordinates = _projected(x, directions, run)
    left = dict(_pairs_left(exact, coordinates, k))
    costs: dict[tuple[int, ...], float] = {(r,): n * r + ALONE * d * pairs for r, pairs in left.items()}
    for r in range(STEP, DIRECTIONS, STEP):
        costs[r, DIRECTIONS] = n * r + ALONE * (DIRECTIONS * left[r] + d * left[DIRECTIONS])
    best = min(costs, key=costs.__getitem__)
    return [*(sketch(exact, coordinates[:, :r]) for r in best), exact] if costs[best] < n * d else [exact]


def sketch(exact: Screen, coordinates: Tensor) -> Screen:
    """Return a screen whose half distances exceed those of ``exact`` by no more than the slack allows.

    Coordinates are off by at most η‖x‖, η as in :func:`_eta`, so their squares by (2η + η²)‖x‖², which is added to
    ρ² = ‖x‖² − ‖s‖²; and sᵢ·sⱼ by (2η + η²)‖xᵢ‖‖xⱼ‖, which is slack.

    Args:
        exact: the screen of x.
        coordinates: [n, r] float32, of x in orthonormal directions.

    Examples:
        >>> x = torch.tensor([[3.0, 4.0, 0.0]])
        >>> sketch(screen(x), x[:, :2]).points.round(decimals=3)
        tensor([[3.0000, 4.0000, 0.0070]])
        >>> sketch(screen(x), x[:, :1]).points.round(decimals=2)
        tensor([[3., 4.]])
    """
    r = coordinates.shape[1]
    norms = torch.linalg.vector_norm(coordinates, dim=1, dtype=torch.float64)
    points = torch.cat([coordinates, _left_out(exact, norms, r)[:, None].float()], dim=1)
    return Screen(points, exact.halves, exact.norms, _slack(r, exact.points.shape[1]))


def _left_out(exact: Screen, norms: Tensor, r: int) -> Tensor:
    """Return ρ from the norms ‖s‖ of r coordinates, or more by what these may be off: [n] float64."""
    squares, eta = exact.norms.square(), _eta(r, exact.points.shape[1])
    return ((squares - norms.square()).clamp(min=0) + (2 * eta + eta**2) * squares).sqrt()


def _slack(r: int, d: int) -> float:
    """Return the slack of a sketch with r of d coordinates, from their error and that of products."""
    eta = _eta(r, d)
    return (r + 9) * UNIT + eta + eta**2 / 2


def _eta(r: int, d: int) -> float:
    """Return η = √r (m + d/m + 8) u of r coordinates that are sums of d/m sums of m products each."""
    return r**0.5 * (min(d, TERMS) + -(-d // TERMS) + 8) * UNIT


def leading_directions(sample: Tensor) -> Tensor:
    """Return 128 orthonormal directions of much variance, the largest variance first: [d, 128] float64.

    One step of Halko, Martinsson, Tropp 2011, algorithm 4.4, on centred features [n, d] float32, d ≥ 128.

    Cost: 384 n d multiplications in float32.

    Examples:
        >>> sample = torch.randn(300, 200, generator=torch.Generator().manual_seed(0))
        >>> directions = leading_directions(sample)
        >>> torch.allclose(directions.mT @ directions, torch.eye(128).double())
        True
    """
    start = torch.randn(DIRECTIONS, sample.shape[1], generator=torch.Generator().manual_seed(0)).to(sample.device)
    basis = torch.linalg.qr(product(sample.mT, product(start, sample)).double()).Q
    coordinates = product(sample, basis.mT.float()).double()
    return basis @ torch.linalg.eigh(coordinates.mT @ coordinates).eigenvectors.flip(1)


def _both(first: Callable[[], First], second: Callable[[], Second], run: Run) -> tuple[First, Second]:
    """Return what two functions do, called side by side."""
    done: list[Any] = run(lambda function: function(), [first, second])
    return done[0], done[1]


def _projected(x: Tensor, directions: Tensor, run: Run) -> Tensor:
    """Return the coordinates of x [n, d] along directions [d, r]: [n, r] float32."""
    rows = directions.mT.float()

    def projected(part: Tensor) -> Tensor:
        first, *more = zip(part.split(TERMS, dim=1), rows.split(TERMS, dim=1), strict=True)
        found = product(*first)
        for terms, along in more:
            found += product(terms, along)
        return found

    return torch.cat(run(projected, x.split(SAMPLE)))


def _pairs_left(exact: Screen, coordinates: Tensor, k: int) -> Iterator[tuple[int, float]]:
    """Yield how many pairs an example shares, of 16, a sketch of 32, 64, 96, 128 coordinates leaves."""
    n, d = exact.points.shape
    rows = torch.arange(0, n, -(-n // TRIAL), device=coordinates.device)
    products = exact.halves.repeat(len(rows), 1)
    norms, bounds = torch.zeros_like(exact.norms), {}
    for start in range(0, DIRECTIONS, STEP):
        block, r = coordinates[:, start : start + STEP], start + STEP
        products.addmm_(block[rows], block.mT, alpha=-1)
        norms = torch.hypot(norms, torch.linalg.vector_norm(block, dim=1, dtype=torch.float64))
        residual = _left_out(exact, norms, r).float()
        # x·y ≤ s·t + ρσ, in which s·t is subtracted already
        bounds[r] = torch.addr(products, residual[rows], residual, alpha=-1)
        bounds[r].scatter_(1, rows[:, None], torch.inf)
    near = smallest(bounds[DIRECTIONS], TRIES * k)
    halves = exact.halves[near] - torch.linalg.vecdot(exact.points[rows][:, None], exact.points[near])
    limit = kth_smallest(halves, k)
    for r, lower in bounds.items():
        slack = 2 * (exact.slack + _slack(r, d)) * exact.norms[rows].square()
        yield r, float((lower <= (limit + slack)[:, None]).sum()) / len(rows)
