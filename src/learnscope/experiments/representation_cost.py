"""Weight decay on a deep linear network measures the rank of what it computes.

The least Σ_l ‖W_l‖² over factors with W_L ... W₁ = A is R(A; L) = L Σ_i s_i^(2/L), so L2 on the weights is a Schatten
quasi-norm of the product, twice the nuclear norm for L = 2; for large L it is
L Rank A + 2 Σ log s_i + 2 Σ (log s_i)² / L + O(1 / L²), sums over positive singular values.

Plain gradient descent from Gaussian weights minimises Σ_ij w_ij (A_ij - T_ij)² + λ Σ_l ‖W_l‖². First, w = 1/2 and a
diagonal T, shifted so that the minimum has given singular values. At larger λ or in narrow layers deep networks lose
singular values on the way and end in a local minimum of lower rank; here they do not. Second, w is 1/2 on the seen
entries of a matrix of low rank and 0 elsewhere; for two layers this is the convex problem with the penalty 2 λ ‖A‖_*,
which is solved apart, with a bound on how far the solution is from the minimum.

Sources: Z. Dai, M. Karzand, N. Srebro (2021), Representation costs of linear neural networks, Theorem 1; N. Srebro,
J. Rennie, T. Jaakkola (2004), Maximum-margin matrix factorization; A. Jacot (2023), Bottleneck structure in learned
features; A. Jacot et al. (2022), Saddle-to-saddle dynamics in deep linear networks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from pydantic import Field, field_validator
from torch import Tensor

from learnscope import laboratory
from learnscope.distributions.matrix_completion import low_rank_matrix, observed_entries
from learnscope.dynamics.gradient_descent import Descent, SquaredError, descend
from learnscope.dynamics.nuclear_norm import complete
from learnscope.dynamics.representation_cost import (
    representation_cost,
    representation_cost_coefficients,
    shifted_target,
)
from learnscope.laboratory import Claim, Criterion, Experiment, Point, at_most, median_over_seeds, within
from learnscope.laboratory.claims import Measure
from learnscope.networks.deep_linear import gaussian_factors, product
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, category

SPECTRUM = torch.tensor([2.0, 1.5, 0.5, 0.0], dtype=torch.float64)
PENALTY = 0.1  # λ for the spectrum; s = 0.5 remains a local minimum at any depth below λ = 0.125


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    depths: tuple[int, ...] = Field((2, 4, 6, 8), description="numbers of layers L; three of them at least 4")
    width: int = Field(16, ge=4, description="hidden units of the networks that learn the spectrum")
    n_steps: int = Field(1600, ge=1, description="of the networks that learn the spectrum")
    size: int = Field(30, ge=4, description="rows and columns of the matrix that is completed")
    rank: int = Field(2, ge=1, description="of that matrix")
    n_train: int = Field(270, ge=1, description="entries of it that are seen")
    penalty: float = Field(0.02, gt=0, description="λ there, as a share of its rows")
    completion_steps: int = Field(1200, ge=1, description="of the networks that complete it, with two and three layers")

    @field_validator("depths")
    @classmethod
    def _deep_enough(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if len({depth for depth in values if depth >= 4}) < 3 or min(values) < 1:
            raise ValueError("three of them must be 4 or more, to which three coefficients are fitted")
        return values


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Measure the weights that one spectrum takes at every depth, and those of networks that complete a matrix."""
    costs = torch.stack([_spectrum_costs(depth, point, generator) for depth in point.depths], dim=-1)
    target = low_rank_matrix((point.size, point.size), point.rank, generator)
    seen = observed_entries((point.size, point.size), point.n_train, generator)
    penalty = point.penalty * point.size
    convex = complete(target, seen, 4 * penalty, tolerance=1e-8)
    ratios, excesses = [], []
    for depth in (2, 3):
        run = _completed(depth, target, seen, penalty, point.completion_steps, generator)
        matrices = product(run.factors)
        ratios.append((_squares(run) / representation_cost(torch.linalg.svdvals(matrices), depth)).tolist())
        misfit = (matrices[0] - target)[seen].square().sum()
        objective = misfit + 4 * penalty * torch.linalg.matrix_norm(matrices[0], "nuc")
        excesses.append(float(objective / convex.objective) - 1)
    return xr.Dataset(
        {
            "cost": ("depth", costs[0].numpy()),
            "free_cost": ("depth", costs[1].numpy()),
            "completion_ratio": (("layers", "run"), ratios),
            "convex_excess": ("layers", excesses),
            "convex_gap": float(convex.gap / convex.objective),
        },
        coords={"depth": list(point.depths), "layers": [2, 3], "run": ["L2", "no L2"]},
    )


def _spectrum_costs(depth: int, point: Point, generator: torch.Generator) -> Tensor:
    """Return Σ_l ‖W_l‖² [2] of the same network after learning the spectrum with and without L2."""
    inputs = len(SPECTRUM)
    start = gaussian_factors((inputs, *(point.width,) * (depth - 1), inputs), 1.0, generator)
    targets = torch.stack([shifted_target(SPECTRUM, depth, PENALTY), SPECTRUM]).diag_embed()
    run = descend(
        [factor.expand(2, -1, -1) for factor in start],
        SquaredError(targets, torch.full_like(targets, 0.5)),
        0.16 / depth,  # a third of what is stable at the minimum
        n_steps=point.n_steps,
        penalty=torch.tensor([PENALTY, 0.0]),
    )
    return _squares(run)


def _completed(
    depth: int, target: Tensor, seen: Tensor, penalty: float, n_steps: int, generator: torch.Generator
) -> Descent:
    """Fit the seen entries with and without L2, from the same weights."""
    stable = 2 / (depth * float(torch.linalg.matrix_norm(target, 2)) ** (2 - 2 / depth))
    start = gaussian_factors((len(target),) * (depth + 1), 1.0, generator)
    both, penalties = [factor.expand(2, -1, -1) for factor in start], torch.tensor([penalty, 0.0])
    return descend(both, SquaredError(target, seen / 2), stable / 2, n_steps=n_steps, penalty=penalties)


def _squares(run: Descent) -> Tensor:
    return torch.stack([factor.square().sum((-2, -1)) for factor in run.factors]).sum(0)


def least(depth: int) -> float:
    """Return L Σ s_i^(2/L) of the spectrum."""
    return float(representation_cost(SPECTRUM, depth))


def expansion(depth: int) -> float:
    """Return L R₀ + R₁ + R₂ / L of the spectrum."""
    rank, logarithm, square = representation_cost_coefficients(SPECTRUM).tolist()
    return depth * rank + logarithm + square / depth


def deepest(name: str, formula: Callable[[int], float]) -> Measure:
    """Return the measure of Σ_l ‖W_l‖² over a formula for it, at the greatest depth."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        depth = int(data["depth"].values.max())
        return data[name].sel(depth=depth) / formula(depth)

    return measure


def coefficient(order: int, name: str = "cost") -> Measure:
    """Return the measure of R₀ or R₁ in the fit of L R₀ + R₁ + R₂ / L to Σ_l ‖W_l‖² at depth 4 and more."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        costs = data[name].where(data["depth"] >= 4, drop=True).transpose("depth", "seed")
        depths = costs["depth"].values.astype(float)
        terms = np.stack([depths, np.ones_like(depths), 1 / depths], axis=1)
        return xr.DataArray(np.linalg.lstsq(terms, costs.values, rcond=None)[0][order], dims="seed")

    return measure


def completion_ratio(run: str) -> Measure:
    """Return the measure of Σ_l ‖W_l‖² over its least for the completed matrix, at the worst depth."""
    return lambda data: 1 + abs(data["completion_ratio"].sel(run=run) - 1).max("layers")


def convex_excess(layers: int) -> Measure:
    """Return the measure of the convex objective of the network with L2 over its minimum, minus 1."""
    return lambda data: data["convex_excess"].sel(layers=layers)


SCHATTEN = Claim(
    name="schatten-rep-cost",
    statement="L2 on the weights of L linear layers costs L Σ s_i^(2/L) of their product, L times its Schatten-2/L "
    "quasi-norm to the power 2/L; for L = 2 the network solves the convex problem with the nuclear norm.",
    source="Dai, Karzand, Srebro 2021, Theorem 1; Jacot et al. 2022; Srebro, Rennie, Jaakkola 2004 for L = 2",
    criteria=(
        Criterion(
            name="Σ‖W_l‖² over L Σ s_i^(2/L) for the spectrum 2, 1.5, 0.5, 0 at the greatest depth",
            predicted=1.0,
            measured=deepest("cost", least),
            band=within(0.01),
            reason="exact at the minimum; what is left of the initial weights decays like exp(-4 λ η · steps), to 1e-4",
            control=deepest("cost", lambda _: least(2)),
            control_name="twice the nuclear norm in place of the quasi-norm",
        ),
        Criterion(
            name="Σ‖W_l‖² over L Σ s_i^(2/L) for a completed matrix, at the worst of two and three layers",
            predicted=1.0,
            measured=completion_ratio("L2"),
            band=within(0.01),
            reason="as for the spectrum; the matrix is whatever the network found",
            control=completion_ratio("no L2"),
            control_name="no L2",
        ),
        Criterion(
            name="convex objective of two layers with L2 over its minimum, minus 1",
            predicted=0.0,
            measured=convex_excess(2),
            band=at_most(1e-3),
            reason="0 at the minimum, which is global; singular values near the threshold of the penalty shrink slowly "
            "but weigh little",
            control=convex_excess(3),
            control_name="three layers",
        ),
    ),
)
EXPANSION = Claim(
    name="bn-linear-expansion",
    statement="For large depth the cost of A is L R₀ + R₁ + R₂ / L + O(1 / L²): R₀ is the rank of A, R₁ = 2 Σ log s_i "
    "over its positive singular values, and R₂ = 2 Σ (log s_i)².",
    source="Jacot 2023, section 3",
    criteria=(
        Criterion(
            name="Σ‖W_l‖² over L R₀ + R₁ + R₂ / L at the greatest depth",
            predicted=1.0,
            measured=deepest("cost", expansion),
            band=within(0.002),
            reason="the terms that are left out are 1e-4 of the cost at depth 8, and the weights are within 1e-4 of it",
            control=deepest("free_cost", expansion),
            control_name="no L2",
        ),
        Criterion(
            name="fitted R₀",
            predicted=3.0,
            measured=coefficient(0),
            band=within(0.01),
            reason="at depths 4, 6, 8 the terms left out move the fit by 0.0014, and errors of 1e-4 by 0.003",
            control=coefficient(0, "free_cost"),
            control_name="no L2",
        ),
        Criterion(
            name="fitted R₁",
            predicted=float(representation_cost_coefficients(SPECTRUM)[1]),
            measured=coefficient(1),
            band=within(absolute=0.08),
            reason="at depths 4, 6, 8 the terms left out move the fit by 0.023, and errors of 1e-4 by 0.03",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw the cost against depth, with and without L2, and the formulas."""
    depths = data["depth"].values
    rank, logarithm, square = representation_cost_coefficients(SPECTRUM).tolist()
    formulas = {
        "L R₀": depths * rank,
        "L R₀ + R₁": depths * rank + logarithm,
        "L R₀ + R₁ + R₂ / L": depths * rank + logarithm + square / depths,
        "twice the nuclear norm": np.full(len(depths), least(2)),
    }
    exact = np.array([least(depth) for depth in depths.tolist()])
    drawn = (
        median_over_seeds(data["cost"], "with L2", category(0)),
        Series("L Σ s_i^(2/L)", exact, category(2), style="dashed"),
        *(Series(name, values, category(k), style="faint") for k, (name, values) in enumerate(formulas.items(), 3)),
    )
    axis = Axis("cost", "sum of squared weights Σ‖W_l‖²")
    free = (median_over_seeds(data["free_cost"], "without L2", category(1)), *drawn[:2])
    return (
        Figure(
            "cost",
            "What a matrix costs in the weights",
            Caption(
                shows="Sum of squares of all weights of networks that learned a matrix with singular values 2, 1.5, "
                "0.5 and 0, against their depth. Median over seeds, bands from the least to the largest.",
                look_for="With L2 the weights lie on the dashed line, whose slope at large depth is the rank, 3. "
                "Without L2 they are several times longer.",
                source="Dai, Karzand, Srebro 2021; Jacot 2023",
            ),
            charts=(
                Chart(
                    Axis("depth", "number of layers L", values=depths),
                    (Choice("with L2", axis, (Lines(drawn),)), Choice("without L2", axis, (Lines(free),))),
                    starts=(0, 1),
                ),
            ),
        ),
    )


EXPERIMENT = Experiment(
    name="representation-cost",
    title="Weight decay on deep linear networks measures rank",
    source="Dai, Karzand, Srebro 2021; Srebro, Rennie, Jaakkola 2004; Jacot 2023",
    settings=Settings,
    paper={
        "depths": (2, 3, 4, 6, 8, 12),
        "n_steps": 10_000,
        "size": 100,
        "rank": 5,
        "n_train": 2000,
        "completion_steps": 10_000,
    },
    simulate=simulate,
    claims=(SCHATTEN, EXPANSION),
    figures=figures,
    seeds=10,
)
