"""Depth keeps the least loss of a linear model, but neither the path nor, of many solutions, the same one.

The least loss over the factors of A = W_N ... W₁ is that over A if no layer is narrower than inputs and outputs. A
layer of width r leaves ½ Σ_{i>r} s_i², where s are the singular values of A* C^½, A* being the solution and C the
covariance of the inputs. Where many A fit, depth matters: from small weights two layers complete a matrix with one of
low rank; the linear model leaves the entries that are not seen where they were, at zero.

Losses: ‖Y − A X‖² / (2 n) for regression; ½ Σ (A − Y)² over seen entries for completion, with ‖Y‖₂ = 1. Time is that
of the flow of the factors. Balanced square factors cannot change the sign of det A and may end at a saddle; so the
regression has more inputs than outputs. The completion is by two layers of infinite width, W₁ᵀ W₁ = W₂ W₂ᵀ = σ² 1.

Sources: B. Barak (2021), lecture on deep linear networks; Arora, Cohen, Hu, Luo 2019 for the completion.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import xarray as xr
from pydantic import Field
from torch import Tensor
from torch.linalg import matrix_norm

from learnscope import laboratory
from learnscope.distributions.designs import gaussian_design
from learnscope.distributions.matrix_completion import low_rank_matrix, observed_entries
from learnscope.dynamics.end_to_end import end_to_end_flow, factor_flow, two_layer_flow
from learnscope.dynamics.least_squares import least_squares_flow
from learnscope.laboratory import Claim, Criterion, Experiment, Point, at_least, at_most, median_over_seeds, within
from learnscope.networks.deep_linear import gaussian_factors, product
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, category

TIMES = torch.logspace(-2, 2, 80, dtype=torch.float64)  # of the regression
LEVELS = (0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01)  # of the loss above its least value
AXES = {"time": "time", "level": "share of the loss that is left"}
SMALL, LAZY = 0.01, 10.0  # σ of two layers from which they find low rank, or follow the linear model


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    outputs: int = Field(5, ge=3, description="rows of A in the regression")
    inputs: int = Field(8, ge=4, description="columns of A in the regression, more than rows")
    n_train: int = Field(200, ge=8, description="examples of the regression, more than inputs")
    depths: tuple[int, ...] = Field((2, 3), description="numbers of factors, beside 1")
    bottleneck: int = Field(2, ge=1, description="width of the narrow network, less than outputs")
    dim: int = Field(30, ge=4, description="rows and columns of the matrix to complete")
    rank: int = Field(2, ge=1, description="of the matrix to complete")
    observed: float = Field(0.3, gt=0, lt=1, description="share of entries that are seen")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Follow networks to the minima of a regression and of a completion."""
    return _regression(point, generator).merge(_completion(point, generator))


def _regression(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Follow depth 1, balanced networks, a lazy one and a narrow one on one regression."""
    spectrum = torch.linspace(2.0, 0.7, point.outputs, dtype=torch.float64)
    teacher, start = (
        _with_singular_values(gaussian_design(point.outputs, point.inputs, generator), values)
        for values in (spectrum, torch.full_like(spectrum, 0.1))
    )
    X = gaussian_design(point.inputs, point.n_train, generator)
    Y = teacher @ X + 0.3 * gaussian_design(point.outputs, point.n_train, generator)
    C, B = X @ X.mT / point.n_train, Y @ X.mT / point.n_train
    solution, root = torch.linalg.solve(C, B, left=False), torch.linalg.cholesky(C)
    narrow = gaussian_factors((point.inputs, point.bottleneck, point.outputs), 0.1, generator)
    gram = LAZY**2 * torch.eye(point.inputs + point.outputs, dtype=torch.float64)
    gram[point.inputs :, : point.inputs], gram[: point.inputs, point.inputs :] = start, start.mT

    def gradient(A: Tensor) -> Tensor:
        return A @ C - B

    paths = {
        "depth 1": least_squares_flow(C, B, start, TIMES),
        **{f"depth {N}": end_to_end_flow(gradient, start, N, TIMES).states for N in point.depths},
        "lazy": two_layer_flow(gradient, gram, point.inputs, TIMES / LAZY**2).states[:, point.inputs :, : point.inputs],
        "narrow": product(factor_flow(gradient, narrow, TIMES)[0]),
    }
    excess = {name: ((path - solution) @ root).square().sum((-2, -1)) / 2 for name, path in paths.items()}
    first = excess["depth 1"][0]
    wide = [name for name in paths if name != "narrow"]
    passed = {name: at_levels(paths[name], excess[name] / first) for name in wide}
    away = [matrix_norm(passed[name] - passed["depth 1"]) / matrix_norm(solution) for name in wide]
    missing = torch.linalg.svdvals(solution @ root)[point.bottleneck :].square().sum() / 2
    return xr.Dataset(
        {
            "excess": (["network", "time"], torch.stack(list(excess.values())) / first),
            "away": (["wide", "level"], torch.stack(away)),
            "missing": float(missing / first),
        },
        coords={"network": list(paths), "wide": wide, "time": TIMES, "level": list(LEVELS)},
    )


def _completion(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Complete a matrix with two layers from small and from large weights."""
    shape = (point.dim, point.dim)
    target = low_rank_matrix(shape, point.rank, generator)
    target = target / matrix_norm(target, 2)
    seen = observed_entries(shape, round(point.observed * point.dim**2), generator).double()
    scales = torch.tensor([SMALL, LAZY], dtype=torch.float64)
    grams = scales[:, None, None] ** 2 * torch.eye(2 * point.dim, dtype=torch.float64)
    end = two_layer_flow(lambda A: seen * (A - target), grams, point.dim, 1000 / (1 + 50 * scales[None] ** 2))
    A = end.states[0, :, point.dim :, : point.dim]
    return xr.Dataset(
        {
            "train": ("scale", (seen * (A - target)).square().sum((-2, -1)) / (seen * target).square().sum()),
            "filled": ("scale", matrix_norm((1 - seen) * A) / matrix_norm((1 - seen) * target)),
        },
        coords={"scale": [SMALL, LAZY]},
    )


def at_levels(path: Tensor, loss: Tensor) -> Tensor:
    """Return the states [levels, m, n] where a falling loss [T] passes each of LEVELS, between samples on a line.

    NaN at levels that the loss does not reach.
    """
    levels = torch.tensor(LEVELS, dtype=loss.dtype)
    after = (loss <= levels[:, None]).int().argmax(-1).clamp(min=1)
    share = (loss[after - 1] - levels) / (loss[after - 1] - loss[after])
    states = torch.lerp(path[after - 1], path[after], share[:, None, None])
    return torch.where((loss.amin() <= levels)[:, None, None], states, torch.nan)


def _with_singular_values(matrix: Tensor, values: Tensor) -> Tensor:
    U, _, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return (U * values) @ Vh


def excess(*networks: str) -> Callable[[xr.Dataset], xr.DataArray]:
    """Return the measure of the largest loss at the end above the least of a linear model, over that at the start."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        chosen = networks or [name for name in data["network"].values if name.startswith("depth")]
        return data["excess"].sel(network=list(chosen)).isel(time=-1).max("network")

    return measure


def away(*networks: str) -> Callable[[xr.Dataset], xr.DataArray]:
    """Return the measure of the least distance to the linear model at 30 % of the loss, over the solution's size."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        chosen = networks or [name for name in data["wide"].values if name not in ("depth 1", "lazy")]
        return data["away"].sel(wide=list(chosen), level=0.3).min("wide")

    return measure


def completed(quantity: str, scale: float) -> Callable[[xr.Dataset], xr.DataArray]:
    """Return the measure of a quantity of the completion from weights of a scale."""
    return lambda data: data[quantity].sel(scale=scale)


CLAIM = Claim(
    name="linear-vs-deep-same-min",
    statement="The least loss over the factors of W_N ... W₁ is that over A if no layer is narrower than inputs and "
    "outputs; the path differs, and so does the solution where many fit.",
    source="Barak 2021",
    correction="The equality is one of minima. Balanced factors cannot change the sign of the determinant of a square "
    "A, so from the wrong sign their flow ends at a saddle, with a loss above the least.",
    criteria=(
        Criterion(
            name="regression: largest loss above the least of a linear model at the end, over that at the start",
            predicted=0.0,
            measured=excess(),
            band=at_most(1e-6),
            reason="the slowest rate is about ½, over a time of 100; three layers leave a saddle in about 2 σ^(−⅓)",
            control=excess("narrow"),
            control_name="a layer that is narrower than the outputs",
        ),
        Criterion(
            name="regression: loss that a layer of width r leaves, over ½ Σ_{i>r} s_i²",
            predicted=1.0,
            measured=lambda data: excess("narrow")(data) / data["missing"],
            band=within(1e-3),
            reason="a closed form; the rest is what is left of the flow at its end",
        ),
        Criterion(
            name="regression: distance to the linear path at 30 % of the loss, over the solution's size, least depth",
            predicted=0.1,
            measured=away(),
            band=at_least(0.1),
            reason="modes that differ by factors of up to 3 are learned in turn rather than together",
            control=away("lazy"),
            control_name="two layers from large weights",
        ),
        Criterion(
            name="completion from small weights: squared error on seen entries, over that of zero",
            predicted=0.0,
            measured=completed("train", SMALL),
            band=at_most(1e-5),
            reason="the time is 1000 over rates of a hundredth",
        ),
        Criterion(
            name="completion from small weights: size of the unseen entries, over the truth (linear model: 0)",
            predicted=1.0,
            measured=completed("filled", SMALL),
            band=at_least(0.5),
            reason="more than twice as many seen entries as a matrix of this rank has parameters, so most is found",
            control=completed("filled", LAZY),
            control_name="large weights",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw the losses of the regression, and how far the paths are apart."""
    losses = [
        median_over_seeds(data["excess"].sel(network=name).clip(1e-12), name, category(k))
        for k, name in enumerate(_names(data, "network"))
    ]
    losses.append(
        median_over_seeds(data["missing"].expand_dims(time=data["time"]), "narrow, predicted", category(5), "dashed")
    )
    paths = [
        median_over_seeds(data["away"].sel(wide=name), name, category(k))
        for k, name in enumerate(_names(data, "wide"))
        if k
    ]
    loss = Axis("loss", "loss above the least, over that at the start", "log")
    distance = Axis("distance", "distance to the linear model, over the solution's size")
    time, level = (Axis(name, title, "log", data[name].values) for name, title in AXES.items())
    return (
        Figure(
            "regression",
            "The same minimum by other paths",
            Caption(
                shows="Left: loss over time, for the linear model (depth 1), balanced networks from the same small "
                "product, two layers of large weights from it (lazy, in time rescaled by σ²), and a layer too narrow "
                "(narrow). Right: how far each is from the linear model where both have the same loss. Median over "
                "seeds, bands from the least to the largest.",
                look_for="All but the narrow network reach the linear model's loss; that one ends where the singular "
                "values that it cannot hold say. Balanced networks take another path, the lazy one does not.",
                source="Barak 2021",
                notes=("Losses below 1e-12 are drawn there.",),
            ),
            charts=(
                Chart(time, (Choice("loss", loss, (Lines(tuple(losses)),)),), "Loss", height=420),
                Chart(level, (Choice("path", distance, (Lines(tuple(paths)),)),), "Path", height=420),
            ),
        ),
    )


def _names(data: xr.Dataset, dim: str) -> list[str]:
    return [str(name) for name in data[dim].values]


EXPERIMENT = Experiment(
    name="deep-linear-minima",
    title="Deep linear networks: the same minimum by other paths",
    source="Barak 2021; Arora, Cohen, Hu, Luo 2019",
    settings=Settings,
    paper={"outputs": 20, "inputs": 30, "n_train": 600, "depths": (2, 3, 5), "dim": 100, "rank": 5},
    simulate=simulate,
    claims=(CLAIM,),
    figures=figures,
)
