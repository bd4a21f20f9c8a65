"""With L2, two linear layers have no bad minima; three have a minimum for every set of singular values.

A = W_L ... W₁ learns T = diag(1, 1/2) by gradient descent on ½ ‖A - T‖² + λ Σ_l ‖W_l‖². At a point that lacks a mode t
of T the Hessian of two layers has the eigenvalue 2 λ - t, so every critical point is a strict saddle or a global
minimum. For L ≥ 3 a mode whose weights are 0 feels L2 alone, so there is a minimum for every set of modes, as long as
2 λ is below max_s (t - s) s^(1 - 2/L) for each of them, which for t = 1/2 and L = 3 is λ < 0.093. Whether a minimum of
lower rank generalises better depends on what is noise in T, and is not judged here.

Sources: A. Jacot, F. Ged, B. Şimşek, C. Hongler, F. Gabriel (2022), Saddle-to-saddle dynamics in deep linear networks;
Z. Wang, A. Jacot (2024) for the minima of deep networks with L2.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from pydantic import Field

from learnscope import laboratory
from learnscope.dynamics.gradient_descent import SquaredError, descend
from learnscope.dynamics.penalised_landscape import (
    least_penalised_loss,
    point_of_rank,
    smallest_hessian_eigenvalue,
)
from learnscope.dynamics.representation_cost import representation_cost
from learnscope.laboratory import Claim, Criterion, Experiment, Point, at_least, at_most, within
from learnscope.laboratory.claims import Measure
from learnscope.networks.deep_linear import gaussian_factors, product
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, category

VALUES = torch.tensor([1.0, 0.5], dtype=torch.float64)  # singular values t of the target
LAYERS = (2, 3)
NEAR = 0.05  # standard deviation of what is added to the weights of rank one, in units of 1 / √inputs
LOW = 0.02  # of a singular value that is missing
RANKS = (0, 1, 2)


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    width: int = Field(4, ge=2, description="hidden units")
    penalty: float = Field(0.06, gt=0, lt=0.09, description="λ; above 0.093 three layers lose a minimum")
    scale: float = Field(0.3, gt=0, description="of the weights of random starts")
    starts: int = Field(64, ge=1, description="runs from each kind of start")
    n_steps: int = Field(2000, ge=1, description="of every run, at a learning rate of 0.1")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Run two and three layers from near rank one, with and without L2, and from anywhere."""
    return xr.concat([_runs(layers, point, generator) for layers in LAYERS], "layers").assign_coords(
        layers=list(LAYERS)
    )


def _runs(layers: int, point: Point, generator: torch.Generator) -> xr.Dataset:
    penalty, dims = point.penalty, (2, *(point.width,) * (layers - 1), 2)
    rank_one = point_of_rank(VALUES, layers, penalty, 1)
    near = gaussian_factors(dims, NEAR, generator, (2 * point.starts,))
    for weight, at in zip(near, rank_one, strict=True):
        weight[:, :2, :2] += at
    anywhere = gaussian_factors(dims, point.scale, generator, (point.starts,))
    penalties = torch.tensor([penalty, 0.0, penalty], dtype=VALUES.dtype).repeat_interleave(point.starts)
    loss = SquaredError(VALUES.diag(), torch.full((2, 2), 0.5, dtype=VALUES.dtype))
    start = [torch.cat(both) for both in zip(near, anywhere, strict=True)]
    run = descend(start, loss, 0.1, n_steps=point.n_steps, penalty=penalties)
    values = torch.linalg.svdvals(product(run.factors)).unflatten(0, (3, point.starts))
    squares = torch.stack([factor.square().sum((-2, -1)) for factor in run.factors]).sum(0)
    reached = (loss.value(product(run.factors)) + penalties * squares)[-point.starts :]
    ranks = (values[-1] > LOW).sum(-1)
    least = least_penalised_loss(VALUES, layers, penalty)
    return xr.Dataset(
        {
            "stays": float((values[0, :, 1] < LOW).double().mean()),
            "stays_without": float((values[1, :, 1] < LOW).double().mean()),
            "reaches_least": float((reached < least + 1e-6).double().mean()),
            "reaches_rank": ("rank", [float((ranks == rank).double().mean()) for rank in RANKS]),
            "eigenvalue": float(smallest_hessian_eigenvalue(rank_one, VALUES.diag(), penalty)),
            "escape": 2 * penalty - float(VALUES[1]),
        },
        coords={"rank": list(RANKS)},
    )


def of_layers(name: str, layers: int) -> Measure:
    """Return the measure of a variable for a number of layers."""
    return lambda data: data[name].sel(layers=layers)


LANDSCAPE = Claim(
    name="l2-depth-landscape",
    statement="With L2, every critical point of two layers is a strict saddle or a global minimum, while three and "
    "more layers have local minima of lower rank.",
    source="Jacot, Ged, Şimşek, Hongler, Gabriel 2022",
    criteria=(
        Criterion(
            name="smallest eigenvalue of the Hessian at the point of rank one, two layers",
            predicted=lambda data: float(data["escape"].isel(layers=0, seed=0)),
            measured=of_layers("eigenvalue", 2),
            band=within(absolute=1e-6),
            reason="2 λ - t in closed form",
            control=of_layers("eigenvalue", 3),
            control_name="three layers, where it is 0 along rotations of hidden units",
        ),
        Criterion(
            name="share of runs without noise that stay near rank one, three layers",
            predicted=1.0,
            measured=of_layers("stays", 3),
            band=at_least(0.9),
            reason="the basin reaches to s = 0.015 of the missing mode, the starts to about 0.05³",
            control=of_layers("stays_without", 3),
            control_name="three layers without L2",
        ),
        Criterion(
            name="the same for two layers",
            predicted=0.0,
            measured=of_layers("stays", 2),
            band=at_most(0.1),
            reason="the saddle is strict; 2000 steps are 76 of the times in which the mode grows by e",
            control=of_layers("stays", 3),
            control_name="three layers",
        ),
        Criterion(
            name="share of random starts that end at the least loss, two layers",
            predicted=1.0,
            measured=of_layers("reaches_least", 2),
            band=at_least(0.95),
            reason="all minima are global; a run may still be near a saddle",
            control=of_layers("reaches_least", 3),
            control_name="three layers",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw the loss of one mode, and where random starts end."""
    return _mode_figure(), _ends_figure(data)


def _mode_figure() -> Figure:
    s = torch.linspace(0, 1, 201, dtype=torch.float64)
    penalty, target = Settings.model_fields["penalty"].default, float(VALUES[1])
    lines = tuple(
        Series(
            f"{layers} layers",
            ((s - target).square() / 2 + penalty * representation_cost(s[:, None], layers)).numpy(),
            category(k),
        )
        for k, layers in enumerate((2, 3, 4))
    )
    places = Axis("s", "singular value s of the mode", values=s.numpy())
    return Figure(
        "mode",
        "Depth makes zero a minimum",
        Caption(
            shows="Loss ½ (s - ½)² + λ L s^(2/L) of the mode t = ½ with the shortest weights that give s, "
            f"λ = {penalty:g}.",
            look_for="A single minimum for two layers; for more, a second one at s = 0, where no direction leads down.",
            source="Jacot et al. 2022",
        ),
        charts=(Chart(places, (Choice("loss", Axis("loss", "loss of the mode"), (Lines(lines),)),)),),
    )


def _ends_figure(data: xr.Dataset) -> Figure:
    lines = []
    for k, layers in enumerate(LAYERS):
        shares = data["reaches_rank"].sel(layers=layers)
        low, middle, high = (shares.quantile(q, "seed").values for q in (0.0, 0.5, 1.0))
        lines.append(Series(f"{layers} layers", middle, category(k), low=low, high=high))
    axis = Axis("share", "share of runs", range=(-0.03, 1.05))
    ranks = Axis("rank", "rank of A at the end", "names", np.array([str(rank) for rank in RANKS]))
    return Figure(
        "ends",
        "Where random starts end",
        Caption(
            shows="Share of runs by the rank of what they learned. Median over seeds, bands from the least to the "
            "largest.",
            look_for="All runs of two layers end at rank two, the global minimum; many of three layers do not.",
            source="Jacot et al. 2022",
        ),
        charts=(Chart(ranks, (Choice("share", axis, (Lines(tuple(lines)),)),)),),
    )


EXPERIMENT = Experiment(
    name="penalised-landscape",
    title="With weight decay, depth makes low ranks into minima",
    source="Jacot, Ged, Şimşek, Hongler, Gabriel 2022; Wang, Jacot 2024",
    settings=Settings,
    paper={"width": 20, "scale": 0.15, "starts": 1000, "n_steps": 5000},
    simulate=simulate,
    claims=(LANDSCAPE,),
    figures=figures,
    seeds=10,
)
