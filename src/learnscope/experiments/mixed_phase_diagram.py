"""Small starts learn few singular values and stop well, large ones fit signal and noise alike: a diagram in (σ², w).

A = W₂ W₁ with W₁ [w, d] and W₂ [d, w] of independent entries N(0, σ²), σ² = d^γ_σ² and w = d^γ_w, learns Y = A* + E by
gradient descent on ½ ‖A − Y‖²; A* has rank k and singular values near d/√k, E has entries N(0, 1). The test error
‖A − A*‖²/d² is best at some step. Where the threshold σ² w is far below the singular values of A*, for
γ_σ² + γ_w < 1, training is active: the k modes of A* come long before the noise, and at best A is the approximation of
Y of rank k, of test error near 2k/d. For γ_σ² + γ_w > 1 it is lazy: A = x Y + (1 − x) A₀ with the same x for all modes,
whose best test error is, for signal and start P = ‖A*‖² + ‖A₀‖² and noise N = ‖E‖²,

    P N / (P + N) / d²,    ‖A₀‖² ≈ (σ² w)² d² / w:

1/2 for very wide networks, and that of the noise fitted in full, N/d² ≈ 1, for w ≪ (σ² w)².

The steps of gradient descent, W₁ first and W₂ with the new W₁, are reduced to d × d matrices, which is exact and takes
as long at any width. All networks of a seed share the target. η is 1 / (50 ‖A*‖), or 1 / (50 σ² w) where
γ_σ² + γ_w > 1; training stops by the rules of the authors' code, at the latest after 750 steps.

Source: Z. Tu, S. Aranguri, A. Jacot (2024), Mixed dynamics in linear networks, figure 2, and their code.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from pydantic import Field

from learnscope import laboratory
from learnscope.distributions.noisy_low_rank import NoisyMatrix, noisy_low_rank
from learnscope.dynamics.early_stopping import train_until_overfit
from learnscope.dynamics.two_layer_linear import random_network
from learnscope.laboratory import Claim, Criterion, Experiment, Point, at_most, within
from learnscope.laboratory.claims import Measure
from learnscope.observables.spectra import stable_rank
from learnscope.report.chart import Axis, Caption, Cells, Chart, Choice, ColourScale, Figure, Lines, Series, depth

RESOLUTION = 50  # 1 / η over ‖A*‖ or σ² w
LARGE = 5  # singular values above a fifth of the largest count for the rank
SMALL, ACTIVE, COLLAPSED, LAZY = -0.4, 0.0, 0.5, 1.0  # exponents of σ² w to the base d that bound what claims look at


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    dim: int = Field(60, ge=4, description="rows and columns of A")
    rank: int = Field(3, ge=1, description="rank of A*")
    gamma_variance: tuple[float, ...] = Field(
        tuple(np.linspace(-2.2, -0.8, 9).round(6).tolist()), min_length=2, description="γ_σ² of σ² = d^γ_σ²"
    )
    gamma_width: tuple[float, ...] = Field(
        tuple(np.linspace(1.75, 2.8, 7).round(6).tolist()), min_length=2, description="γ_w of w = d^γ_w"
    )
    steps: int = Field(750, ge=1, description="steps of gradient descent at most")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Train a network for each place of the diagram on one target."""
    matrices = noisy_low_rank(point.dim, point.rank, generator)
    cells = [
        [cell(matrices, variance, width, point.steps, generator) for width in point.gamma_width]
        for variance in point.gamma_variance
    ]
    dims = ["gamma_variance", "gamma_width"]
    measured = {name: (dims, [[each[name] for each in row] for row in cells]) for name in cells[0][0]}
    truncated, signal_rank = references(matrices, point.rank)
    return xr.Dataset(
        measured | {"truncated_error": truncated, "signal_stable_rank": signal_rank, "rank": point.rank},
        coords={"gamma_variance": list(point.gamma_variance), "gamma_width": list(point.gamma_width)},
    )


def cell(
    matrices: NoisyMatrix, gamma_variance: float, gamma_width: float, steps: int, generator: torch.Generator
) -> dict[str, float]:
    """Train one network, and measure it at the step of its least test error.

    Cost: four products of d × d matrices a step, and one set of singular values in all.
    """
    dim = matrices.signal.shape[-1]
    variance, width = dim**gamma_variance, dim**gamma_width
    norm = float(torch.linalg.matrix_norm(matrices.signal, ord=2))
    rate = 1 / (RESOLUTION * (variance * width if gamma_variance + gamma_width > 1 else norm))
    network = random_network(dim, dim, int(width), variance, generator)
    stopped = train_until_overfit(network, matrices.target, matrices.signal, rate, steps)
    values = torch.linalg.svdvals(stopped.best)
    power = float(matrices.signal.square().mean() + network.product.square().mean())
    noise = float(matrices.noise.square().mean())
    return {
        "best_error": stopped.test_errors[stopped.best_step],
        "best_step": stopped.best_step,
        "last_step": len(stopped.test_errors) - 1,
        "stable_rank": float(stable_rank(values)),
        "numerical_rank": int((values > values[0] / LARGE).sum()),
        "lazy_error": power * noise / (power + noise),
    }


def references(matrices: NoisyMatrix, rank: int) -> tuple[float, float]:
    """Return the test error of the approximation of A* + E of rank k, and the stable rank of A*."""
    U, s, Vh = torch.linalg.svd(matrices.target)
    truncated = (U[:, :rank] * s[:rank]) @ Vh[:rank]
    error = (truncated - matrices.signal).square().mean()
    return float(error), float(stable_rank(torch.linalg.svdvals(matrices.signal)))


def _exponents(data: xr.Dataset) -> xr.DataArray:
    """Return γ_σ² + γ_w, the logarithm of σ² w to the base d, at every place."""
    return (data["gamma_variance"] + data["gamma_width"]).round(6)


def ratio(measured: str, predicted: str, low: float, high: float) -> Measure:
    """Return the measure of one variable over another, mean over the places with d^low ≤ σ² w ≤ d^high."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        exponents = _exponents(data)
        places = (exponents >= low) & (exponents <= high)
        return (data[measured] / data[predicted]).where(places).mean(["gamma_variance", "gamma_width"])

    return measure


def at_equal_threshold(
    error: np.ndarray, gamma_variance: np.ndarray, gamma_width: np.ndarray, exponents: np.ndarray
) -> np.ndarray:
    """Return log error [exponent, width] where σ² w = d^exponent, interpolated along σ², NaN off the diagram.

    Args:
        error: [variance, width].
        gamma_variance: [variance] in increasing order.
        gamma_width: [width].
        exponents: [exponent].
    """
    columns = [
        np.interp(exponents - width, gamma_variance, column, left=np.nan, right=np.nan)
        for width, column in zip(gamma_width, np.log(error).T, strict=True)
    ]
    return np.stack(columns, axis=1)


def spread(low: float, high: float) -> Measure:
    """Return the measure of how much the least test errors of different widths differ at equal d^low ≤ σ² w ≤ d^high.

    It is the largest over the least of them minus 1, at that σ² w where it is largest.
    """

    def of_seed(error: np.ndarray, gamma_variance: np.ndarray, gamma_width: np.ndarray) -> float:
        exponents = np.unique((gamma_variance[:, None] + gamma_width).round(6))
        exponents = exponents[(exponents >= low) & (exponents <= high)]
        logs = at_equal_threshold(error, gamma_variance, gamma_width, exponents)
        several = logs[np.isfinite(logs).sum(axis=1) > 1]
        return float(np.expm1(np.nanmax(several, axis=1) - np.nanmin(several, axis=1)).max())

    def measure(data: xr.Dataset) -> xr.DataArray:
        arrays = data["best_error"], data["gamma_variance"], data["gamma_width"]
        core = [["gamma_variance", "gamma_width"], ["gamma_variance"], ["gamma_width"]]
        return xr.apply_ufunc(of_seed, *arrays, input_core_dims=core, vectorize=True)

    return measure


CLAIM = Claim(
    name="mixed-phase-diagram",
    statement="Networks with γ_σ² + γ_w < 1 are active: at their best they have a small test error and the rank of A*, "
    "and both depend on σ² w alone. Those with γ_σ² + γ_w > 1 are lazy and fit the noise of all modes.",
    source="Tu, Aranguri, Jacot 2024, figure 2 and theorems 1 and 2",
    criteria=(
        Criterion(
            name="differences of the best test error between widths at equal σ² w ≤ √d, largest",
            predicted=0.0,
            measured=spread(-np.inf, COLLAPSED),
            band=at_most(0.1),
            reason="the start adds (σ² w)²/w until it decays: at σ² w = √d and the least width 0.05 to about 0.35",
            control=spread(LAZY, 1.5),
            control_name="d ≤ σ² w ≤ d^1.5",
        ),
        Criterion(
            name="best test error over P N / (P + N) / d², mean over σ² w ≥ d",
            predicted=1.0,
            measured=ratio("best_error", "lazy_error", LAZY, np.inf),
            band=within(0.05),
            reason="products of signal, start and noise average to zero, up to shares of order 1/d",
            control=ratio("best_error", "lazy_error", -np.inf, ACTIVE),
            control_name="active training, σ² w ≤ 1",
        ),
        Criterion(
            name="best test error over that of the approximation of rank k, σ² w ≤ d^-0.4",
            predicted=1.0,
            measured=ratio("best_error", "truncated_error", -np.inf, SMALL),
            band=within(0.15),
            reason="1 in the limit of small σ² w; at d^-0.45 modes of the noise have grown to about 1, a tenth of it",
            control=ratio("best_error", "truncated_error", LAZY, np.inf),
            control_name="lazy training, σ² w ≥ d",
        ),
        Criterion(
            name="stable rank at the best test error over that of A*, σ² w ≤ 1",
            predicted=1.0,
            measured=ratio("stable_rank", "signal_stable_rank", -np.inf, ACTIVE),
            band=within(0.2),
            reason="training is stopped before the k-th mode is learned in full",
            control=ratio("stable_rank", "signal_stable_rank", LAZY, np.inf),
            control_name="lazy training, σ² w ≥ d",
        ),
        Criterion(
            name="singular values above a fifth of the largest over k, at the best test error, σ² w ≤ 1",
            predicted=1.0,
            measured=ratio("numerical_rank", "rank", -np.inf, ACTIVE),
            band=within(0.1),
            reason="the number is whole: it may be off by one at three places of ten for k = 3",
            control=ratio("numerical_rank", "rank", LAZY, np.inf),
            control_name="lazy training, σ² w ≥ d",
        ),
    ),
    correction="σ² w alone decides as long as the start is small, (σ² w)²/w below the error. In the lazy phase the "
    "width does as well: the best test error is P N / (P + N) / d² with P = ‖A*‖² + (σ² w)² d²/w and N = ‖E‖² (derived "
    "here). Errors near 1 at large σ² w are due to widths w ≪ (σ² w)², where fitting all of the noise is best, and "
    "not to laziness: very wide lazy networks reach 1/2.",
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw the phase diagram in four maps, and its collapse onto σ² w."""
    return _diagram(data), _collapse(data)


def _diagram(data: xr.Dataset) -> Figure:
    variances, widths = data["gamma_variance"].values, data["gamma_width"].values
    rows = Axis("γ_σ²", "γ_σ²", "names", np.array([f"{gamma:.2f}" for gamma in variances]))
    maps = {"best_error": "test error", "best_step": "step", "stable_rank": "stable rank", "numerical_rank": "rank"}
    choices = []
    for name, title in maps.items():
        values = data[name].mean("seed").values
        colours = ColourScale(title, float(values.min()), float(values.max()), logarithmic=True)
        choices.append(Choice(title, rows, (Cells(values),), colours=colours))
    caption = Caption(
        "Networks of variance d^γ_σ² and width d^γ_w at the step of their least test error: that error, the step, the "
        "stable rank, and the number of singular values above a fifth of the largest. Means over seeds.",
        "Below the diagonal γ_σ² + γ_w = 1 training is active: small error, the rank of the signal, many steps. Beyond "
        "it is lazy. Contours run along the diagonal in the active phase only.",
        "Tu, Aranguri, Jacot 2024, figure 2",
    )
    x = Axis("γ_w", "γ_w", "linear", widths)
    titles = {"error and step": 0, "rank": 2}
    charts = tuple(Chart(x, tuple(choices[k : k + 2]), title, height=420) for title, k in titles.items())
    return Figure("diagram", "Phase diagram of variance and width", caption, charts)


def _collapse(data: xr.Dataset) -> Figure:
    gammas, widths = data["gamma_variance"].values, data["gamma_width"].values
    exponents = np.linspace(gammas.min() + widths.min(), gammas.max() + widths.max(), 36)
    chosen = np.unique(np.linspace(0, len(widths) - 1, 4).round().astype(int))
    curves = {name: _curves(data, name, exponents) for name in ("best_error", "lazy_error")}
    series = []
    for k, j in enumerate(chosen):
        colour = depth(k, len(chosen))
        series.append(Series(f"w = d^{widths[j]:.2f}", curves["best_error"][:, j], colour))
        series.append(Series(f"lazy, w = d^{widths[j]:.2f}", curves["lazy_error"][:, j], colour, style="dashed"))
    flat = np.full(len(exponents), float(data["truncated_error"].mean()))
    series.append(Series("approximation of rank k", flat, depth(0, 2), style="faint"))
    caption = Caption(
        "Best test error against the exponent of the threshold σ² w, for several widths; dashed the prediction of lazy "
        "training for each, and the approximation of the target of rank k. Means over seeds.",
        "The lines lie on each other as long as they are below the dashed ones of their width, which they follow from "
        "σ² w = d on.",
        "The prediction P N / (P + N) / d² is derived here",
    )
    axis = Axis("test error", "best test error", "log")
    x = Axis("exponent", "γ_σ² + γ_w, the exponent of σ² w", "linear", exponents)
    chart = Chart(x, (Choice("test error", axis, (Lines(tuple(series)),)),))
    return Figure("collapse", "What σ² w decides, and what the width", caption, (chart,))


def _curves(data: xr.Dataset, name: str, exponents: np.ndarray) -> np.ndarray:
    mean = data[name].mean("seed").values
    return np.exp(at_equal_threshold(mean, data["gamma_variance"].values, data["gamma_width"].values, exponents))


EXPERIMENT = Experiment(
    name="mixed-phase-diagram",
    title="Active and lazy phases of a two-layer linear network",
    source="Z. Tu, S. Aranguri, A. Jacot (2024), Mixed Dynamics In Linear Networks: Unifying the Lazy and Active "
    "Regimes, arXiv:2405.17580",
    settings=Settings,
    simulate=simulate,
    claims=(CLAIM,),
    figures=figures,
    paper={
        "dim": 200,
        "rank": 5,
        "gamma_variance": tuple(np.linspace(-2.2, -0.8, 30).tolist()),
        "gamma_width": tuple(np.linspace(1.75, 2.8, 30).tolist()),
    },
)
