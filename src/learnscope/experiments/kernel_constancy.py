"""The tangent kernel of wide networks is that of infinite width, at the start and all through training.

Networks of rectifiers of depth L, f(x) = √(2/h) W_L σ(… √(2/d) W₁ x) with weights N(0, 1) at first, are trained as
F = α (f − f₀) on 1/(2n α²) Σ (F(xᵢ) − yᵢ)² with y = sign(x₁ x₂) by gradient descent. In the parametrisation of the
tangent kernel, α = 1, with h units in each hidden layer

    |Θ₀ − Θ_∞|/|Θ_∞| ~ h^(−½),   |Θ_t − Θ₀|/|Θ₀| ~ h^(−1),   |δW|/|W| ~ h^(−½) for L = 2 and h^(−1) for L ≥ 3,

the last because |δW| is of order one while |W| grows like the root of the number of weights. For the kernel in training
h^(−½) is what Jacot et al. prove, and h^(−1) what Dyer and Gur-Ari find; rectifiers whose sign changes at an example
add h^(−¾), as lazy-training explains. In the parametrisation of the mean field, α = h^(−½), outputs are of order 1/h,
α √h is the same at every width, and the kernel moves by as much at any.

Sources: A. Jacot, F. Gabriel, C. Hongler (2018), Neural tangent kernel, theorems 1 and 2; E. Dyer, G. Gur-Ari (2019),
Asymptotics of wide networks from Feynman diagrams.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch.linalg import matrix_norm
from xarray.ufuncs import log

from learnscope import laboratory
from learnscope.dynamics.scaled_outputs import descend
from learnscope.kernels import infinite_width, max_learning_rate
from learnscope.laboratory import SEEDS, Claim, Criterion, Experiment, Point, between, median_over_seeds, within
from learnscope.laboratory.claims import Measure
from learnscope.networks.ntk_parametrised import NTKParametrised, unit_weights
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, category

GROWTH = 4.0  # the kernel grows by up to about this over α √h, and learning rates are smaller by as much
PARAMETRISATIONS = ("tangent kernel", "mean field")
QUANTITIES = {
    "initial": ("|Θ₀ − Θ_∞|/|Θ_∞|", -0.5),
    "final": ("|Θ_t − Θ_∞|/|Θ_∞|", -0.5),
    "kernel": ("|Θ_t − Θ₀|/|Θ₀|", -1.0),
    "weights": ("|δW|/|W|", None),
}


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    n_train: int = Field(20, ge=2, description="examples")
    dim: int = Field(10, ge=2, description="numbers d in an example")
    depths: tuple[int, ...] = Field((2, 3), min_length=2, description="layers of weights L, 2 and 3 among them")
    widths: tuple[int, ...] = Field((64, 128, 256, 512), min_length=3, description="units h of each hidden layer")
    n_draws: int = Field(8, ge=1, description="networks for the kernel at the start, of which the first is trained")
    rate: float = Field(0.5, gt=0, lt=1, description="learning rate over the largest stable one")
    n_steps: int = Field(20_000, ge=1, description="most steps of a run")
    tolerance: float = Field(1e-3, gt=0, description="mean of (F − y)² at which a run ends")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Draw and train networks of every depth and width on the same examples."""
    x = torch.randn(point.n_train, point.dim, generator=generator, dtype=torch.float64)
    by_depth = []
    for layers in point.depths:
        runs = [_trained(x, layers, width, point, generator) for width in point.widths]
        by_depth.append(xr.concat(runs, "width"))
    data = xr.concat(by_depth, "depth")
    return data.assign_coords(
        depth=list(point.depths), width=list(point.widths), parametrisation=list(PARAMETRISATIONS)
    )


def _trained(x: torch.Tensor, layers: int, width: int, point: Point, generator: torch.Generator) -> xr.Dataset:
    network, y = NTKParametrised(), torch.sign(x[:, 0] * x[:, 1])
    drawn = unit_weights((point.dim, *(width,) * (layers - 1), 1), generator, (point.n_draws,))
    limit, kernels = infinite_width(x, depth=layers).tangent, network.tangent_kernel(drawn, x)
    weights, kernel = [W[:1] for W in drawn], kernels[0]
    alpha = torch.tensor([1.0, width**-0.5], dtype=x.dtype)
    run = descend(
        network,
        [W.expand(2, -1, -1) for W in weights],
        x,
        y,
        alpha=alpha,
        learning_rate=point.rate * max_learning_rate(kernel) / (1 + GROWTH / (alpha * width**0.5)),
        n_steps=point.n_steps,
        tolerance=point.tolerance,
    )
    moved = torch.stack([(W - W0).square().sum((-2, -1)) for W, W0 in zip(run.factors, weights, strict=True)]).sum(0)
    size = torch.stack([W0.square().sum() for W0 in weights]).sum()
    trained = network.tangent_kernel(run.factors, x)
    away = (matrix_norm(kernels - limit) / matrix_norm(limit)).log().mean().exp()
    measured = {
        "initial": away.expand(2),
        "final": matrix_norm(trained - limit) / matrix_norm(limit),
        "kernel": matrix_norm(trained - kernel) / matrix_norm(kernel),
        "weights": (moved / size).sqrt(),
        "converged": run.converged.double(),
    }
    return xr.Dataset({name: ("parametrisation", value.numpy()) for name, value in measured.items()})


def exponent(quantity: str, parametrisation: str, *layers: int) -> Measure:
    """Return the measure of the exponent in the width, its mean over some depths."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        values = log(data[quantity].sel(parametrisation=parametrisation, depth=list(layers)))
        fit = values.assign_coords(width=np.log(values["width"].values)).polyfit("width", 1)
        return fit["polyfit_coefficients"].sel(degree=1, drop=True).mean("depth")

    return measure


def _weights(layers: int, predicted: float) -> Criterion:
    return Criterion(
        name=f"exponent of |δW|/|W| in the width, {layers} layers",
        predicted=predicted,
        measured=exponent("weights", "tangent kernel", layers),
        band=within(absolute=0.1),
        reason="kernels of random networks are up to a fourth off their limit at h = 64, and |δW| by half as much",
        control=exponent("weights", "mean field", layers),
        control_name=f"the mean field, exponent {predicted + 0.5:g}",
    )


CLAIM = Claim(
    name="ntk-constancy-width",
    statement="The tangent kernel is deterministic at initialisation and constant in training as h → ∞: it is h^(−½) "
    "from its limit, and moves by at most h^(−½), in fact by about h^(−1), while weights move by h^(−½) of their size "
    "for two layers and h^(−1) for more.",
    source="Jacot, Gabriel, Hongler 2018, theorems 1 and 2; Dyer, Gur-Ari 2019",
    criteria=(
        Criterion(
            name="exponent of |Θ₀ − Θ_∞| in the width, mean over depths",
            predicted=-0.5,
            measured=exponent("initial", "tangent kernel", 2, 3),
            band=within(absolute=0.1),
            reason="sampling: a norm of 8 draws scatters by a fifth or less, 0.1/√10 in the slope; next order h^(−½)",
            control=exponent("final", "mean field", 2, 3),
            control_name="the mean field after training, whose kernel has learned",
        ),
        Criterion(
            name="exponent of |Θ_t − Θ₀|/|Θ₀| in the width, mean over depths",
            predicted=-1.0,
            measured=exponent("kernel", "tangent kernel", 2, 3),
            band=between(-1.15, -0.45),
            reason="the theorem's −1/2 and the asymptotic −1, with the scatter of a slope over widths that differ by 8",
            control=exponent("kernel", "mean field", 2, 3),
            control_name="the mean field, exponent 0",
        ),
        _weights(2, -0.5),
        _weights(3, -1.0),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw what moves against the width."""
    width = data["width"].values
    choices = tuple(
        Choice(f"{title}, {layers} layers", Axis(title, title, "log"), (_against_width(data, name, layers),))
        for name, (title, _) in QUANTITIES.items()
        for layers in data["depth"].values.tolist()
    )
    n = data.sizes["depth"]
    return (
        Figure(
            "width",
            "The kernel at the start and in training",
            Caption(
                shows="Distance of the tangent kernel to its limit at infinite width before and after training, and "
                f"the relative change of kernel and weights, against the width; dashed: predicted slopes. {SEEDS}",
                look_for="Wide networks start at the limit and stay there in the parametrisation of the tangent "
                "kernel. In that of the mean field the kernel moves by as much at any width.",
                source="Jacot, Gabriel, Hongler 2018, figure 1; Dyer, Gur-Ari 2019",
            ),
            charts=(
                Chart(
                    Axis("width", "width h", "log", width),
                    choices,
                    choice_name="Quantity",
                    starts=(0, 2 * n),
                    height=420,
                ),
            ),
        ),
    )


def _against_width(data: xr.Dataset, name: str, layers: int) -> Lines:
    values, width = data[name].sel(depth=layers), data["width"].values
    series = [median_over_seeds(values.sel(parametrisation=p), p, category(k)) for k, p in enumerate(PARAMETRISATIONS)]
    slope = QUANTITIES[name][1] or (-0.5 if layers == 2 else -1.0)
    anchor = float(values.sel(parametrisation="tangent kernel").isel(width=0).median("seed"))
    series.append(Series(f"slope {slope:g}", anchor * (width / width[0]) ** slope, category(7), style="dashed"))
    return Lines(tuple(series))


EXPERIMENT = Experiment(
    name="kernel-constancy",
    title="Wide networks keep their tangent kernel",
    source="Jacot, Gabriel, Hongler 2018; Dyer, Gur-Ari 2019",
    settings=Settings,
    paper={
        "n_train": 100,
        "depths": (2, 3, 4, 6),
        "widths": (64, 256, 1024, 4096, 16384),
        "n_steps": 200_000,
    },
    simulate=simulate,
    claims=(CLAIM,),
    figures=figures,
)
