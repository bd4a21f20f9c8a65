"""Early layers weigh high degrees more.

The tangent kernel of a ReLU network on the unit sphere of ℝ^d is a sum over its layers, Θ = Σ_l Θ^(l), each a function
of the angle with eigenvalues λ_k^(l) for harmonics of degree k, and Θ^(l)(x, x) = 1. From layer to layer the share of
the trace on high degrees falls. At high degrees the eigenvalues of the layers below the read-out are in the proportion
of the numbers of ReLUs above them, 3 : 2 : 1 for four layers of weights; those of the read-out are smaller by k².

Networks are in the NTK parametrisation with weights of variance 2, no biases. In finite ones degrees are told apart by
∫∫ Θ^(l)(x, x') P_k(x · x') = λ_k^(l) on a grid that integrates polynomials exactly.

What this means for learning is the subject of layer-contributions and of speed-by-degree.

Sources: Y. Dandi, A. Jacot (2021), Understanding layer-wise contributions in deep neural networks through spectral
analysis; A. Bietti, F. Bach (2021), Deep equals shallow for ReLU networks in kernel regimes, for high degrees.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from xarray.ufuncs import exp, log

from learnscope import laboratory
from learnscope.distributions.harmonics import legendre, n_harmonics
from learnscope.distributions.spherical import sphere_grid
from learnscope.kernels import tangent_kernel
from learnscope.kernels.analytic import funk_hecke, layer_eigenvalues
from learnscope.laboratory import SEEDS, Claim, Criterion, Experiment, Point, at_least, at_most, within
from learnscope.laboratory.claims import Measure
from learnscope.laboratory.curves import median_over_seeds
from learnscope.networks import FullyConnected
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, category, depth

DEPTH = 4  # layers of weights
LAYERS = tuple(range(1, DEPTH + 1))
DEGREES = 8  # of the spectra in all dimensions
HIGH = 4  # degrees from here on are called high


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    dims: tuple[int, ...] = Field((3, 10, 50), min_length=1, description="dimensions of the spectra, 3 among them")
    highest: int = Field(59, ge=10, description="highest degree of the spectrum in three dimensions, odd")
    width: int = Field(512, ge=16, description="of the finite networks")
    grid_degree: int = Field(20, ge=2 * HIGH, description="of the grid that stands for the whole sphere")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Compute the spectra of infinitely wide networks and of one finite network."""
    return xr.merge([_spectra(point), _network(point, generator)])


def _spectra(point: Point) -> xr.Dataset:
    """Compute the eigenvalues of the layers' kernels, and of those of a linear network, which are x · x'."""
    found = torch.stack([layer_eigenvalues(dim, DEPTH, DEGREES) for dim in point.dims])
    counts = torch.tensor([[n_harmonics(k, dim) for k in range(HIGH)] for dim in point.dims])
    linear = torch.stack([funk_hecke(lambda t: t.expand(DEPTH, -1), dim, HIGH - 1) for dim in point.dims])
    shares = [1 - (each[..., :HIGH] * counts[:, None]).sum(-1) for each in (found, linear)]
    dims = ["dim", "layer"]
    return xr.Dataset(
        {
            "eigenvalue": ([*dims, "degree"], found),
            "high_share": (dims, shares[0], {"long_name": f"share of degrees from {HIGH} on, infinite width"}),
            "high_share_linear": (dims, shares[1]),
            "three_dimensional": (["layer", "each_degree"], layer_eigenvalues(3, DEPTH, point.highest)),
        },
        {
            "layer": list(LAYERS),
            "dim": list(point.dims),
            "degree": np.arange(DEGREES + 1),
            "each_degree": np.arange(point.highest + 1),
        },
    )


def _network(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Measure the share of high degrees in the kernel of each layer of a finite network."""
    grid = sphere_grid(point.grid_degree)
    network = FullyConnected(3, (point.width,) * (DEPTH - 1), 1, generator=generator)
    kernels = tangent_kernel(network, grid.points.float(), outputs=0, parameters="*.weight", by_layer=True)
    assert isinstance(kernels, dict)
    polynomials = legendre(grid.points @ grid.points.mT, 3, HIGH - 1)
    low = torch.tensor([n_harmonics(k, 3) for k in range(HIGH)])[:, None, None] * polynomials
    pairs = grid.weights[:, None] * grid.weights * low.sum(0)
    shares = [1 - float((pairs * K).sum() / (grid.weights @ K.diagonal().double())) for K in kernels.values()]
    return xr.Dataset({"network_high_share": ("layer", shares)}, {"layer": list(LAYERS)})


def _largest_ratio(order: int) -> Measure:
    """Return the largest factor of λ_k/λ_1 from one layer to the next, over degrees and dimensions."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        relative = log(data["eigenvalue"].sel(degree=slice(2, None)) / data["eigenvalue"].sel(degree=1, drop=True))
        return exp(relative.isel(layer=slice(None, None, order)).diff("layer").max(["layer", "degree", "dim"]))

    return measure


def _least_drop(quantity: str) -> Measure:
    return lambda data: -data[quantity].diff("layer").max(["layer", "dim"])


def _relative_to_relus(*layers: int) -> Measure:
    """Return λ^(l)/λ^(DEPTH - 1) at the two highest degrees, over the number of ReLUs above layer l, or over 1."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        top = data["three_dimensional"].isel(each_degree=[-2, -1])
        ratio = (top / top.sel(layer=DEPTH - 1, drop=True)).mean("each_degree").sel(layer=list(layers))
        return (ratio / (DEPTH - ratio["layer"]).clip(min=1)).mean("layer")

    return measure


def _network_error(order: int) -> Measure:
    """Return the largest |log| of the share of high degrees in a layer of the network over that predicted."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        predicted = data["high_share"].sel(dim=3, drop=True)
        ordered = predicted.isel(layer=slice(None, None, order)).assign_coords(layer=predicted["layer"])
        return abs(log(data["network_high_share"] / ordered)).max("layer")

    return measure


CLAIM = Claim(
    name="layerwise-spectrum",
    statement="Initial layers have the larger share of high degrees in their part of the tangent kernel on a sphere; "
    "at high degrees the eigenvalues are in proportion to the number of ReLUs above a layer.",
    source="Dandi, Jacot 2021; the law at high degrees from Bietti, Bach 2021, Theorem 1",
    criteria=(
        Criterion(
            name="largest factor of λ_k/λ_1 from one layer to the next, k = 2 ... 8, all dimensions",
            predicted=1.0,
            measured=_largest_ratio(1),
            band=at_most(1.0),
            reason="theory: it falls strictly; the quadrature is exact to 10⁻⁶",
            control=_largest_ratio(-1),
            control_name="layers in reversed order",
        ),
        Criterion(
            name=f"least drop of the share of degrees from {HIGH} on, from one layer to the next",
            predicted=0.0,
            measured=_least_drop("high_share"),
            band=at_least(0.01),
            reason="theory: strictly positive; a hundredth of the trace is far above rounding",
            control=_least_drop("high_share_linear"),
            control_name="a linear network, whose layers have degree 1 only",
        ),
        Criterion(
            name="λ^(l)/λ^(3) at the two highest degrees over the ratio of ReLUs above, layers 1 and 2",
            predicted=1.0,
            measured=_relative_to_relus(*LAYERS[:-2]),
            band=within(0.01),
            reason="the next order is smaller by k², 3e-4, times a constant",
            control=_relative_to_relus(DEPTH),
            control_name="the read-out, above which there is no ReLU",
        ),
        Criterion(
            name="largest |log| of the share of high degrees in a layer of a finite network over theory",
            predicted=0.0,
            measured=_network_error(1),
            band=at_most(0.3),
            reason="entries of the kernel fluctuate by √(layers/width), 0.09, and we take the largest of four; thrice",
            control=_network_error(-1),
            control_name="theory for the layers in reversed order",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw spectra and shares of high degrees by layer."""
    return _spectra_figure(data), _shares_figure(data)


def named_layers() -> list[tuple[int, str, str]]:
    """Return the number, name and colour of each layer."""
    return [(k, f"layer {k}" if k < DEPTH else "read-out", depth(k - 1, DEPTH)) for k in LAYERS]


def _spectra_figure(data: xr.Dataset) -> Figure:
    def lines(values: xr.DataArray) -> tuple[Lines]:
        return (Lines(tuple(median_over_seeds(values.sel(layer=k), name, hue) for k, name, hue in named_layers())),)

    by_dim = [
        Choice(f"d = {dim}", Axis("eigenvalue", "λ_k", "log"), lines(data["eigenvalue"].sel(dim=dim)))
        for dim in data["dim"].values
    ]
    top = data["three_dimensional"].isel(each_degree=slice(1, None))
    relative = Choice("relative", Axis("ratio", "λ_k over that of layer 3"), lines(top / top.sel(layer=DEPTH - 1)))
    high = Choice("eigenvalues", Axis("eigenvalue", "λ_k", "log"), lines(top))
    return Figure(
        "spectra",
        "Spectra by layer",
        Caption(
            shows="Eigenvalue of the kernel of each layer at each harmonic of degree k, for infinite width.",
            look_for="Early layers fall more slowly. Right: at high degrees 3 : 2 : 1, once even and odd degrees are "
            "averaged; the read-out falls off.",
            source="Dandi, Jacot 2021; Bietti, Bach 2021",
        ),
        charts=(
            Chart(Axis("degree", "degree k", values=data["degree"].values), tuple(by_dim)),
            Chart(Axis("degree", "degree k, d = 3", values=top["each_degree"].values), (relative, high)),
        ),
    )


def _shares_figure(data: xr.Dataset) -> Figure:
    lines = [
        median_over_seeds(data["high_share"].sel(dim=dim), f"d = {dim}, infinite width", category(k), "dashed")
        for k, dim in enumerate(data["dim"].values)
    ]
    place = list(data["dim"].values).index(3)
    lines.append(median_over_seeds(data["network_high_share"], "d = 3, a finite network", category(place)))
    axis = Axis("share", f"share of the trace on degrees from {HIGH} on")
    names = Axis("layer", "layer", "names", np.array([name for _, name, _ in named_layers()]))
    return Figure(
        "shares",
        "High degrees live in early layers",
        Caption(
            shows=f"Share of the trace of each layer's kernel on high degrees. {SEEDS}",
            look_for="It falls from layer to layer in every dimension; networks of finite width scatter about theory.",
            source="Dandi, Jacot 2021",
        ),
        charts=(Chart(names, (Choice("share", axis, (Lines(tuple(lines)),)),)),),
    )


EXPERIMENT = Experiment(
    name="spectral-bias",
    title="The spectrum of each layer's tangent kernel on the sphere",
    source="Dandi, Jacot 2021",
    settings=Settings,
    paper={"dims": (3, 10, 50, 200), "highest": 199, "width": 4096, "grid_degree": 40},
    simulate=simulate,
    claims=(CLAIM,),
    figures=figures,
    parts=("layer-contributions", "speed-by-degree"),
)
