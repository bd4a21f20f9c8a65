"""Few coordinates that bound distances from below, so that most pairs of examples need no more than these."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from learnscope.observables.products import product
from learnscope.observables.screening import Screen, evened, half_distances, screen

# Directions that are found, from a sample of that size, and the step of how many of them a sketch has.
DIRECTIONS, STEP, SAMPLE = 128, 32, 512
# Examples that sketches are tried on.
TRIAL = 16
# A product of one pair alone takes the time of so many multiplications in a matrix product for each of its terms.
ALONE = 32
# Features whose float32 products are summed before float64 takes over; the rounding of float32.
TERMS, UNIT = 256, 2.0**-24


def screens(x: Tensor, k: int) -> list[Screen]:
    """Return a screen with few coordinates, whose distances are lower bounds, and one with all; or that alone.

    The examples' leading principal coordinates s = Px and what they leave out, ρ = ‖x − PᵀPx‖, bound distances
    from below, as |ρᵢ − ρⱼ| ≤ ‖residualᵢ − residualⱼ‖. Of 32, 64, 96 and 128 coordinates, those are taken which
    are the quickest for 16 examples; none with fewer than 384 features, or where all coordinates are quicker.

    Args:
        x: [n, d] centred features, float32.
        k: number of neighbours sought.

    Cost: n d (128 + 16) multiplications.
    """
    exact = screen(x)
    n, d = x.shape
    if d < 3 * DIRECTIONS or n < 32 * TRIAL:
        return [exact]
    coordinates = _projected(x, leading_directions(x[:: -(-n // SAMPLE)]))
    costs = {r: n * r + pairs * d * ALONE for r, pairs in _pairs_left(exact, coordinates, k)}
    best = min(costs, key=costs.__getitem__)
    return [sketch(exact, coordinates[:, :best]), exact] if costs[best] < n * d else [exact]


def sketch(exact: Screen, coordinates: Tensor) -> Screen:
    """Return a screen whose half distances exceed those of ``exact`` by no more than the slack allows.

    Coordinates are off by at most η‖x‖, η = √r (256 + 8) u, so their squares by (2η + η²)‖x‖², which is added to
    ρ² = ‖x‖² − ‖s‖²; and sᵢ·sⱼ by (2η + η²)‖xᵢ‖‖xⱼ‖, which is slack.

    Args:
        exact: the screen of x.
        coordinates: [n, r] float64, of x in orthonormal directions, as from float32 products of 256 terms.

    Examples:
        >>> x = torch.tensor([[3.0, 4.0, 0.0]])
        >>> sketch(screen(x), x[:, :2].double()).points.round(decimals=3)
        tensor([[3.0000, 4.0000, 0.0330]])
        >>> sketch(screen(x), x[:, :1].double()).points.round(decimals=2)
        tensor([[3., 4.]])
    """
    r = coordinates.shape[1]
    points = exact.points.new_empty(len(coordinates), r + 1)
    points[:, :r], points[:, r] = coordinates, _left_out(exact, torch.linalg.vector_norm(coordinates, dim=1), r)
    return Screen(points, exact.halves, exact.norms, _slack(r))


def _left_out(exact: Screen, norms: Tensor, r: int) -> Tensor:
    """Return ρ from the norms ‖s‖ of r coordinates, or more by what these may be off: [n] float64."""
    squares, eta = exact.norms.square(), _eta(r)
    return ((squares - norms.square()).clamp(min=0) + (2 * eta + eta**2) * squares).sqrt()


def _slack(r: int) -> float:
    """Return the slack of a sketch with r coordinates, from their error and that of products."""
    return (r + 9) * UNIT + _eta(r) + _eta(r) ** 2 / 2


def _eta(r: int) -> float:
    return r**0.5 * (TERMS + 8) * UNIT


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


def _projected(x: Tensor, directions: Tensor) -> Tensor:
    """Return the coordinates of x [n, d] float32 along directions [d, r], summed in float64: [n, r] float64."""
    rows = directions.mT.float()
    found = torch.zeros(len(x), len(rows), dtype=torch.float64, device=x.device)
    for part, place in zip(x.split(SAMPLE), found.split(SAMPLE), strict=True):
        for terms, along in zip(part.split(TERMS, dim=1), rows.split(TERMS, dim=1), strict=True):
            place.add_(product(terms, along))
    return found


def _pairs_left(exact: Screen, coordinates: Tensor, k: int) -> Iterator[tuple[int, float]]:
    """Yield how many pairs an example shares, of 16, a sketch of 32, 64, 96, 128 coordinates leaves."""
    n = len(coordinates)
    rows = torch.arange(0, n, -(-n // TRIAL), device=coordinates.device)
    limit = half_distances(evened(exact), rows, k).kth_smallest(k)
    lower = exact.halves.repeat(len(rows), 1)
    norms = torch.zeros_like(exact.norms)
    for start in range(0, DIRECTIONS, STEP):
        block, r = coordinates[:, start : start + STEP].float(), start + STEP
        lower.addmm_(block[rows], block.mT, alpha=-1)
        norms = torch.hypot(norms, torch.linalg.vector_norm(block, dim=1, dtype=torch.float64))
        residual = _left_out(exact, norms, r).float()
        slack = 2 * (exact.slack + _slack(r)) * exact.norms[rows].square()
        # x·y ≤ s·t + ρσ, in which s·t is subtracted already
        near = lower <= torch.addr((limit + slack)[:, None].float(), residual[rows], residual)
        yield r, float(near.sum()) / len(rows)
