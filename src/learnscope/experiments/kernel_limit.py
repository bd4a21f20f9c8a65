"""Wide networks learn the minimum-norm solution of their tangent kernel.

A network of rectifiers with one hidden layer, in the parametrisation of the tangent kernel (outputs √(2/h) Σ over h
neurons, weights N(0, 1) at first), is trained by gradient descent with small steps on 1/(2n) Σ (f(xᵢ) − yᵢ)² until it
interpolates. With X the examples and Θ the tangent kernel, as h → ∞ it ends at

    f(x) = f₀(x) + Θ(x, X) Θ(X, X)⁻¹ (y − f₀(X)),

the interpolant with the least norm of f − f₀ in the kernel's space, and the weights move by the square root of
(y − f₀)ᵀ Θ⁻¹ (y − f₀), the least that linear predictions could do with. Here y = sign(x₁ x₂) with x normal. The
distance to the solution of the kernel of the same draw falls with what the kernel moves in training: Lee et al. prove
h^(−½), corrections of finite width are of order h^(−1), and rectifiers whose sign changes at an example add h^(−¾), as
lazy-training explains. The kernel of infinite width, Θ = E ⟨∇f, ∇f'⟩, is h^(−½) away from that of a draw, and so is its
solution. In the parametrisation of the mean field, outputs of order 1/h and learning rates times h, the kernel moves at
any width and the solution is another one.

Sources: M. Hardt, B. Recht (2022), Patterns, predictions, and actions, chapter 7; A. Jacot, F. Gabriel, C. Hongler
(2018), Neural tangent kernel; J. Lee et al. (2019), Wide neural networks of any depth evolve as linear models.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor
from xarray.ufuncs import exp, log

from learnscope import laboratory
from learnscope.dynamics.scaled_outputs import descend
from learnscope.kernels import gradient_flow_prediction, infinite_width, max_learning_rate
from learnscope.laboratory import (
    SEEDS,
    Claim,
    Criterion,
    Experiment,
    Point,
    at_most,
    between,
    median_over_seeds,
    within,
)
from learnscope.laboratory.claims import Measure
from learnscope.networks.ntk_parametrised import NTKParametrised, unit_weights
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, Slider, category

GROWTH = 4.0  # the kernel grows by up to about this over α √h, and learning rates are smaller by as much
PARAMETRISATIONS = ("tangent kernel", "mean field")
SOLUTIONS = {
    "own": "kernel of the same draw",
    "limit": "kernel of infinite width",
    "without_f0": "kernel of the same draw, without f₀",
}


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    n_train: int = Field(20, ge=2, description="examples")
    n_test: int = Field(100, ge=1, description="examples on which solutions are compared")
    dim: int = Field(10, ge=2, description="numbers d in an example")
    widths: tuple[int, ...] = Field((128, 512, 2048, 8192), min_length=3, description="neurons h")
    depth: int = Field(2, ge=2, description="layers of weights")
    n_angles: int = Field(49, ge=2, description="places of an ellipse through two examples, for the figure")
    n_draws: int = Field(2, ge=1, description="networks of each width, over which distances are averaged")
    rate: float = Field(0.8, gt=0, lt=1, description="learning rate over the largest stable one")
    n_steps: int = Field(20_000, ge=1, description="most steps of a run")
    tolerance: float = Field(1e-7, gt=0, description="mean squared error at which a run ends")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Train a network of each width in both parametrisations on the same examples, and solve its kernels."""
    drawn = torch.randn(point.n_train + point.n_test, point.dim, generator=generator, dtype=torch.float64)
    y = torch.sign(drawn[: point.n_train, 0] * drawn[: point.n_train, 1])
    angle = torch.linspace(0, 2 * math.pi, point.n_angles, dtype=drawn.dtype)
    x = torch.cat([drawn, angle.cos()[:, None] * drawn[0] + angle.sin()[:, None] * drawn[1]])
    by_width = []
    for width in point.widths:
        draws = xr.concat([_compared(x, y, width, point, generator) for _ in range(point.n_draws)], "draw")
        means = exp(log(draws[["distance", "squared_movement"]]).mean("draw"))
        by_width.append(means.merge(draws[["network", "solved"]].isel(draw=0)).assign(converged=draws["converged"]))
    return xr.concat(by_width, "width").assign_coords(
        width=list(point.widths),
        parametrisation=list(PARAMETRISATIONS),
        solution=list(SOLUTIONS),
        angle=np.degrees(angle.numpy()),
    )


def _compared(x: Tensor, y: Tensor, width: int, point: Point, generator: torch.Generator) -> xr.Dataset:
    """Train one network, and compare it with the least-norm solutions, on test examples and on the ellipse."""
    n, network = len(y), NTKParametrised()
    test = slice(n, n + point.n_test)
    weights = unit_weights((point.dim, *(width,) * (point.depth - 1), 1), generator)
    kernel, limit = network.tangent_kernel(weights, x, x[:n]), infinite_width(x, x[:n], depth=point.depth).tangent
    alpha = torch.tensor([1.0, width**-0.5], dtype=x.dtype)
    run = descend(
        network,
        [W.expand(2, *W.shape) for W in weights],
        x[:n],
        y,
        alpha=alpha,
        learning_rate=point.rate * max_learning_rate(kernel[:n]) / (1 + GROWTH / (alpha * width**0.5)),
        n_steps=point.n_steps,
        tolerance=point.tolerance,
        start=0.0,
    )
    f0, f = (alpha[:, None] * network.outputs(now, x) for now in (weights, run.factors))
    solutions = torch.stack(
        [
            torch.stack([least_norm(kernel, y, start), least_norm(limit, y, start), least_norm(kernel, y, 0 * start)])
            for start in f0
        ]
    )
    distance = (f[:, None] - solutions)[..., test].norm(dim=-1) / (solutions - f0[:, None])[:, :1, test].norm(dim=-1)
    moved = torch.stack([(W - W0).square().sum((-2, -1)) for W, W0 in zip(run.factors, weights, strict=True)]).sum(0)
    residual = (y - f0[:, :n]).T
    least = (residual * torch.linalg.solve(kernel[:n], residual)).sum(0)
    return xr.Dataset(
        {
            "distance": (["parametrisation", "solution"], distance.numpy()),
            "squared_movement": ("parametrisation", (alpha.square() * moved / least).numpy()),
            "network": (["parametrisation", "angle"], f[:, test.stop :].numpy()),
            "solved": (["parametrisation", "solution", "angle"], solutions[..., test.stop :].numpy()),
            "converged": ("parametrisation", run.converged.numpy()),
        }
    )


def least_norm(kernel: Tensor, y: Tensor, f0: Tensor) -> Tensor:
    """Return f₀ + Θ(x, X) Θ(X, X)⁻¹ (y − f₀(X)) [m] for Θ [m, n] of m examples with the n of X first, and f₀ [m]."""
    n = len(y)
    return torch.cat(gradient_flow_prediction(kernel[:n], kernel[n:], y, f0[:n], f0[n:], math.inf))


def exponent(solution: str, parametrisation: str) -> Measure:
    """Return the measure of the exponent in the width of the distance to a solution."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        values = log(data["distance"].sel(solution=solution, parametrisation=parametrisation))
        fit = values.assign_coords(width=np.log(values["width"].values)).polyfit("width", 1)
        return fit["polyfit_coefficients"].sel(degree=1, drop=True)

    return measure


def widest_distance(solution: str) -> Measure:
    """Return the measure of the distance of the widest network to a solution."""
    return lambda data: data["distance"].sel(parametrisation="tangent kernel", solution=solution).isel(width=-1)


def widest_movement(parametrisation: str) -> Measure:
    """Return the measure of the squared movement of the weights of the widest network, over the least one."""
    return lambda data: data["squared_movement"].sel(parametrisation=parametrisation).isel(width=-1)


CLAIM = Claim(
    name="ntk-minnorm",
    statement="With small steps, wide networks end at f₀ + Θ(x, X) Θ(X, X)⁻¹ (y − f₀(X)), the interpolant with the "
    "least norm of f − f₀ in the space of the tangent kernel.",
    source="Hardt, Recht 2022, chapter 7; Jacot, Gabriel, Hongler 2018; Lee et al. 2019, theorem 2.1",
    correction="The chapter has the solution without f₀, Θ(x, X) Θ(X, X)⁻¹ y. It is f − f₀ that has the least norm; "
    "the two differ by what f₀ is on test examples beyond its own interpolant, which is of order one at any width.",
    criteria=(
        Criterion(
            name="exponent in the width of the distance to the solution of the kernel of the same draw",
            predicted=-0.75,
            measured=exponent("own", "tangent kernel"),
            band=between(-1.15, -0.45),
            reason="from the theorem's −1/2 to the −1 of networks without kinks, with the scatter of a slope",
            control=exponent("own", "mean field"),
            control_name="the parametrisation of the mean field",
        ),
        Criterion(
            name="exponent in the width of the distance to the solution of the kernel of infinite width",
            predicted=-0.5,
            measured=exponent("limit", "tangent kernel"),
            band=within(absolute=0.1),
            reason="kernels scatter by h^(−½); training adds h^(−1), 0.09 of that at h = 128",
            control=exponent("limit", "mean field"),
            control_name="the parametrisation of the mean field",
        ),
        Criterion(
            name="distance of the widest network to the solution of the kernel of the same draw",
            predicted=0.0,
            measured=widest_distance("own"),
            band=at_most(0.06),
            reason="8192^(−½) = 0.01 times the root of the kernel's condition number, six",
            control=widest_distance("without_f0"),
            control_name="the chapter's solution, without f₀",
        ),
        Criterion(
            name="squared movement of the weights over the least one, (y − f₀)ᵀ Θ⁻¹ (y − f₀), widest network",
            predicted=1.0,
            measured=widest_movement("tangent kernel"),
            band=within(0.05),
            reason="corrections of order h^(−½) = 0.01, with a factor of four",
            control=widest_movement("mean field"),
            control_name="the parametrisation of the mean field",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw the distance to the solutions against the width, and network and solution on an ellipse."""
    return _distance_figure(data), _ellipse_figure(data)


def _distance_figure(data: xr.Dataset) -> Figure:
    title, width, choices = "distance on test examples, over |f − f₀|", data["width"].values, []
    for name in data["parametrisation"].values:
        distance = data["distance"].sel(parametrisation=name)
        series = [
            median_over_seeds(distance.sel(solution=key), label, category(k))
            for k, (key, label) in enumerate(SOLUTIONS.items())
        ]
        for k, (key, slope) in enumerate((("own", -0.75), ("limit", -0.5))):
            first = float(data["distance"].sel(parametrisation="tangent kernel", solution=key).isel(width=0).median())
            law = first * (width / width[0]) ** slope
            series.append(Series(f"slope {slope:g}", law, category(k), style="dashed"))
        choices.append(Choice(str(name), Axis("distance", title, "log"), (Lines(tuple(series)),)))
    return Figure(
        "distance",
        "From networks to kernels",
        Caption(
            shows="Distance of the trained network to least-norm solutions on test examples, against the width. "
            f"{SEEDS}",
            look_for="In the parametrisation of the tangent kernel networks tend to both solutions with f₀, and not to "
            "the one without. In that of the mean field (right) they tend to something else.",
            source="Hardt, Recht 2022, chapter 7; Lee et al. 2019, figure 1",
        ),
        charts=(
            Chart(
                Axis("width", "width h", "log", width),
                tuple(choices),
                choice_name="Parametrisation",
                starts=(0, 1),
                height=420,
            ),
        ),
    )


def _ellipse_figure(data: xr.Dataset) -> Figure:
    first, choices = data.isel(seed=0), []
    for name in data["parametrisation"].values:
        views = []
        for h in data["width"].values:
            here = first.sel(parametrisation=name, width=h)
            views.append(
                Lines(
                    (
                        Series("network", here["network"].values, category(0)),
                        Series(
                            SOLUTIONS["own"], here["solved"].sel(solution="own").values, category(1), style="dashed"
                        ),
                        Series(SOLUTIONS["limit"], here["solved"].sel(solution="limit").values, category(2)),
                    )
                )
            )
        choices.append(Choice(str(name), Axis("f", "f(x)"), tuple(views)))
    return Figure(
        "ellipse",
        "What networks and kernels interpolate",
        Caption(
            shows="f on the ellipse x₁ cos φ + x₂ sin φ through two of the examples, at 0° and 90°, for the "
            "first seed, by width.",
            look_for="As the width grows the network becomes the solution of its kernel, and that one the solution of "
            "the kernel of infinite width; in the parametrisation of the mean field the network stays apart.",
            source="Jacot, Gabriel, Hongler 2018, figure 2",
        ),
        charts=(
            Chart(
                Axis("angle", "angle φ (degrees)", values=data["angle"].values),
                tuple(choices),
                choice_name="Parametrisation",
                slider=Slider("width h", data["width"].values),
                starts=(0, 1),
                height=420,
            ),
        ),
    )


EXPERIMENT = Experiment(
    name="kernel-limit",
    title="Wide networks are least-norm kernel solutions",
    source="Hardt, Recht 2022; Jacot, Gabriel, Hongler 2018; Lee et al. 2019",
    settings=Settings,
    paper={
        "n_train": 100,
        "n_test": 1000,
        "dim": 20,
        "widths": (128, 512, 2048, 8192, 32768, 65536),
        "n_steps": 200_000,
    },
    simulate=simulate,
    claims=(CLAIM,),
    figures=figures,
)
