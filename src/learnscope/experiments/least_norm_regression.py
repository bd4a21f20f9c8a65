"""Of all weights that fit, gradient descent from zero finds the shortest, and it gets there as fast as κ allows.

Regression with more weights than examples, X [n, d] with d > n, has many solutions. Every step of gradient descent,
and of SGD, adds rows of X, so w_t − w₀ stays in their span and the limit is X⁺y + (1 − X⁺X) w₀: from zero the solution
of least norm, from elsewhere the solution closest to the start. Within that span the error obeys
w_{t+1} − w* = (1 − η XᵀX)(w_t − w*), so it shrinks if and only if 0 < η < 2/λ_max, by max |1 − η λ| a step in the end,
which is 1 − 1/κ at η = 1/λ_max with κ = λ_max/λ_min over the span.

Loss ½ ‖Xw − y‖², a sum over examples; X and y have independent entries N(0, 1). Time is counted in passes over the
data: one step of full gradients, or n steps of SGD. Sign descent and Adam are the controls: they leave the span.

Sources: B. Barak (2021), What do deep networks learn and when do they learn it; T. Strohmer, R. Vershynin (2009), A
randomized Kaczmarz algorithm with exponential convergence, for SGD.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor
from xarray.ufuncs import log

from learnscope import laboratory
from learnscope.distributions.designs import gaussian_design
from learnscope.dynamics.linear_regression import (
    adam,
    contraction_factor,
    gradient_descent,
    minimum_norm_solution,
    row_space_part,
    sign_descent,
    stochastic_gradient_descent,
)
from learnscope.laboratory import SEEDS, Claim, Criterion, Experiment, Point, at_most, median_over_seeds, within
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, category, depth

Measure = Callable[[xr.Dataset], xr.DataArray]

CLOSE = 1e-8  # the root of float64's rounding
FIT = (1e-7, 1e-12)  # of the initial error: where contraction factors are fitted
RATES = (0.25, 0.5, 1.0, 1.5, 1.9, 1.99, 2.01, 2.1)  # learning rates η λ_max


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    n_train: int = Field(40, ge=2, description="rows of the design, fewer than columns")
    dim: int = Field(100, ge=3, description="columns of the design")
    passes: int = Field(600, ge=2, description="passes over the data, for the limits")
    steps: int = Field(3000, ge=4, description="steps of gradient descent, for the contraction factors")
    adam_rate: float = Field(0.01, gt=0, description="learning rate of Adam")
    sign_rate: float = Field(0.001, gt=0, description="learning rate of sign descent")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Descend from zero and from a random start with each algorithm, then with each learning rate."""
    design = gaussian_design(point.n_train, point.dim, generator)
    targets = torch.randn(point.n_train, generator=generator, dtype=torch.float64)
    start = torch.randn(point.dim, generator=generator, dtype=torch.float64)
    return _limits(point, design, targets, start, generator).merge(_contraction(point, design, targets, start))


def _limits(point: Point, design: Tensor, targets: Tensor, start: Tensor, generator: torch.Generator) -> xr.Dataset:
    """Follow four algorithms from zero and from the random start, and measure where they go."""
    passes = _log_spaced(point.passes)
    starts = torch.stack([torch.zeros_like(start), start])
    largest = float(torch.linalg.matrix_norm(design, ord=2)) ** 2
    draws = [p * point.n_train for p in passes]
    paths = {
        "gradient descent": gradient_descent(design, targets, starts, 1 / largest, passes),
        "SGD": stochastic_gradient_descent(design, targets, starts, 1 / point.dim, draws, generator),
        "sign descent": sign_descent(design, targets, starts, point.sign_rate, passes),
        "Adam": adam(design, targets, starts, point.adam_rate, passes),
    }
    weights = torch.stack(list(paths.values())).transpose(1, 2)  # [algorithm, start, pass, dim]
    solution = minimum_norm_solution(design, targets)
    length, moved = solution.norm(), weights - starts[:, None]
    predicted = (solution + starts - row_space_part(design, starts))[:, None]
    outside = (moved - row_space_part(design, moved)).norm(dim=-1) / moved.norm(dim=-1).clamp(min=1e-300)
    loss = ((design @ weights[..., None])[..., 0] - targets).square().sum(-1) / 2
    measured = {
        "distance": ((weights - solution).norm(dim=-1) / length, "distance to X⁺y, over its length"),
        "miss": ((weights - predicted).norm(dim=-1) / length, "distance to X⁺y + (1 − X⁺X) w₀, over ‖X⁺y‖"),
        "outside": (outside, "share of w_t − w₀ outside of the span of the rows"),
        "loss": (loss, "training loss ½ ‖Xw − y‖²"),
    }
    dims = ["algorithm", "start", "passes"]
    return xr.Dataset(
        {name: (dims, values.numpy(), {"long_name": title}) for name, (values, title) in measured.items()},
        coords={"algorithm": list(paths), "start": ["zero", "random"], "passes": passes},
    )


def _contraction(point: Point, design: Tensor, targets: Tensor, start: Tensor) -> xr.Dataset:
    """Follow gradient descent from the random start with every learning rate, and fit how fast errors shrink."""
    spectrum = torch.linalg.svdvals(design).square()
    rates = torch.tensor(RATES, dtype=torch.float64)
    path = gradient_descent(design, targets, start.expand(len(rates), -1), rates / spectrum[0], range(point.steps + 1))
    solution = minimum_norm_solution(design, targets)
    limit = solution + start - row_space_part(design, start)
    errors = (path - limit).norm(dim=-1).T.numpy()
    unreachable = (path - solution).norm(dim=-1).T.numpy()
    shown = _log_spaced(point.steps)
    return xr.Dataset(
        {
            "error": (
                ["rate", "step"],
                errors[:, shown] / errors[:, :1],
                {"long_name": "distance to the limit, over the first"},
            ),
            "factor": ("rate", [fitted_factor(error) for error in errors]),
            "factor_to_least_norm": ("rate", [fitted_factor(error) for error in unreachable]),
            "predicted_factor": ("rate", contraction_factor(spectrum, rates / spectrum[0]).numpy()),
            "mean_over_largest": float(spectrum.mean() / spectrum[0]),
        },
        coords={"rate": list(RATES), "step": shown},
    )


def fitted_factor(errors: np.ndarray) -> float:
    """Return the factor by which an error changes a step, as the mean over a window of steps.

    The window runs from where the error is 1e-7 of the first one to where it is 1e-12, between the early steps, on
    which all directions bear, and the rounding; it is the later half of the steps where the error does not fall so far.

    Examples:
        >>> round(fitted_factor(0.9 ** np.arange(400)), 6), round(fitted_factor(1.1 ** np.arange(400)), 6)
        (0.9, 1.1)
    """
    relative = errors / errors[0]
    first, last = (int(np.argmax(relative <= level)) if (relative <= level).any() else 0 for level in FIT)
    if not first < last:
        first, last = (len(errors) - 1) // 2, len(errors) - 1
    return float((errors[last] / errors[first]) ** (1 / (last - first)))


def _log_spaced(last: int, count: int = 60) -> list[int]:
    return sorted({0, *np.geomspace(1, last, count).round().astype(int).tolist()})


def _at_end(quantity: str, algorithms: list[str], start: str) -> Measure:
    return lambda data: data[quantity].sel(algorithm=algorithms, start=start).isel(passes=-1).max("algorithm")


def stability_limit(data: xr.Dataset) -> xr.DataArray:
    """Return the η λ_max at which the fitted log factor crosses zero, interpolated between the rates around 2."""
    below, above = (log(data["factor"].sel(rate=rate)) for rate in (1.99, 2.01))
    return 1.99 - below * (2.01 - 1.99) / (above - below)


def _worst_rate(quantity: str) -> Measure:
    return lambda data: abs(log(data[quantity]) / log(data["predicted_factor"]) - 1).max("rate")


CONVERGED = (
    "(1 − 1/κ)^600 is 4e-14 at κ = 20, which n/d = 0.4 has in the mean, and below 1e-8 up to κ = 32; the mean squared "
    "error of SGD falls by 1 − λ_min/‖X‖² a step, to below 1e-30; the band is the root of float64's rounding"
)
LEAST_NORM = Claim(
    name="minnorm-rowspan",
    statement="Gradient descent and SGD from zero stay in the span of the examples and converge to the solution of "
    "least norm X⁺y; from w₀ they converge to X⁺y + (1 − X⁺X) w₀.",
    source="Barak 2021, gradient descent for linear regression",
    criteria=(
        Criterion(
            name="gradient descent and SGD from zero: the larger distance to X⁺y, over its length",
            predicted=0.0,
            measured=_at_end("distance", ["gradient descent", "SGD"], "zero"),
            band=at_most(CLOSE),
            reason=CONVERGED,
            control=_at_end("distance", ["gradient descent", "SGD"], "random"),
            control_name="the same from a random start",
        ),
        Criterion(
            name="SGD from zero: largest share of the weights outside of the span of the rows",
            predicted=0.0,
            measured=lambda data: data["outside"].sel(algorithm="SGD", start="zero").max("passes"),
            band=at_most(CLOSE),
            reason="each step adds a multiple of a row, so only rounding leaves the span",
            control=lambda data: data["outside"].sel(algorithm="sign descent", start="zero").max("passes"),
            control_name="sign descent from zero",
        ),
        Criterion(
            name="gradient descent and SGD from w₀: the larger distance to X⁺y + (1 − X⁺X) w₀, over ‖X⁺y‖",
            predicted=0.0,
            measured=_at_end("miss", ["gradient descent", "SGD"], "random"),
            band=at_most(CLOSE),
            reason=CONVERGED,
            control=_at_end("miss", ["Adam"], "random"),
            control_name="Adam from w₀",
        ),
    ),
)
CONTRACTION = Claim(
    name="gd-contraction",
    statement="The error shrinks if and only if 0 < η < 2/λ_max, by max |1 − η λ| a step in the end, which is 1 − 1/κ "
    "at η = 1/λ_max.",
    source="Barak 2021, gradient descent for linear regression",
    criteria=(
        Criterion(
            name="relative error of the rate of decay or growth, largest over learning rates",
            predicted=0.0,
            measured=_worst_rate("factor"),
            band=at_most(0.05),
            reason="a second direction with as much of the error where the fit begins makes it too steep by "
            "½ log 2 / log 1e5, which is 3 %; two of them by 5 %",
            control=_worst_rate("factor_to_least_norm"),
            control_name="the distance to X⁺y instead, which holds the part of w₀ that never moves",
        ),
        Criterion(
            name="largest η λ_max that converges",
            predicted=2.0,
            measured=stability_limit,
            band=within(absolute=0.01),
            reason="the nearest learning rates are 1.99, where it converges, and 2.01, where it does not",
            control=lambda data: stability_limit(data) * data["mean_over_largest"],
            control_name="the mean eigenvalue in place of the largest",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw where the algorithms go, and how fast gradient descent does at each learning rate."""
    return _limits_figure(data), _contraction_figure(data)


def _limits_figure(data: xr.Dataset) -> Figure:
    choices = []
    for quantity, start in (("distance", "zero"), ("outside", "zero"), ("distance", "random"), ("loss", "zero")):
        title = str(data[quantity].attrs["long_name"])
        shown = data[quantity].sel(start=start).clip(1e-17)
        names = [str(name) for name in shown["algorithm"].values]
        lines = [median_over_seeds(shown.sel(algorithm=name), name, category(k)) for k, name in enumerate(names)]
        choices.append(Choice(f"{quantity}, from {start}", Axis(quantity, title, "log"), (Lines(tuple(lines)),)))
    passes = Axis("passes", "passes over the data (log scale; 0 is the start)", "step", data["passes"].values)
    return Figure(
        "limits",
        "Where each algorithm goes",
        Caption(
            shows="Distance of the weights to the solution of least norm, the share of their movement outside of the "
            f"span of the examples, and the training loss, from a start at zero and at random. {SEEDS}",
            look_for="All come close to fitting the data, but only gradient descent and SGD, and only from zero, find "
            "X⁺y. Their movement stays in the span up to rounding; that of the others leaves it with the first step.",
            source="Barak 2021; Strohmer, Vershynin 2009",
        ),
        charts=(Chart(passes, tuple(choices), starts=(0, 1), height=420),),
    )


def _contraction_figure(data: xr.Dataset) -> Figure:
    error = Axis("error", "distance to the limit, over the first", "log")
    curves = [
        median_over_seeds(data["error"].sel(rate=rate).clip(1e-14, 1e4), f"η λ_max = {rate:g}", depth(k, len(RATES)))
        for k, rate in enumerate(RATES)
    ]
    fit = median_over_seeds(data["factor"], "fitted", category(0))
    law = Series("max |1 − η λ|", data["predicted_factor"].median("seed").values, category(1), style="dashed")
    factor = Axis("factor", "factor of the error a step", range=(0.85, 1.12))
    steps = Axis("step", "steps (log scale; 0 is the start)", "step", data["step"].values)
    rates = Axis("rate", "learning rate η λ_max", "linear", data["rate"].values)
    return Figure(
        "contraction",
        "How fast gradient descent converges",
        Caption(
            shows="Distance to the limit at learning rates η λ_max, and the factor by which it changes a step, fitted "
            f"between 1e-7 and 1e-12, with its prediction. {SEEDS}",
            look_for="Decay at every rate below 2, growth above; the factor falls until η is close to "
            "2/(λ_max + λ_min), then climbs to 1 at 2.",
            source="Barak 2021",
        ),
        charts=(
            Chart(steps, (Choice("error", error, (Lines(tuple(curves)),)),), "Error over time", height=420),
            Chart(rates, (Choice("factor", factor, (Lines((fit, law)),)),), "Factor a step", height=420),
        ),
    )


EXPERIMENT = Experiment(
    name="least-norm-regression",
    title="Gradient descent finds the shortest solution",
    source="Barak 2021; Strohmer, Vershynin 2009",
    settings=Settings,
    paper={"n_train": 400, "dim": 1000},
    simulate=simulate,
    claims=(LEAST_NORM, CONTRACTION),
    figures=figures,
)
