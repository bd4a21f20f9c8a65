"""A step of gradient descent moves all predictions by their tangent kernel, up to a remainder of second order.

On the loss ½ Σᵢ (f(xᵢ) − yᵢ)², a sum and not a mean, the errors r = f(x) − y follow

    r_{t+1} = (I − α K_t) r_t + α ε_t,   K = J Jᵀ,   ‖α ε_t‖ ≤ (α²/2) ‖Λ‖ ‖Jᵀ r_t‖²,

where Λᵢ bounds the second derivatives of f(xᵢ) along the step. So where the remainder is small, errors contract by
max |1 − α λ(K)|. Here f(x) = s Σₖ aₖ tanh(wₖ·x/√d) with a, w, x and y standard normal, and Λ has a closed form. Three
networks start at the same a and w: in the parametrisation of the tangent kernel (s = h^(−1/2)), where the remainder
vanishes with the width; of the mean field (s = 1/h, α times h), which has the same kernel and learns features at any
width; and a linear one, the first with w frozen, which has no remainder. At the start, remainders fall like h^(−1) and
h^(−1/2) in the first two: both are h^(−1/2) below their bounds, as neurons of either sign cancel.

α is given as a multiple of 1/λ_max(K₀). Time is counted in steps of full gradients.

Sources: M. Hardt, B. Recht (2022), Patterns, predictions, and actions, chapter 7; J. Lee et al. (2019), Wide neural
networks of any depth evolve as linear models, theorem 2.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor
from xarray.ufuncs import log

from learnscope import laboratory
from learnscope.laboratory import SEEDS, Claim, Criterion, Experiment, Grid, Point, at_most, within
from learnscope.networks.shallow_tanh import (
    ShallowTanh,
    curvature_bound,
    predictions,
    pulled_back,
    shallow_tanh,
    tangent_kernels,
)
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, depth

Measure = Callable[[xr.Dataset], xr.DataArray]

NETWORKS = ("tangent kernel", "mean field", "linear")
RATES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of one step, times λ_max
SMALL = slice(1e-5, 1e-2)  # of these, where the second order is the leading one
WIDEST = slice(-3, None)  # of the widths, over which exponents are fitted
ROUNDING = 1e-12  # of the initial error, below which a remainder is not told from zero


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    n_train: int = Field(20, ge=2, description="examples")
    dim: int = Field(10, ge=1, description="numbers d in an example")
    width: Grid[int] = Field((4, 16, 64, 256, 1024), min_length=3, description="neurons h, increasing to above n_train")
    steps: int = Field(500, ge=10, description="steps of gradient descent")
    n_draws: int = Field(32, ge=1, description="further networks and examples, for the remainder at the start")
    rate: float = Field(0.5, gt=0, lt=2, description="learning rate of training, times λ_max")


@dataclass(frozen=True)
class Problem:
    """Examples, and the scale and the learning rates of outputs and weights of each network, relative to α."""

    x: Tensor
    y: Tensor
    scale: Tensor
    rates: tuple[Tensor, Tensor]

    def errors(self, networks: ShallowTanh) -> Tensor:
        """Return r = f(x) − y, [..., network, n]."""
        return predictions(networks, self.x, self.scale) - self.y

    def step(self, networks: ShallowTanh, errors: Tensor, alpha: Tensor) -> ShallowTanh:
        """Return the step of gradient descent at learning rates α [..., network]."""
        slopes = pulled_back(networks, self.x, errors, self.scale)
        return slopes.times(-alpha * self.rates[0], -alpha * self.rates[1])

    def kernel(self, networks: ShallowTanh) -> Tensor:
        """Return K with the learning rates of each layer in it, [..., network, n, n]."""
        both = zip(self.rates, tangent_kernels(networks, self.x, self.scale), strict=True)
        return sum((rate[:, None, None] * kernel for rate, kernel in both), start=torch.zeros(()))

    def remainder(self, networks: ShallowTanh, kernel: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """Return ‖r_{t+1} − (I − α K) r_t‖ and its bound ½ ‖Λ‖ ‖step‖², [..., network] each."""
        errors = self.errors(networks)
        step = self.step(networks, errors, alpha)
        linear = errors - alpha[..., None] * (kernel @ errors[..., None])[..., 0]
        curvature = curvature_bound(networks, step, self.x, self.scale).norm(dim=-1)
        return (self.errors(networks.plus(step)) - linear).norm(dim=-1), curvature * step.squared_norm() / 2


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Take one step from many draws, and at several learning rates from the first; then train the first."""
    copies, h = (1 + point.n_draws, 1), point.width
    x = torch.randn(*copies, point.n_train, point.dim, generator=generator, dtype=torch.float64)
    y = torch.randn(*copies, point.n_train, generator=generator, dtype=torch.float64)
    relative = torch.tensor([[1.0, h, 1.0], [1.0, h, 0.0]], dtype=x.dtype)
    draws = Problem(x, y, torch.tensor([h**-0.5, 1 / h, h**-0.5], dtype=x.dtype), (relative[0], relative[1]))
    drawn = shallow_tanh(h, point.dim, generator, batch=copies)
    everyone = ShallowTanh(drawn.outputs.expand(-1, 3, -1), drawn.weights.expand(-1, 3, -1, -1))
    kernels, start = draws.kernel(everyone), draws.errors(everyone).norm(dim=-1)
    alpha = 1 / torch.linalg.eigvalsh(kernels)[..., -1]
    often, _ = draws.remainder(everyone, kernels, SMALL.stop * alpha)
    problem = replace(draws, x=x[0, 0], y=y[0, 0])
    networks, others = (ShallowTanh(*(part[k] for part in everyone)) for k in (0, 1))
    several = torch.tensor(RATES, dtype=x.dtype)[:, None] * alpha[0]
    missed, bound = problem.remainder(networks, kernels[0], several)
    wrong, _ = problem.remainder(networks, problem.kernel(others), several)
    one_step = xr.Dataset(
        {
            "missed": (["rate", "network"], (missed / start[0]).numpy()),
            "bound": (["rate", "network"], (bound / start[0]).numpy()),
            "missed_by_other": (["rate", "network"], (wrong / start[0]).numpy()),
            "missed_on_average": ("network", (often / start)[1:].log().mean(0).exp().numpy()),
        },
        coords={"network": list(NETWORKS), "rate": list(RATES)},
    )
    return one_step.merge(_training(problem, networks, kernels[0], point.rate * alpha[0], point.steps))


def _training(problem: Problem, networks: ShallowTanh, kernel: Tensor, alpha: Tensor, steps: int) -> xr.Dataset:
    """Train, and follow the errors, the remainders, and the errors of the recursion with the initial kernel."""
    shown = sorted({0, *np.geomspace(1, steps, 30).round().astype(int).tolist()})
    values, vectors = torch.linalg.eigh(kernel)
    start = problem.errors(networks)
    held, size, records = (vectors.mT @ start[..., None])[..., 0], start.norm(dim=-1), []
    for t in range(steps + 1):
        errors = problem.errors(networks)
        if t in shown:
            recursion = (vectors @ (held * (1 - alpha[:, None] * values) ** t)[..., None])[..., 0]
            remainder = problem.remainder(networks, problem.kernel(networks), alpha)
            norms = (errors.norm(dim=-1), recursion.norm(dim=-1), (errors - recursion).norm(dim=-1), *remainder)
            records.append(torch.stack([norm / size for norm in norms]))
        networks = networks.plus(problem.step(networks, errors, alpha))
    names = ("error", "recursion", "deviation", "missed_in_training", "bound_in_training")
    curves = torch.stack(records, dim=-1).numpy()
    return xr.Dataset(
        {name: (["network", "step"], curve) for name, curve in zip(names, curves, strict=True)}, {"step": shown}
    )


def _order(quantity: str) -> Measure:
    def measure(data: xr.Dataset) -> xr.DataArray:
        slopes = _slope(data[quantity].sel(network="tangent kernel", rate=SMALL), "rate")
        return slopes.isel(width=abs(slopes - 2).argmax("width"))

    return measure


def _width_exponent(network: str) -> Measure:
    return lambda data: _slope(data["missed_on_average"].sel(network=network).isel(width=WIDEST), "width")


def _slope(values: xr.DataArray, axis: str) -> xr.DataArray:
    fit = log(values).assign_coords({axis: np.log(values[axis].values)}).polyfit(axis, 1)
    return fit["polyfit_coefficients"].sel(degree=1, drop=True)


def _over_bound(missed: str, bound: str, dimension: str) -> Measure:
    return lambda data: (data[missed] / (data[bound] + ROUNDING)).max(["network", "width", dimension])


def _deviation(network: str) -> Measure:
    return lambda data: data["deviation"].sel(network=network).isel(width=-1).max("step")


CLAIM = Claim(
    name="prediction-recursion",
    statement="A step of gradient descent multiplies the errors by I − α K, up to a remainder of at most "
    "(α²/2) ‖Λ‖ ‖Jᵀ r‖². In wide networks in the parametrisation of the tangent kernel the remainder vanishes and K "
    "stays, so errors follow the powers of I − α K₀.",
    source="Hardt, Recht 2022, chapter 7; Lee et al. 2019, theorem 2.1",
    correction="The chapter asks for ε_t = 0 to be sufficiently small; what has to be small is ε_t, which is itself of "
    "order α, so that the remainder α ε_t is of order α². The form holds for half the sum of squares; for the mean of "
    "n squares, α is to be read as 2 α/n.",
    criteria=(
        Criterion(
            name="exponent of the remainder of one step in α, the one farthest from 2 over widths",
            predicted=2.0,
            measured=_order("missed"),
            band=within(absolute=0.1),
            reason="corrections are of relative order α λ_max, at most 0.01 where it is fitted; ten times that",
            control=_order("missed_by_other"),
            control_name="the kernel of another draw of the network",
        ),
        Criterion(
            name="remainder of one step over its bound, largest over networks, widths and α",
            predicted=0.0,
            measured=_over_bound("missed", "bound", "rate"),
            band=at_most(1.0),
            reason="an inequality without exceptions",
            control=_over_bound("missed_by_other", "bound", "rate"),
            control_name="the kernel of another draw of the network",
        ),
        Criterion(
            name="remainder in training over its bound, largest over networks, widths and steps",
            predicted=0.0,
            measured=_over_bound("missed_in_training", "bound_in_training", "step"),
            band=at_most(1.0),
            reason="an inequality without exceptions",
        ),
        Criterion(
            name="remainder of one step of the linear network over the initial error, largest",
            predicted=0.0,
            measured=lambda data: data["missed"].sel(network="linear").max(["width", "rate"]),
            band=at_most(ROUNDING),
            reason="rounding of float64, with a factor of thousand",
            control=lambda data: data["missed"].sel(network="tangent kernel").max(["width", "rate"]),
            control_name="the network with both layers trained",
        ),
        Criterion(
            name="exponent of the remainder of one step in the width, three widest, mean over draws of the network",
            predicted=-1.0,
            measured=_width_exponent("tangent kernel"),
            band=within(absolute=0.2),
            reason="corrections are of relative order h^(−1/2), 1/8 at h = 64, and change the slope by as much",
            control=_width_exponent("mean field"),
            control_name="the parametrisation of the mean field, exponent −1/2",
        ),
        Criterion(
            name="deviation from the recursion with the initial kernel, widest network, largest over time",
            predicted=0.0,
            measured=_deviation("tangent kernel"),
            band=at_most(0.05),
            reason="at most of order h^(−1/2), which is 0.03 at h = 1024",
            control=_deviation("mean field"),
            control_name="the parametrisation of the mean field",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw the remainder against α and in training, and errors against the recursion."""
    widths, size = data["width"].values.tolist(), "over the initial error"
    rate = Axis("rate", "learning rate α λ_max", "log", data["rate"].values)
    step = Axis("step", "steps (log scale; 0 is the start)", "step", data["step"].values)
    orders, training, errors = [], [], []
    for name in NETWORKS:
        part = data.sel(network=name).clip(min=1e-17)
        orders.append(_choice(name, f"remainder of one step, {size}", part["missed"], part["bound"], "bound", widths))
        missed, bound = part["missed_in_training"], part["bound_in_training"]
        training.append(_choice(name, f"remainder of a step, {size}", missed, bound, "bound", widths))
        errors.append(_choice(name, f"error ‖f(x) − y‖ {size}", part["error"], part["recursion"], "recursion", widths))
    return (
        Figure(
            "remainder",
            "What the tangent kernel misses",
            Caption(
                shows="The remainder ‖r_{t+1} − (I − α K) r_t‖ of one step from the start against α, and of steps in "
                f"training, by width; dashed: its bound. {SEEDS}",
                look_for="Slope 2 in α, below the bound everywhere. It falls with the width in the parametrisation of "
                "the tangent kernel, more slowly in that of the mean field, and is rounding for the linear network.",
                source="Hardt, Recht 2022, chapter 7",
            ),
            charts=(
                Chart(rate, tuple(orders), "One step", choice_name="Network"),
                Chart(step, tuple(training), "In training", choice_name="Network"),
            ),
        ),
        Figure(
            "errors",
            "Errors of the predictions",
            Caption(
                shows=f"The error by width; dashed: the recursion with the initial kernel. {SEEDS}",
                look_for="Wide networks follow their recursion in the parametrisation of the tangent kernel. Narrow "
                "ones, and those of the mean field at any width, leave it: their kernel changes.",
                source="Hardt, Recht 2022, chapter 7; Lee et al. 2019",
            ),
            charts=(Chart(step, tuple(errors), choice_name="Network", starts=(0, 1)),),
        ),
    )


def _choice(name: str, title: str, solid: xr.DataArray, dashed: xr.DataArray, what: str, widths: list[int]) -> Choice:
    series: list[Series] = []
    for k, h in enumerate(widths):
        low, middle, high = (solid.sel(width=h).quantile(q, "seed").values for q in (0.0, 0.5, 1.0))
        behind = dashed.sel(width=h).median("seed").values
        series.append(Series(f"width {h}", middle, depth(k, len(widths)), low=low, high=high))
        series.append(Series(f"{what}, width {h}", behind, depth(k, len(widths)), style="dashed"))
    return Choice(name, Axis(title, title, "log"), (Lines(tuple(series)),))


EXPERIMENT = Experiment(
    name="prediction-convergence",
    title="Predictions contract by their tangent kernel",
    source="Hardt, Recht 2022; Lee et al. 2019",
    settings=Settings,
    paper={"n_train": 256, "dim": 64, "width": (16, 64, 256, 1024, 4096, 16384), "steps": 5000, "n_draws": 4},
    simulate=simulate,
    claims=(CLAIM,),
    figures=figures,
)
