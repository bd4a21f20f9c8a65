"""What depth alone does to learning: the big get bigger.

The product A = W_N ... W₁ of balanced factors, W_{j+1}ᵀ W_{j+1} = W_j W_jᵀ, which follow their own gradients, moves
by dA/dt = −ψ_A(∇L(A)), ψ_A(G) = Σⱼ (A Aᵀ)^((N−j)/N) G (Aᵀ A)^((j−1)/N). A singular value σ moves N σ^(2−2/N) times as
fast as the gradient asks, so from a small start the modes of the target are learned one after the other, strongest
first. The simpler form −N A^(2(N−1)/N) ∇L holds only for symmetric A that commute with the gradient.

Loss ½ ‖A − Y‖², that of white inputs. Time is that of the flow of the factors: a step of gradient descent with the
learning rate η takes the time η, and strays from the flow, and from balance, by O(η) in a unit of time.

Sources: Arora, Cohen, Hazan 2018, Theorem 1; Arora, Cohen, Hu, Luo 2019, Theorem 3; Saxe, McClelland, Ganguli 2014;
B. Barak (2021), lecture on deep linear networks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor
from xarray.ufuncs import log

from learnscope import laboratory
from learnscope.dynamics.end_to_end import end_to_end_flow, preconditioned_gradient, two_layer_mode
from learnscope.dynamics.gradient_descent import descend
from learnscope.dynamics.stack import SquaredError
from learnscope.laboratory import Claim, Criterion, Experiment, Point, at_most, median_over_seeds
from learnscope.networks.deep_linear import balanced_factors, factor_gradients, product
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, category

STARTS = ("balanced", "unbalanced")
MODES = (4.0, 2.0, 1.0)  # singular values of the target that are watched
UNBALANCE = 3.0  # W₁ is multiplied by it, and W₂ divided
TIMES = np.geomspace(0.01, 20, 100)


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    outputs: int = Field(5, ge=3, description="rows of A")
    inputs: int = Field(8, ge=4, description="columns of A, more than rows")
    depths: tuple[int, ...] = Field((2, 3, 5), description="numbers of factors, beside 1")
    learning_rates: tuple[float, ...] = Field((0.02, 0.01, 0.005), description="of gradient descent; 1/η is whole")
    scales: tuple[float, ...] = Field((0.01, 1.0), description="singular values of A at the start, the smallest first")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Compare factors with the closed flow of their product; then watch modes grow."""
    return _factors(point, generator).merge(_growth(point, generator))


def _factors(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Compare the velocity of factors with that of the flow, and descent for one unit of time at each learning rate."""
    start = random_matrix(torch.linspace(1.0, 0.3, point.outputs), point.inputs, generator)
    target = random_matrix(torch.linspace(2.0, 0.5, point.outputs), point.inputs, generator)
    loss = SquaredError(target, torch.full_like(target, 0.5))
    velocity, distance, drift = [], [], []
    for N in point.depths:
        first, second, *others = balanced_factors(start, N)
        expected = -preconditioned_gradient(start, start - target, N)
        end = end_to_end_flow(loss.gradient, start, N, [1.0], relative_tolerance=1e-10).states[0]
        for scale in (1.0, UNBALANCE):
            factors = [scale * first, second / scale, *others]
            velocity.append(_relative(product_velocity(factors, start - target) - expected, expected))
            for rate in point.learning_rates:
                after = descend([factor[None] for factor in factors], loss, rate, n_steps=round(1 / rate)).factors
                distance.append(_relative(product(after)[0] - end, end - start))
                drift.append(abs(imbalance(after)[0] - imbalance(factors)))
    dims, shape = ["N", "start", "rate"], (len(point.depths), len(STARTS), len(point.learning_rates))
    return xr.Dataset(
        {
            "velocity": (dims[:2], torch.stack(velocity).reshape(shape[:2])),
            "distance": (dims, torch.stack(distance).reshape(shape)),
            "drift": (dims, torch.stack(drift).reshape(shape)),
        },
        coords={"N": list(point.depths), "start": list(STARTS), "rate": list(point.learning_rates)},
    )


def _growth(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Follow u_rᵀ A v_r for the modes s_r u_r v_rᵀ of the target, from starts with all singular values equal."""
    modes = torch.tensor(MODES, dtype=torch.float64)
    target = random_matrix(modes, point.inputs, generator, rows=point.outputs)
    U, _, Vh = torch.linalg.svd(target, full_matrices=False)
    start = random_matrix(torch.ones(point.outputs), point.inputs, generator)
    starts = torch.tensor(point.scales, dtype=torch.float64)[:, None, None] * start
    depths = (1, *point.depths)
    times = torch.from_numpy(TIMES)
    flows = [end_to_end_flow(lambda A: A - target, starts, N, times, relative_tolerance=1e-5) for N in depths]
    strengths = torch.einsum("ir,ntsij,rj->nstr", U, torch.stack([flow.states for flow in flows]), Vh)[
        ..., : len(MODES)
    ]
    half = [[at_crossing(s[:, 1] / MODES[1], s[:, 0] / MODES[0], 0.5) for s in rows] for rows in strengths.numpy()]
    return xr.Dataset(
        {
            "strength": (["depth", "scale", "time", "mode"], strengths),
            "second": (
                ["depth", "scale"],
                half,
                {"long_name": "share of the second mode when half of the first is there"},
            ),
        },
        coords={"depth": list(depths), "scale": list(point.scales), "time": TIMES, "mode": list(MODES)},
    )


def random_matrix(values: Tensor, columns: int, generator: torch.Generator, *, rows: int | None = None) -> Tensor:
    """Return a float64 matrix with these singular values and uniformly random singular vectors; square on the left."""
    rank, rows = len(values), rows or len(values)
    left, right = (
        torch.linalg.qr(torch.randn(size, rank, generator=generator, dtype=torch.float64)).Q for size in (rows, columns)
    )
    return left * values.double() @ right.mT


def product_velocity(factors: list[Tensor], gradient: Tensor) -> Tensor:
    """Return dA/dt = Σⱼ W_N ... dW_j/dt ... W₁ where every factor follows its own gradient."""
    slopes = factor_gradients(factors, gradient)
    return -torch.stack([product([*factors[:j], slope, *factors[j + 1 :]]) for j, slope in enumerate(slopes)]).sum(0)


def imbalance(factors: list[Tensor]) -> Tensor:
    """Return the largest ‖W_{j+1}ᵀ W_{j+1} − W_j W_jᵀ‖ over the layers."""
    gaps = [outer.mT @ outer - inner @ inner.mT for inner, outer in itertools.pairwise(factors)]
    return torch.stack([torch.linalg.matrix_norm(gap) for gap in gaps]).amax(0)


def at_crossing(values: np.ndarray, clock: np.ndarray, level: float) -> float:
    """Return the value where the clock first crosses a level, on the line between samples; NaN if it never does."""
    after = int(np.argmax(clock >= level))
    if after == 0:
        return float("nan")
    share = (level - clock[after - 1]) / (clock[after] - clock[after - 1])
    return float(values[after - 1] + share * (values[after] - values[after - 1]))


def _relative(difference: Tensor, whole: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(difference) / torch.linalg.matrix_norm(whole)


def slope_error(quantity: str, start: str = "balanced") -> Callable[[xr.Dataset], xr.DataArray]:
    """Return the measure of |slope − 1| of log(quantity) over log(η), the largest over depths."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        x, y = log(data["rate"]), log(data[quantity].sel(start=start))
        x = x - x.mean("rate")
        return abs((x * y).sum("rate") / (x * x).sum("rate") - 1).max("N")

    return measure


def second_mode(deep: bool) -> Callable[[xr.Dataset], xr.DataArray]:
    """Return the measure of the share of the second mode when half of the first is there, mean over depths."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        return data["second"].isel(scale=0).sel(depth=data["depth"][data["depth"] > 1] if deep else [1]).mean("depth")

    return measure


def second_mode_of_saxe(data: xr.Dataset) -> float:
    """Return the same for two layers that start aligned with the target."""
    first, second, start = (torch.tensor(float(s), dtype=torch.float64) for s in (*MODES[:2], data["scale"][0]))
    return float(two_layer_mode(start, second, torch.log(first / start - 1) / (2 * first)) / second)


CLAIM = Claim(
    name="dln-end-to-end",
    statement="The product A of balanced factors follows dA/dt = −ψ_A(∇L(A)), which gradient descent with a small "
    "learning rate approaches; its modes grow at the rate N σ^(2−2/N), so the strongest is learned first.",
    source="Arora, Cohen, Hazan 2018, Theorem 1; Arora, Cohen, Hu, Luo 2019, Theorem 3; Barak 2021",
    correction="Barak's lecture derives dA/dt = −N A^(2(N−1)/N) ∇L(A) for symmetric matrices that commute. The general "
    "field is ψ_A, which is not a product of A with the gradient; the factors must be balanced for it.",
    criteria=(
        Criterion(
            name="velocity of the product of factors: distance to −ψ_A, over its size, the largest over depths",
            predicted=0.0,
            measured=lambda data: data["velocity"].sel(start="balanced").max("N"),
            band=at_most(1e-10),
            reason="an identity in float64, with singular values between 0.3 and 1 and powers no less than 1/5",
            control=lambda data: data["velocity"].sel(start="unbalanced").min("N"),
            control_name="factors of the same product with W₁ three times as large and W₂ a third",
        ),
        Criterion(
            name="distance of descent to the flow after a unit of time ∝ η: |slope − 1|, the largest over depths",
            predicted=0.0,
            measured=slope_error("distance"),
            band=at_most(0.1),
            reason="Euler's method is of first order; the next order bends the slope by η times the curvature, 5",
            control=slope_error("distance", "unbalanced"),
            control_name="unbalanced factors, which follow another flow",
        ),
        Criterion(
            name="imbalance after a unit of time ∝ η: |slope − 1|, the largest over depths",
            predicted=0.0,
            measured=slope_error("drift"),
            band=at_most(0.1),
            reason="each step adds η² (gᵀg − g gᵀ) and there are 1/η; the next order as above",
        ),
        Criterion(
            name="small start: share of the second mode when half of the first is there, mean over depths from 2",
            predicted=second_mode_of_saxe,
            measured=second_mode(deep=True),
            band=at_most(0.25),
            reason="0.09 for two aligned layers, less for more, times a random factor near one; a linear model has ½",
            control=second_mode(deep=False),
            control_name="depth 1",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw how modes grow at each depth, and how descent approaches the flow."""
    return _growth_figure(data), _descent_figure(data)


def _growth_figure(data: xr.Dataset) -> Figure:
    targets = tuple(
        Series(f"target, mode {k + 1}", np.full(data.sizes["time"], s), category(k), style="faint")
        for k, s in enumerate(MODES)
    )
    choices = tuple(
        Choice(
            f"depth {N}, {'small' if scale < 0.1 else 'large'} start ({scale:g})",
            Axis("strength", "strength u_rᵀ A v_r of the mode"),
            (
                Lines(
                    tuple(
                        median_over_seeds(
                            data["strength"].sel(depth=N, scale=scale, mode=s), f"mode {k + 1}", category(k)
                        )
                        for k, s in enumerate(MODES)
                    )
                ),
            ),
            targets,
        )
        for scale in data["scale"].values
        for N in data["depth"].values
    )
    return Figure(
        "growth",
        "The big get bigger",
        Caption(
            shows="Strength of the three modes of the target in the product A, over the time of the flow of the "
            "factors, from matrices whose singular values are all equal. Median over seeds, bands from the least to "
            "the largest.",
            look_for="A linear model learns all modes at the same relative pace. With depth and a small start each "
            "waits and then rises fast, strongest first, the more so the deeper; a large start weakens the effect.",
            source="Arora, Cohen, Hu, Luo 2019, Theorem 3; Saxe, McClelland, Ganguli 2014",
        ),
        charts=(Chart(Axis("time", "time", "log", data["time"].values), choices, starts=(0, 2), height=420),),
    )


def _descent_figure(data: xr.Dataset) -> Figure:
    titles = {"distance": "distance to the flow, over the way", "drift": "change of the imbalance"}
    choices = []
    for quantity, title in titles.items():
        lines = [
            median_over_seeds(
                data[quantity].sel(N=N, start=start),
                f"depth {N}, {start}",
                category(k),
                "line" if start == "balanced" else "dashed",
            )
            for k, N in enumerate(data["N"].values)
            for start in STARTS
        ]
        choices.append(Choice(quantity, Axis(quantity, title, "log"), (Lines(tuple(lines)),)))
    return Figure(
        "descent",
        "Gradient descent approaches the flow",
        Caption(
            shows="After one unit of time, at each learning rate: the distance of the product of factors to the flow "
            "of A alone, and by how much their imbalance has changed. Median over seeds, bands from the least to the "
            "largest.",
            look_for="Straight lines of slope 1 from balanced factors. Unbalanced factors of the same product keep "
            "their distance at any learning rate: A alone does not say where they go.",
            source="Arora, Cohen, Hazan 2018, Theorem 1",
        ),
        charts=(
            Chart(Axis("learning rate", "learning rate η", "log", data["rate"].values), tuple(choices), starts=(0, 1)),
        ),
    )


EXPERIMENT = Experiment(
    name="deep-linear-flow",
    title="Deep linear networks: the big get bigger",
    source="Arora, Cohen, Hazan 2018; Arora, Cohen, Hu, Luo 2019; Saxe, McClelland, Ganguli 2014",
    settings=Settings,
    paper={"outputs": 100, "inputs": 200, "depths": (2, 3, 5, 8), "learning_rates": (2e-3, 1e-3, 5e-4)},
    simulate=simulate,
    claims=(CLAIM,),
    figures=figures,
    parts=("deep-linear-minima", "lazy-completion"),
)
