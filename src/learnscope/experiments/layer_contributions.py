"""Early layers are faster at high degrees, but not better.

Of the decrease of the error on a target of degree k on the sphere, gradient flow owes the share λ_k^(l)/Σ_l λ_k^(l) to
layer l, where λ_k^(l) are the eigenvalues of the layer's part of the tangent kernel. So the first layer's part grows
with the degree, and its kernel alone is ahead on high degrees after a short time.

But it is not the better kernel for them: from few examples and with the best ridge, the kernel of the read-out errs
least at every degree. Degree k is learned from n examples where n λ_k exceeds the trace on higher degrees, and that
trace falls from layer to layer faster than λ_k does. The theory of Bordelon et al. gives the errors.

Targets of degree k are √N_k P_k(v · x) with a random v; their mean square is 1. Networks are in the NTK parametrisation
with weights of variance 2, no biases, and three inputs. Regression on the kernels of infinite width has noise in the
labels, and the ridge that predicts best when one example is left out. Flows follow L = 1/(2n) Σ (f - y)².

Sources: Y. Dandi, A. Jacot (2021), Understanding layer-wise contributions in deep neural networks through spectral
analysis; B. Bordelon, A. Canatar, C. Pehlevan (2020), Spectrum dependent learning curves in kernel regression.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor, nn
from xarray.ufuncs import exp, log

from learnscope import laboratory
from learnscope.distributions.harmonics import n_harmonics, zonal_harmonics
from learnscope.distributions.spherical import sphere_grid, uniform_on_sphere
from learnscope.experiments.spectral_bias import DEPTH, LAYERS, named_layers
from learnscope.kernels import KernelRidge, gradient_flow_prediction
from learnscope.kernels.analytic import expected_error, layer_eigenvalues, layer_kernels
from learnscope.laboratory import SEEDS, Claim, Criterion, Experiment, Point, at_least, median_over_seeds, within
from learnscope.laboratory.claims import Measure
from learnscope.networks import FullyConnected
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines

CONTRIBUTED = np.arange(1, 7)  # degrees of the targets of networks
REGRESSED = np.arange(1, 6)  # degrees of the targets of regression
BEYOND = 30  # degree from which eigenvalues act as a ridge
RIDGES = torch.logspace(-4, 0, 5, dtype=torch.float64)
EARLY = 0.5  # time over that in which the first layer learns the highest degree from infinitely many examples


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    width: int = Field(512, ge=16, description="of the networks")
    grid_degree: int = Field(20, ge=2 * int(CONTRIBUTED[-1]), description="of the grid that stands for the sphere")
    dim: int = Field(5, ge=3, description="of the inputs of the regression")
    n_train: int = Field(400, ge=50, description="examples to learn from")
    n_test: int = Field(1000, ge=100, description="examples to judge the regression on")
    noise: float = Field(0.1, ge=0, description="standard deviation of the labels' noise in the regression")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Take apart what a network learns in a moment, and regress on the kernel of each layer."""
    return xr.merge([_contributions(point, generator), _regression(point, generator)])


def _contributions(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Measure the share of each layer in the decrease of the error over the sphere, learning from some examples.

    It is the product of the gradients on the examples and on the sphere, where the network is to learn the target as
    a change of what it is.
    """
    grid, degrees = sphere_grid(point.grid_degree), len(CONTRIBUTED)
    network = FullyConnected(3, (point.width,) * (DEPTH - 1), 1, generator=generator)
    x, poles = uniform_on_sphere(point.n_train, 3, generator), uniform_on_sphere(degrees, 3, generator)
    train = layer_gradients(network, x, zonal_harmonics(x, poles) / point.n_train)
    test = layer_gradients(network, grid.points, zonal_harmonics(grid.points, poles) * grid.weights[:, None])
    decrease = torch.stack([(a * b).sum(1) for a, b in zip(train, test, strict=True)], 1)
    predicted = layer_eigenvalues(3, DEPTH, degrees)[:, 1:].mT
    both = {"contribution": decrease, "predicted_contribution": predicted}
    measured = {name: (["degree", "layer"], each / each.sum(1, keepdim=True)) for name, each in both.items()}
    return xr.Dataset(measured, {"layer": list(LAYERS), "degree": CONTRIBUTED})


def layer_gradients(network: FullyConnected, x: Tensor, residuals: Tensor) -> list[Tensor]:
    """Return the gradients of Σ_i residuals_ik f(x_i) by each layer's weights, [k, weights].

    They are those of the NTK parametrisation, where a weight W of fan-in m is √(2/m) w with w from N(0, 1), so that
    ∂/∂w = √(2/m) ∂/∂W; the 2 is left out.
    """
    outputs = network(x.float())[:, 0]
    weights = [layer.weight for layer in network.modules() if isinstance(layer, nn.Linear)]
    rows = [torch.autograd.grad(outputs, weights, r.float(), retain_graph=True) for r in residuals.unbind(1)]
    by_layer = zip(weights, zip(*rows, strict=True), strict=True)
    return [torch.stack(parts).flatten(1) * weight.shape[1] ** -0.5 for weight, parts in by_layer]


def _regression(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Regress on the kernel of each layer: to the end with the best ridge, and without noise for a short time."""
    n, dim = point.n_train, point.dim
    x, poles = uniform_on_sphere(n + point.n_test, dim, generator), uniform_on_sphere(len(REGRESSED), dim, generator)
    y = zonal_harmonics(x, poles)
    noisy = y[:n] + point.noise * torch.randn(y[:n].shape, generator=generator, dtype=y.dtype)
    spectra = layer_eigenvalues(dim, DEPTH, BEYOND)
    counts = torch.tensor([n_harmonics(k, dim) for k in range(BEYOND + 1)], dtype=torch.float64)
    time = EARLY / float(spectra[0, REGRESSED[-1]])
    errors, predicted, early = [], [], []
    for kernel, spectrum in zip(layer_kernels(x @ x[:n].mT, DEPTH), spectra, strict=True):
        beyond = max(0.0, 1 - float(spectrum @ counts))
        for k, column in enumerate(noisy.unbind(1)):
            machine = KernelRidge.fit(kernel[:n], column, ridges=RIDGES)
            errors.append(float((machine.predict(kernel[n:])[:, 0] - y[n:, k]).square().mean()))
            power = torch.zeros_like(spectrum)
            power[REGRESSED[k]] = 1
            whole = machine.ridge + beyond
            predicted.append(expected_error(spectrum, counts, power, n, ridge=whole, noise=point.noise))
        zero = torch.zeros_like(y)
        flow = gradient_flow_prediction(kernel[:n], kernel[n:], y[:n], zero[:n], zero[n:], time)
        early.append((flow.test - y[n:]).square().mean(0).tolist())
    values = {"error": errors, "predicted_error": predicted, "early_error": early}
    shape = (DEPTH, len(REGRESSED))
    measured = {name: (["layer", "regressed"], np.reshape(each, shape)) for name, each in values.items()}
    return xr.Dataset(measured, {"layer": list(LAYERS), "regressed": REGRESSED})


def _growth(layer: int, quantity: str = "contribution") -> Measure:
    """Return a layer's share in the decrease of the error at the highest degree over that at the lowest."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        share = data[quantity].sel(layer=layer, drop=True)
        return share.isel(degree=-1, drop=True) / share.isel(degree=0, drop=True)

    return measure


def _predicted_growth(data: xr.Dataset) -> float:
    return float(_growth(1, "predicted_contribution")(data).mean())


def _first_over_last(first: int, last: int) -> Measure:
    """Return the ratio of two layers' errors over that predicted for layer 1 and the read-out, mean of logs."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        errors, predicted = log(data["error"]), log(data["predicted_error"])
        ratio = errors.sel(layer=first, drop=True) - errors.sel(layer=last, drop=True)
        theory = predicted.sel(layer=1, drop=True) - predicted.sel(layer=DEPTH, drop=True)
        return exp((ratio - theory).mean("regressed"))

    return measure


def _margin_of_last(quantity: str) -> Measure:
    """Return the least mean error of the other layers over that of the read-out, at the degree where this is least."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        errors = data[quantity].mean("seed")
        others = errors.sel(layer=list(LAYERS[:-1])).min("layer")
        return (others / errors.sel(layer=DEPTH, drop=True)).min("regressed")

    return measure


CLAIM = Claim(
    name="layerwise-contribution",
    statement="Layer l contributes λ_k^(l)/Σ_l λ_k^(l) to the decrease of the error on a target of degree k: early "
    "layers the more the higher the degree. Yet from few examples the last layer's kernel errs least at every degree.",
    source="Dandi, Jacot 2021, section 5; errors from Bordelon, Canatar, Pehlevan 2020",
    correction="Read as a statement about the error that one layer's kernel reaches, early layers best for high "
    "degrees and late ones for low, it is not reproduced: the last layer's kernel is the best for each. Early layers "
    "are faster at high degrees, which is what their eigenvalues say.",
    criteria=(
        Criterion(
            name="share of the first layer in the decrease of the error at degree 6 over that at degree 1",
            predicted=_predicted_growth,
            measured=_growth(1),
            band=within(0.15),
            reason="fluctuations of √(layers/width), 0.09, in part common to both degrees; less in the mean over seeds",
            control=_growth(DEPTH),
            control_name="the read-out",
        ),
        Criterion(
            name="error of the first layer's kernel over that of the read-out, by that predicted, mean over degrees",
            predicted=1.0,
            measured=_first_over_last(1, DEPTH),
            band=within(0.25),
            reason="in five dimensions modes are not Gaussian; single errors are off by up to 0.4, ratios by less",
            control=_first_over_last(DEPTH, 1),
            control_name="layers exchanged",
        ),
        Criterion(
            name="least mean error of the other layers over that of the read-out, at the degree where it is least",
            predicted=1.0,
            measured=_margin_of_last("error"),
            band=at_least(1.0),
            reason="theory says more than 1 at every degree; what is claimed is its sign",
            control=_margin_of_last("early_error"),
            control_name="after a short time, where kernels differ in speed",
            pooled=True,
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw contributions and errors by degree."""
    return _contributions_figure(data), _errors_figure(data)


def _by_layer(values: xr.DataArray, theory: xr.DataArray | None = None) -> tuple[Lines]:
    lines = [median_over_seeds(values.sel(layer=k), name, hue) for k, name, hue in named_layers()]
    if theory is not None:
        for k, name, hue in named_layers():
            lines.append(median_over_seeds(theory.sel(layer=k), f"{name}, theory", hue, "dashed"))
    return (Lines(tuple(lines)),)


def _contributions_figure(data: xr.Dataset) -> Figure:
    axis = Axis("share", "share in the decrease of the error")
    choice = Choice("share", axis, _by_layer(data["contribution"], data["predicted_contribution"]))
    return Figure(
        "contributions",
        "The higher the degree, the more is owed to early layers",
        Caption(
            shows="Share of each layer of a network in the decrease of the error over the sphere, at the first "
            f"moment of learning a target of degree k from examples. {SEEDS}",
            look_for="The first layer gains with the degree what the read-out loses, as the spectra say (dashed).",
            source="Dandi, Jacot 2021",
        ),
        charts=(Chart(Axis("degree", "degree k of the target", values=CONTRIBUTED), (choice,)),),
    )


def _errors_figure(data: xr.Dataset) -> Figure:
    title = "mean squared error on new examples"
    end = Choice("to the end", Axis("error", title, "log"), _by_layer(data["error"], data["predicted_error"]))
    early = Choice("for a short time", Axis("error", title, "log"), _by_layer(data["early_error"]))
    return Figure(
        "errors",
        "Faster is not better",
        Caption(
            shows="Regression on the kernel of one layer: with the best ridge and noise in the labels, and along the "
            f"gradient flow for a short time. {SEEDS}",
            look_for="To the end the read-out's kernel is best at every degree, as theory says (dashed). After a short "
            "time it is behind at high degrees, where the first layer is ahead.",
            source="Dandi, Jacot 2021; Bordelon, Canatar, Pehlevan 2020",
        ),
        charts=(Chart(Axis("degree", "degree k of the target", values=REGRESSED), (end, early), starts=(0, 1)),),
    )


EXPERIMENT = Experiment(
    name="layer-contributions",
    title="What each layer contributes to learning each degree",
    source="Dandi, Jacot 2021; Bordelon, Canatar, Pehlevan 2020",
    settings=Settings,
    paper={"width": 4096, "dim": 10, "n_train": 10_000, "n_test": 10_000},
    simulate=simulate,
    claims=(CLAIM,),
    figures=figures,
)
