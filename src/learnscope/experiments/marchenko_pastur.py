"""A random design is well conditioned with many rows or with few, and badly with as many rows as columns.

X [n, d] has independent entries N(0, 1). For large n and d at γ = d/n the eigenvalues of XᵀX/n fill the law of
Marchenko and Pastur on [(1 − √γ)², (1 + √γ)²]. So κ, the largest eigenvalue over the least positive one, is
((1 + √γ)/(1 − √γ))²: close to 1 for n ≫ d, infinite at n = d, close to 1 again for n ≪ d, where d − n eigenvalues are
zero. Gradient descent at η = 1/λ_max takes a number of steps in proportion to κ; at n = d its error is not exponential,
but falls like t^(−1/4). A mean spoils it: X + c 11ᵀ has a singular value c√(nd), so σ_max/σ_min is c√(nd)/|√n − √d|.
Subtracting the mean, of columns as batch normalisation does or of rows as layer normalisation does, undoes that.

The rows of the controls are autoregressive, or have entries of infinite variance. Time is counted in steps of full
gradients; errors are root mean squares over isotropic starts, within the span of the rows.

Sources: V. Marchenko, L. Pastur (1967); Z. Bai, J. Silverstein (2010), section 3.1; I. Johnstone (2001) on the edges at
finite size; M. Hardt, B. Recht (2022), Patterns, predictions, and actions, chapter 7, on normalisation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from pydantic import Field, field_validator
from torch import Tensor
from xarray.ufuncs import log, log10

from learnscope import laboratory
from learnscope.distributions.designs import autoregressive_design, gaussian_design, shifted, student_design
from learnscope.dynamics.linear_regression import mean_square_error, steps_to_shrink
from learnscope.laboratory import SEEDS, Claim, Criterion, Experiment, Grid, Point, at_least, at_most, within
from learnscope.observables import random_matrices
from learnscope.observables.features import centred
from learnscope.observables.random_matrices import condition_number, gram_eigenvalues, is_positive
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, category

Measure = Callable[[xr.Dataset], xr.DataArray]

LAWS = ("gaussian", "autoregressive", "student", "predicted")
TREATMENTS = ("nothing", "rotation", "centred columns", "centred rows", "no mean added", "predicted")
ROWS = "rows_per_column"
SHRUNK = 1e-6  # of the initial error: how far gradient descent is followed
POWER_LAW = slice(10, 1000)  # steps over which the exponent at n = d is fitted
PLACES = torch.linspace(-0.15, 1.15, 40, dtype=torch.float64)  # of histogram bins, 0 and 1 being the edges of the law


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    dim: int = Field(400, ge=10, description="columns d of the design")
    rows_per_column: Grid[float] = Field((10.0, 2.0, 1.0, 0.5, 0.1), description="n / d; 1/2, 1 and 2 among them")
    correlation: float = Field(0.9, gt=-1, lt=1, description="correlation of neighbouring columns, first control")
    degrees_of_freedom: int = Field(2, ge=1, description="of the entries of the second control")
    means: tuple[float, ...] = Field((1.0, 10.0, 100.0), min_length=1, description="numbers c added to every entry")

    @field_validator("rows_per_column")
    @classmethod
    def _regimes(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not {0.5, 1.0, 2.0} <= set(values) or min(values) <= 0:
            raise ValueError("they must be positive, with 0.5, 1 and 2 among them, which the claims compare")
        return values


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Draw the three designs, their spectra, the steps that gradient descent takes, and the effect of a mean."""
    n_train = round(point.rows_per_column * point.dim)
    gaussian = gaussian_design(n_train, point.dim, generator)
    correlated = autoregressive_design(n_train, point.dim, point.correlation, generator)
    heavy = student_design(n_train, point.dim, point.degrees_of_freedom, generator)
    eigenvalues = torch.stack([gram_eigenvalues(design) for design in (gaussian, correlated, heavy)])
    turn = torch.linalg.qr(gaussian_design(point.dim, point.dim, generator)).Q
    return _laws(eigenvalues, point.dim / n_train).merge(_means(gaussian, eigenvalues[0], point.means, turn))


def _laws(eigenvalues: Tensor, ratio: float) -> xr.Dataset:
    """Measure spectra [law, dim] and what follows for gradient descent, by the side of what γ predicts."""
    low, high = random_matrices.marchenko_pastur_edges(ratio)
    places = torch.where(is_positive(eigenvalues), (eigenvalues - low) / (high - low), -1.0)
    shares = torch.stack([torch.histogram(each, PLACES).hist for each in places]) / eigenvalues.shape[-1]
    edges = low + PLACES.clamp(0, 1) * (high - low)
    density = torch.cat([shares, random_matrices.marchenko_pastur_cdf(edges, ratio).diff()[None]]) / PLACES.diff()
    distances = [float(random_matrices.marchenko_pastur_distance(values, ratio)) for values in eigenvalues]
    spectra = [(values, is_positive(values).double()) for values in eigenvalues]
    spectra.append(random_matrices.marchenko_pastur_quadrature(ratio))
    steps = torch.from_numpy(np.unique(np.geomspace(1, 1e5, 51).round()))
    squares = [mean_square_error(values, held / held.sum(), 1 / values.max(), steps) for values, held in spectra]
    measured = {
        "condition_number": ("law", np.append(condition_number(eigenvalues), high / low if low else np.inf)),
        "distance": ("law", [*distances, 0.0]),
        "density": (["law", "place"], density.numpy()),
        "error": (["law", "step"], torch.stack(squares).sqrt().numpy()),
        "steps": ("law", [float(steps_to_shrink(values, held, SHRUNK)) for values, held in spectra]),
    }
    return xr.Dataset(
        measured, coords={"law": list(LAWS), "place": (PLACES[1:] + PLACES[:-1]).numpy() / 2, "step": steps.numpy()}
    )


def _means(design: Tensor, spectrum: Tensor, means: tuple[float, ...], turn: Tensor) -> xr.Dataset:
    """Add means c to a design of known spectrum, treat it, and measure its condition number σ_max/σ_min."""
    (n_train, dim), kappa = design.shape, []
    for c in means:
        spoilt = shifted(design, c)
        treated = (spoilt, spoilt @ turn, centred(spoilt), centred(spoilt.mT).mT)
        eigenvalues = torch.stack([*(gram_eigenvalues(x) for x in treated), spectrum])
        predicted = c * (n_train * dim) ** 0.5 / max(abs(n_train**0.5 - dim**0.5), 1e-9)
        kappa.append(np.append(condition_number(eigenvalues).sqrt(), predicted))
    coords = {"mean": list(means), "treatment": list(TREATMENTS)}
    return xr.Dataset({"kappa": (["mean", "treatment"], np.stack(kappa))}, coords)


def _off_square(data: xr.Dataset) -> xr.Dataset:
    rows = data[ROWS].values
    return data.isel({ROWS: np.flatnonzero((rows >= 2) | (rows <= 0.5))})


def _over_prediction(quantity: str, law: str) -> Measure:
    def measure(data: xr.Dataset) -> xr.DataArray:
        values = _off_square(data)[quantity]
        return (values.sel(law=law) / values.sel(law="predicted")).mean(ROWS)

    return measure


def _against_twice(rows: float) -> Measure:
    def measure(data: xr.Dataset) -> xr.DataArray:
        kappa = data["condition_number"].sel(law="gaussian")
        return log10(kappa.sel({ROWS: rows}) / kappa.sel({ROWS: 2.0}))

    return measure


def _exponent(rows: float) -> Measure:
    def measure(data: xr.Dataset) -> xr.DataArray:
        error = log(data["error"].sel({"law": "gaussian", ROWS: rows, "step": POWER_LAW}))
        slope = error.assign_coords(step=np.log(error["step"].values)).polyfit("step", 1)
        return slope["polyfit_coefficients"].sel(degree=1, drop=True)

    return measure


def _kappa_over(*above: str, below: str) -> Measure:
    def measure(data: xr.Dataset) -> xr.DataArray:
        kappa = _off_square(data)["kappa"]
        return (kappa.sel(treatment=list(above)) / kappa.sel(treatment=below)).mean(["mean", "treatment", ROWS])

    return measure


REGIMES = Claim(
    name="marchenko-pastur",
    statement="The spectrum of a random design fills the law of Marchenko and Pastur: well conditioned for n ≫ d and, "
    "on the span of the rows, for n ≪ d; ill conditioned at n = d. Gradient descent is as fast as κ allows.",
    source="Marchenko, Pastur 1967; Bai, Silverstein 2010, section 3.1; Barak 2021",
    criteria=(
        Criterion(
            name="condition number over its prediction, mean over n/d ≥ 2 and ≤ 1/2",
            predicted=1.0,
            measured=_over_prediction("condition_number", "gaussian"),
            band=within(0.15),
            reason="the ends lie 1.2 widths of Tracy and Widom's law inside of the edges: κ 2 to 8 % lower; twice that",
            control=_over_prediction("condition_number", "autoregressive"),
            control_name="autoregressive rows",
        ),
        Criterion(
            name="log10 of κ at n = d over κ at n = 2d",
            predicted=np.inf,
            measured=_against_twice(1.0),
            band=at_least(2.0),
            reason="at n = d the least eigenvalue is of order 1/d², so κ is of order d², far from that at n = 2d",
            control=_against_twice(0.5),
            control_name="n = d/2 in place of n = d",
        ),
        Criterion(
            name="Kolmogorov-Smirnov distance to the law, largest over n/d",
            predicted=0.0,
            measured=lambda data: data["distance"].sel(law="gaussian").max(ROWS),
            band=at_most(0.02),
            reason="counts of eigenvalues fluctuate by √(log d)/π, about 1, and by 3 of 400 at the worst; thrice that",
            control=lambda data: data["distance"].sel(law="student").max(ROWS),
            control_name="entries from Student's t with 2 degrees of freedom",
        ),
        Criterion(
            name="steps of gradient descent to 1e-6 over their prediction, mean over n/d ≥ 2 and ≤ 1/2",
            predicted=1.0,
            measured=_over_prediction("steps", "gaussian"),
            band=within(0.15),
            reason="steps go with κ, which is 2 to 8 % lower at these sizes; twice that",
            control=_over_prediction("steps", "autoregressive"),
            control_name="autoregressive rows",
        ),
        Criterion(
            name="exponent of the error of gradient descent in time at n = d",
            predicted=-0.25,
            measured=_exponent(1.0),
            band=within(absolute=0.03),
            reason="a slope over two decades, from corrections of 1/t at t = 10 to six of 400 directions that are left",
            control=_exponent(2.0),
            control_name="n = 2d",
        ),
    ),
)
NORMALISATION = Claim(
    name="normalisation-conditioning",
    statement="A mean c makes the condition number of a design c√(nd)/|√n − √d|; subtracting the mean of columns or of "
    "rows restores that of the design without.",
    source="Hardt, Recht 2022, chapter 7",
    criteria=(
        Criterion(
            name="condition number with a mean over its prediction, mean over c and n/d",
            predicted=1.0,
            measured=_kappa_over("nothing", below="predicted"),
            band=within(0.1),
            reason="the least singular value lies up to 3 % inside of its edge at these sizes; c = 1 adds 1 %",
            control=_kappa_over("centred columns", below="predicted"),
            control_name="centred columns",
        ),
        Criterion(
            name="condition number after centring columns, and after centring rows, over that without a mean",
            predicted=1.0,
            measured=_kappa_over("centred columns", "centred rows", below="no mean added"),
            band=within(0.1),
            reason="centring removes one direction; singular values interlace, so by a spacing at the edge, 3 %",
            control=_kappa_over("rotation", below="no mean added"),
            control_name="a rotation",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw the spectra, the course of gradient descent, and condition numbers without and with a mean."""
    rows, step = data[ROWS].values, Axis("step", "steps", "log", data["step"].values)
    place = Axis("place", "eigenvalue: 0 at (1 − √γ)², 1 at (1 + √γ)²", values=data["place"].values)
    spectra = _choices(data["density"], "law", Axis("density", "density of eigenvalues", range=(0.0, 4.0)))
    descent = _choices(data["error"].clip(min=1e-7), "law", Axis("error", "error over the initial one", "log"))
    kappa, mean = Axis("kappa", "σ_max/σ_min", "log"), Axis("mean", "mean c", "log", data["mean"].values)
    without = data["condition_number"].where(np.isfinite(data["condition_number"])) ** 0.5
    peak, named = (Choice("kappa", kappa, (_lines(without, "law"),)),), "Rows per column"
    starts = (0, min(2, len(rows) - 1))
    return (
        Figure(
            "regimes",
            "Three regimes of a random design",
            Caption(
                shows="Positive eigenvalues of XᵀX/n between the edges of the law, and the error of gradient descent "
                f"at η = 1/λ_max within the span of the rows, for three kinds of entries, with predictions. {SEEDS}",
                look_for="Independent entries follow the law with its sharp edges; at n = d it diverges at zero, and "
                "the error becomes a power law t^(−1/4), until the least eigenvalue ends it. The others are far off.",
                source="Marchenko, Pastur 1967; the closed form of gradient descent, averaged over the law",
            ),
            charts=(
                Chart(place, spectra, "Spectrum", choice_name=named, starts=starts),
                Chart(step, descent, "Gradient descent", choice_name=named, starts=starts),
            ),
        ),
        Figure(
            "conditioning",
            "Condition numbers, and what a mean does to them",
            Caption(
                shows=f"σ_max/σ_min against the number of rows, and against a mean c, also after a treatment. {SEEDS}",
                look_for="A peak at n = d, with the same small numbers on either side. A mean makes them grow in "
                "proportion to c; centring columns or rows undoes that, a rotation does nothing.",
                source="Marchenko, Pastur 1967; Hardt, Recht 2022, chapter 7",
            ),
            charts=(
                Chart(Axis(ROWS, "rows per column n/d", "log", rows), peak, "Without a mean"),
                Chart(mean, _choices(data["kappa"], "treatment", kappa), "With a mean", choice_name=named),
            ),
        ),
    )


def _choices(values: xr.DataArray, dimension: str, axis: Axis) -> tuple[Choice, ...]:
    rows = values[ROWS].values
    return tuple(Choice(f"n/d = {r:g}", axis, (_lines(values.sel({ROWS: r}), dimension),)) for r in rows)


def _lines(values: xr.DataArray, dimension: str) -> Lines:
    series = []
    for k, name in enumerate(values[dimension].values):
        low, middle, high = (
            values.sel({dimension: name}).quantile(q, "seed", skipna=False).values for q in (0.0, 0.5, 1.0)
        )
        style = "dashed" if name == "predicted" else "line"
        series.append(Series(str(name), middle, category(k), low=low, high=high, style=style))
    return Lines(tuple(series))


EXPERIMENT = Experiment(
    name="marchenko-pastur",
    title="Three conditioning regimes of a random design",
    source="Marchenko, Pastur 1967; Bai, Silverstein 2010; Hardt, Recht 2022",
    settings=Settings,
    paper={"dim": 2000, "rows_per_column": (10.0, 5.0, 2.0, 1.5, 1.1, 1.0, 0.9, 0.67, 0.5, 0.2, 0.1)},
    simulate=simulate,
    claims=(REGIMES, NORMALISATION),
    figures=figures,
)
