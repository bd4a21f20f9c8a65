"""Depth and small initial weights complete matrices of low rank.

A matrix T of low rank is fitted on some of its entries by a product of square matrices, A = W_N ... W₁, from Gaussian
weights with E‖A‖² = n scale² (entries of variance scale^(2/N) / n). Nothing but the loss is minimised,
(1/n_train) Σ_seen (A_ij - T_ij)², by gradient descent whose learning rate is divided by a running norm of the whole
gradient; time is counted in steps. Entries of T have mean square 1, so a test error of 1 is that of predicting zero.

With three factors and small weights the unseen entries come out right where the convex solution, the least nuclear
norm, fails; with two factors they come out about as well as the convex solution; from large weights they do not. Two
entries are seen for each degree of freedom of T, too few for the nuclear norm; with five it succeeds too. In smaller
matrices of lower rank three factors fail in some draws, such as one in 25 of rank 3 and size 40.

Sources: S. Arora, N. Cohen, W. Hu, Y. Luo (2019), Implicit regularization in deep matrix factorization, section 2 and
appendix D; S. Gunasekar et al. (2017), Implicit regularization in matrix factorization.
"""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import torch
import xarray as xr
from pydantic import Field, field_validator
from torch import Tensor
from xarray.ufuncs import log10

from learnscope import laboratory
from learnscope.distributions.matrix_completion import low_rank_matrix, observed_entries
from learnscope.dynamics.gradient_descent import GroupRMSprop, SquaredError, descend, log_spaced_steps
from learnscope.dynamics.nuclear_norm import complete
from learnscope.laboratory import (
    SEEDS,
    Claim,
    Criterion,
    Experiment,
    Grid,
    Point,
    at_least,
    at_most,
    median_over_seeds,
    within,
)
from learnscope.laboratory.claims import Measure
from learnscope.networks.deep_linear import gaussian_factors, product
from learnscope.observables.spectra import effective_rank
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, category

Style = Literal["line", "dashed"]

SMALL, LARGE = 0, -1  # places among the scales


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    size: int = Field(50, ge=4, description="rows and columns n of the matrix")
    rank: int = Field(4, ge=1, description="of the matrix")
    n_train: Grid[int] = Field((787,), description="entries that are seen")
    depths: tuple[int, ...] = Field((2, 3), min_length=2, description="numbers of factors N, 2 and 3 among them")
    scales: tuple[float, ...] = Field((1e-3, 1.0), min_length=2, description="of the start; the last is the control")
    learning_rates: tuple[float, ...] = Field((4e-3,), min_length=1, description="before they are adapted")
    n_steps: int = Field(10_000, ge=1, description="most steps of a run")
    tolerance: float = Field(1e-5, gt=0, description="training loss at which a run ends")

    @field_validator("depths")
    @classmethod
    def _compared(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if not {2, 3} <= set(values) or min(values) < 1:
            raise ValueError("they must be positive, with 2 and 3 among them, which the claims compare")
        return values


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Complete one matrix from every start, and by the least nuclear norm."""
    target = low_rank_matrix((point.size, point.size), point.rank, generator)
    seen = observed_entries((point.size, point.size), point.n_train, generator)
    runs = [_completed(depth, target, seen, point, generator) for depth in point.depths]
    data = xr.concat(runs, "depth").assign_coords(depth=list(point.depths))
    convex = complete(target, seen)
    data["true_effective_rank"] = float(effective_rank(torch.linalg.svdvals(target)))
    data["convex_test_error"] = float(_test_error(convex.matrix, target, seen))
    data["convex_gap"] = float(convex.gap / convex.objective)
    return data


def _completed(depth: int, target: Tensor, seen: Tensor, point: Point, generator: torch.Generator) -> xr.Dataset:
    """Fit the seen entries from every scale at every learning rate, all in one stack."""
    rates, scales = torch.tensor(
        list(itertools.product(point.learning_rates, point.scales)), dtype=target.dtype
    ).unbind(-1)
    start = gaussian_factors((point.size,) * (depth + 1), scales ** (1 / depth), generator, (len(scales),))
    run = descend(
        start,
        SquaredError(target, seen / seen.sum()),
        rates,
        n_steps=point.n_steps,
        tolerance=point.tolerance,
        rule=GroupRMSprop(),
        observers={
            "test": lambda factors: _test_error(product(factors), target, seen),
            "values": lambda factors: torch.linalg.svdvals(product(factors))[:, : 2 * point.rank],
        },
        observed_steps=log_spaced_steps(point.n_steps),
    )
    values = torch.linalg.svdvals(product(run.factors))

    def by_run(tensor: Tensor) -> np.ndarray:
        return tensor.unflatten(0, (len(point.learning_rates), len(point.scales))).numpy()

    runs = ["learning_rate", "scale"]
    return xr.Dataset(
        {
            "test_error": (runs, by_run(_test_error(product(run.factors), target, seen))),
            "effective_rank": (runs, by_run(effective_rank(values))),
            "steps": (runs, by_run(run.n_steps)),
            "test_error_at": ([*runs, "step"], by_run(run.observed["test"].movedim(0, 1))),
            "singular_value_at": ([*runs, "step", "place"], by_run(run.observed["values"].movedim(0, 1))),
        },
        coords={"learning_rate": list(point.learning_rates), "scale": list(point.scales), "step": run.steps.numpy()},
    )


def _test_error(matrix: Tensor, target: Tensor, seen: Tensor) -> Tensor:
    """Return the mean squared error [...] on the entries that are not seen."""
    return ((matrix - target).square() * ~seen).sum((-2, -1)) / (~seen).sum()


def final(name: str, depth: int, scale: int) -> Measure:
    """Return the measure of a variable at the end of runs with a depth and a scale, with the fewest entries seen."""
    return lambda data: _hardest(data)[name].sel(depth=depth).isel(learning_rate=0, scale=scale)


def log_error(scale: int) -> Measure:
    """Return the measure log10 of the test error of three factors."""
    return lambda data: log10(final("test_error", 3, scale)(data))


def advantage(scale: int, over: str) -> Measure:
    """Return the measure log10 of the test error of two factors, or of the convex solution, over that of three."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        other = _hardest(data)["convex_test_error"] if over == "convex" else final("test_error", 2, scale)(data)
        return log10(other / final("test_error", 3, scale)(data))

    return measure


def recovered_rank(scale: int) -> Measure:
    """Return the measure of the effective rank with three factors over that of the truth."""
    return lambda data: final("effective_rank", 3, scale)(data) / _hardest(data)["true_effective_rank"]


def _hardest(data: xr.Dataset) -> xr.Dataset:
    return data.isel(n_train=int(data["n_train"].values.argmin()))


COMPLETION = Claim(
    name="dln-low-rank-completion",
    statement="From small weights, gradient descent on a product of three or more matrices completes a matrix of low "
    "rank where the least nuclear norm fails; two factors do less, and large weights undo it.",
    source="Arora, Cohen, Hu, Luo 2019, section 2 and figure 2; Gunasekar et al. 2017",
    criteria=(
        Criterion(
            name="log10 of the test error with three factors",
            predicted=-np.inf,
            measured=log_error(SMALL),
            band=at_most(-2.0),
            reason="recovery is exact up to the tolerance of 1e-5 in the training loss, which rows with few seen "
            "entries amplify by up to 1e3",
            control=log_error(LARGE),
            control_name="initial product of scale 1",
        ),
        Criterion(
            name="log10 of the test error with two factors over that with three",
            predicted=np.inf,
            measured=advantage(SMALL, "two factors"),
            band=at_least(1.0),
            reason="recovery is exact with three and not with two factors, so the tolerance alone limits the ratio; "
            "ten is above the scatter between matrices, about a factor of three",
            control=advantage(LARGE, "two factors"),
            control_name="initial product of scale 1",
        ),
        Criterion(
            name="log10 of the test error of the least nuclear norm over that with three factors",
            predicted=np.inf,
            measured=advantage(SMALL, "convex"),
            band=at_least(1.0),
            reason="as for two factors",
            control=advantage(LARGE, "convex"),
            control_name="initial product of scale 1",
        ),
        Criterion(
            name="effective rank with three factors over that of the truth",
            predicted=1.0,
            measured=recovered_rank(SMALL),
            band=within(0.1),
            reason="exact recovery gives 1; an error of 1 % in norm, that is of 1e-4 in the test error, in one or two "
            "further singular values adds p log(1/p) = 5 % each",
            control=recovered_rank(LARGE),
            control_name="initial product of scale 1",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw test errors and singular values through training."""
    return _errors_figure(data), _values_figure(data)


def _errors_figure(data: xr.Dataset) -> Figure:
    choices = []
    for n_train in data["n_train"].values.tolist():
        chosen = data.sel(n_train=n_train).isel(learning_rate=0)
        convex = chosen["convex_test_error"].expand_dims(step=data.sizes["step"], axis=-1)
        scales = data["scale"].values
        styles: tuple[tuple[float, Style], ...] = ((scales[SMALL], "line"), (scales[LARGE], "dashed"))
        lines = [
            median_over_seeds(
                chosen["test_error_at"].sel(depth=depth, scale=scale),
                f"{depth} factors, scale {scale:g}",
                category(k),
                style,
            )
            for k, depth in enumerate(data["depth"].values.tolist())
            for scale, style in styles
        ]
        lines.append(median_over_seeds(convex, "least nuclear norm", category(data.sizes["depth"]), "dashed"))
        choices.append(
            Choice(f"{n_train} entries seen", Axis("test error", "test error", "log"), (Lines(tuple(lines)),))
        )
    return Figure(
        "errors",
        "Completing a matrix of low rank",
        Caption(
            shows="Mean squared error on the entries that are not seen, 1 for predicting zero, through training; runs "
            f"end at the tolerance of the training loss and are drawn on from there. {SEEDS}",
            look_for="Three factors with small weights fall far below the least nuclear norm, which two factors only "
            "come near to. From large weights (dashed) no depth completes the matrix.",
            source="Arora, Cohen, Hu, Luo 2019, figure 2",
        ),
        charts=(Chart(Axis("step", "steps", "step", data["step"].values), tuple(choices), choice_name="Data"),),
    )


def _values_figure(data: xr.Dataset) -> Figure:
    hardest = _hardest(data).isel(learning_rate=0, scale=SMALL)["singular_value_at"]
    choices = tuple(
        Choice(
            f"{depth} factors",
            Axis("singular value", "singular value of the product", "log", range=(1e-4, 2 * float(hardest.max()))),
            (
                Lines(
                    tuple(
                        median_over_seeds(hardest.sel(depth=depth).isel(place=k), f"{k + 1}", category(k))
                        for k in range(data.sizes["place"])
                    )
                ),
            ),
        )
        for depth in data["depth"].values.tolist()
    )
    return Figure(
        "singular-values",
        "Singular values through training",
        Caption(
            shows=f"The largest singular values of the product, twice as many as the rank, from small weights. {SEEDS}",
            look_for="They rise one after another; with more factors the ones beyond the rank stay far smaller.",
            source="Arora, Cohen, Hu, Luo 2019, figure 3",
        ),
        charts=(
            Chart(
                Axis("step", "steps", "step", data["step"].values),
                choices,
                choice_name="Depth",
                starts=tuple(range(min(2, len(choices)))),
            ),
        ),
    )


EXPERIMENT = Experiment(
    name="matrix-completion",
    title="Depth completes matrices of low rank",
    source="Arora, Cohen, Hu, Luo 2019; Gunasekar et al. 2017",
    settings=Settings,
    paper={
        "size": 100,
        "rank": 5,
        "n_train": (2000, 5000),
        "depths": (2, 3, 4),
        "scales": (1e-3, 1e-4, 1e-5, 1e-6, 1.0),
        "learning_rates": (1e-3, 3e-4),
        "n_steps": 1_000_000,
        "tolerance": 1e-6,
    },
    simulate=simulate,
    claims=(COMPLETION,),
    figures=figures,
    parts=("representation-cost",),
)
