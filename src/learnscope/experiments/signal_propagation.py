"""Deep chains lose signals exponentially; identities and removed means keep them.

The Jacobian of a network of L layers is a product of L matrices, and ‖A^L u‖ = Θ(|λ₁|^L) for almost every u. In a wide
random network of tanh the log norm of a gradient grows by ½ log χ a layer, χ = σ_w² E tanh'²(√q z) at the fixed point q
of the signal, less a correction of order 1/width. A residual block has the Jacobian I + J. With ‖J‖ = ε, log κ of the
product is at most L log((1 + ε)/(1 − ε)), and it is √2 ε √L for independent Gaussian J, whose symmetric parts add up to
a semicircle of radius ε √(L/2), where ε √L is small. So ε = 1/L costs next to nothing.

Activations [n, width] of a random network of ReLUs become ill conditioned with depth as their mean takes over; taking
it away in every layer, as batch normalisation does, prevents that: the share of the mean stays 1/π, that of ReLUs of
independent normal inputs. Rescaling alone does not. Condition numbers κ are σ_max/σ_min.

Weights are Gaussian, N(0, σ_w²/width) for tanh, N(0, 2/width) for ReLU. Sources: M. Hardt, B. Recht (2022), chapter 7;
B. Poole et al. (2016), S. Schoenholz et al. (2017) for χ; Y. Cho, L. Saul (2009) for 1/π. √2 ε √L is derived here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor
from xarray.ufuncs import exp

from learnscope import laboratory
from learnscope.laboratory import SEEDS, Claim, Criterion, Experiment, Point, at_most, within
from learnscope.networks import chains
from learnscope.observables.features import centred
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Scale, Series, category

Measure = Callable[[xr.Dataset], xr.DataArray]

RADII = (0.9, 1.1)  # spectral radii of A
STARTS = ("random", "orthogonal")
GAP = 0.9  # of the second eigenvalue to the first
BIAS = 0.3  # σ_b of the networks of tanh
SIZES = {"ε = 1/L": None, "ε = 0.1": 0.1, "ε = 0.5": 0.5}  # norms of J
CHAINS = (*SIZES, "same J in each, ε = 0.1", "no identity")
TREATMENTS = ("nothing", "rescaled", "centred", "centred and rescaled")
LOST = 16.0  # log10 of a condition number that float64 cannot tell from infinity
PAPER = {"dim": 200, "depths": (10, 50, 110, 200), "width": 1000, "layers": 100, "n_networks": 1, "n_inputs": 2000}


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    dim: int = Field(50, ge=4, description="size d of the matrices")
    power: int = Field(200, ge=20, le=300, description="largest power of A, before rounding brings λ₁ back")
    depths: tuple[int, ...] = Field((10, 20, 50, 100), description="numbers of residual blocks L")
    width: int = Field(100, ge=10, description="width of the networks of tanh")
    layers: int = Field(50, ge=5, description="layers of the networks of tanh")
    n_networks: int = Field(8, ge=1, description="networks of tanh to average over")
    weight_stds: tuple[float, ...] = Field((0.5, 1.0, 1.5, 2.0, 3.0), description="σ_w of the networks of tanh")
    n_inputs: int = Field(200, ge=10, description="inputs n of the network of ReLUs, twice its width")
    relu_layers: int = Field(20, ge=2, description="layers of the network of ReLUs")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Measure powers of a matrix, gradients of networks of tanh, products of blocks, and activations of ReLUs."""

    def randn(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator, dtype=torch.float64)

    powers, blocks = _powers(point.dim, point.power, randn), _blocks(point.dim, point.depths, randn)
    return xr.merge([powers, blocks, _gradients(point, randn), _activations(point, randn)])


def _powers(dim: int, power: int, randn: Callable[..., Tensor]) -> xr.Dataset:
    """Measure log ‖A^k u‖ for symmetric A, from a random u and from one without the first eigenvector."""
    vectors = torch.linalg.qr(randn(dim, dim)).Q
    others = GAP * torch.linspace(-1, 1, dim - 1, dtype=torch.float64)
    spectrum = torch.tensor(RADII, dtype=torch.float64)[:, None] * torch.cat([torch.ones(1).double(), others])
    A = (vectors * spectrum[:, None]) @ vectors.mT
    u = randn(dim)
    starts = torch.stack([u, u - vectors[:, 0] * (vectors[:, 0] @ u)])
    logs = chains.log_norms(A[None, :, None].expand(2, -1, power, -1, -1), starts[:, None].expand(-1, 2, -1)).numpy()
    coords = {"start": list(STARTS), "radius": list(RADII), "power": np.arange(power + 1)}
    slope = (logs[..., -1] - logs[..., power // 2]) / (power - power // 2)
    measured = {"log_norm": (["start", "radius", "power"], logs), "later_slope": (["start", "radius"], slope)}
    return xr.Dataset(measured, coords)


def _gradients(point: Point, randn: Callable[..., Tensor]) -> xr.Dataset:
    """Measure mean log norms of gradients on their way back through networks of tanh, without and with identities."""
    width, layers, copies, stds, grown = point.width, point.layers, point.n_networks, point.weight_stds, []
    for std in stds:
        weights = std * width**-0.5 * randn(copies, layers, width, width)
        q = chains.tanh_fixed_point(std, BIAS)
        biases, start = BIAS * randn(copies, layers, width), q**0.5 * randn(copies, width)
        for skip in (0.0, 1.0):
            back = chains.tanh_jacobians(weights, biases, start, skip).flip(-3).mT
            grown.append(chains.log_norms(back, randn(copies, width)).mean(0))
    logs = torch.stack(grown).unflatten(0, (len(stds), 2))
    coords = {"weight_std": list(stds), "network": ["plain", "with identities"], "layer": np.arange(layers + 1)}
    dims, logs = ["weight_std", "network", "layer"], (logs - logs[..., :1]).numpy()
    measured = {"log_gradient": (dims, logs), "growth": (dims[:2], logs[..., -1] / layers)}
    predicted = [chains.tanh_gradient_growth(std, BIAS, width) for std in stds]
    return xr.Dataset(measured, coords).assign(predicted_growth=("weight_std", predicted))


def _blocks(dim: int, depths: tuple[int, ...], randn: Callable[..., Tensor]) -> xr.Dataset:
    """Measure log κ of products of L blocks."""
    eye, measured, predicted = torch.eye(dim, dtype=torch.float64), [], []
    for L in depths:
        J = randn(L, dim, dim)
        J = J / torch.linalg.matrix_norm(J, ord=2, keepdim=True)
        sizes = [size or 1 / L for size in SIZES.values()]
        blocks = [*(eye + size * J for size in sizes), eye + 0.1 * J[:1].expand_as(J), J]
        least, largest = chains.log_singular_range(torch.stack(blocks))
        measured.append((largest - least).numpy())
        predicted.append([(2 * L) ** 0.5 * size for size in (*sizes, 0.1, 1.0)])
    both = {"log_condition": measured, "random_law": predicted}
    coords = {"chain": list(CHAINS), "depth": list(depths)}
    return xr.Dataset({name: (["depth", "chain"], np.array(values)) for name, values in both.items()}, coords)


def _activations(point: Point, randn: Callable[..., Tensor]) -> xr.Dataset:
    """Measure κ of activations of ReLUs, and the share of their first principal direction, for each treatment."""
    width, layers, conditions, shares = point.n_inputs // 2, point.relu_layers, [], []
    signals = [randn(point.n_inputs, width)] * len(TREATMENTS)
    for _ in range(layers):
        weight = randn(width, width) * (2 / width) ** 0.5
        signals = [_treated(x @ weight, name).relu() for x, name in zip(signals, TREATMENTS, strict=True)]
        values = torch.linalg.svdvals(torch.stack(signals))
        conditions.append((values[:, 0] / values[:, -1].clamp(min=1e-300)).log10().clamp(max=LOST).numpy())
        shares.append((values[:, 0].square() / values.square().sum(-1)).numpy())
    dims, coords = ["relu_layer", "treatment"], {"treatment": list(TREATMENTS), "relu_layer": np.arange(layers) + 1}
    kappa, share = (dims, np.array(conditions)), (dims, np.array(shares))
    worse = (dims, kappa[1] - kappa[1][:1])
    return xr.Dataset({"log10_condition": kappa, "log10_condition_over_first": worse, "first_share": share}, coords)


def _treated(h: Tensor, treatment: str) -> Tensor:
    """Return pre-activations without their means over the inputs, or with mean square 2, or both, or as they are."""
    h = centred(h) if treatment.startswith("centred") else h
    return h * (2 / h.square().mean(0)) ** 0.5 if treatment.endswith("rescaled") else h


def _factor_over_radius(start: str) -> Measure:
    return lambda data: (exp(data["later_slope"].sel(start=start)) / data["radius"]).mean("radius")


def _growth_error(network: str) -> Measure:
    return lambda data: abs(data["growth"].sel(network=network) - data["predicted_growth"]).max("weight_std")


def _over_random_law(*names: str) -> Measure:
    return lambda data: (data["log_condition"] / data["random_law"]).sel(chain=list(names)).mean(["chain", "depth"])


def _last_layer(quantity: str, treatment: str) -> Measure:
    return lambda data: data[quantity].sel(treatment=treatment).isel(relu_layer=-1)


EXPLODING = Claim(
    name="vanishing-exploding",
    statement="‖A^L u‖ = Θ(|λ₁|^L) for almost every u, so signals and gradients vanish or explode with depth: in wide "
    "random networks of tanh by ½ log χ a layer.",
    source="Hardt, Recht 2022, chapter 7; Poole et al. 2016; Schoenholz et al. 2017",
    criteria=(
        Criterion(
            name="factor of ‖A^k u‖ a step over the spectral radius, later half of the powers",
            predicted=1.0,
            measured=_factor_over_radius("random"),
            band=within(0.01),
            reason="the other eigenvectors have shrunk to 0.9^100 = 3e-5 relative to the first; the chapter's 1 %",
            control=_factor_over_radius("orthogonal"),
            control_name="u orthogonal to the first eigenvector",
        ),
        Criterion(
            name="growth of log gradients a layer, largest deviation from ½ log χ at this width, over σ_w",
            predicted=0.0,
            measured=_growth_error("plain"),
            band=at_most(0.03),
            reason="means of 400 steps scatter by √((3 E s⁴/(E s²)² − 1)/width)/40, up to 0.008; four times that",
            control=_growth_error("with identities"),
            control_name="the same layers with identities",
        ),
    ),
)
RESIDUAL = Claim(
    name="residual-conditioning",
    statement="Products of L blocks I + J with small J are well conditioned: for ‖J‖ = ε, log κ is at most "
    "L log((1 + ε)/(1 − ε)), and for independent Gaussian J only √2 ε √L.",
    source="Hardt, Recht 2022, chapter 7; the law for independent J is derived in the experiment's file",
    criteria=(
        Criterion(
            name="log κ over √2 ε √L for ε = 1/L and 0.1, mean over L",
            predicted=1.0,
            measured=_over_random_law("ε = 1/L", "ε = 0.1"),
            band=within(0.1),
            reason="spectral edges at d = 50 are 2 % from their limit; second order in ε √L adds a few per cent",
            control=_over_random_law("no identity"),
            control_name="the same J without identities",
        ),
    ),
)
NORMALISED = Claim(
    name="normalisation-conditioning",
    statement="Removing the mean of the pre-activations keeps activations well conditioned at any depth.",
    source="Hardt, Recht 2022, chapter 7",
    criteria=(
        Criterion(
            name="growth of log10 κ of the activations from the first layer to the last",
            predicted=0.0,
            measured=_last_layer("log10_condition_over_first", "centred and rescaled"),
            band=at_most(0.5),
            reason="wide networks keep the spectrum of the first layer; a factor of 3 for order layers/width, 1/5",
            control=_last_layer("log10_condition_over_first", "rescaled"),
            control_name="rescaled without removing the mean",
        ),
        Criterion(
            name="share of the first principal direction in the last layer",
            predicted=1 / np.pi,
            measured=_last_layer("first_share", "centred and rescaled"),
            band=within(0.2),
            reason="corrections of order layers/width, 1/5 here",
            control=_last_layer("first_share", "nothing"),
            control_name="no treatment",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw norms along chains, condition numbers of residual products, and activations by layer."""
    norms = {f"|λ₁| = {rho:g}, {u} u": data["log_norm"].sel(radius=rho, start=u) for rho in RADII for u in STARTS}
    plain, grown = data["log_gradient"].sel(network="plain"), data["predicted_growth"] * data["layer"]
    stds = {f"σ_w = {std:g}": plain.sel(weight_std=std) for std in plain["weight_std"].values}
    laws = {f"{name}, predicted": grown.sel(weight_std=values["weight_std"]) for name, values in stds.items()}
    products = {name: data["log_condition"].sel(chain=name) for name in CHAINS}
    walks = {f"√2 ε √L, {name}": data["random_law"].sel(chain=name) for name in SIZES}
    layers = [
        (title, _lines({name: data[quantity].sel(treatment=name) for name in TREATMENTS}))
        for quantity, title in (("log10_condition", "log10 κ"), ("first_share", "share of the first direction"))
    ]
    powers, gradients = [("log ‖A^k u‖", _lines(norms))], [("log ‖gradient‖, 0 at the last layer", _lines(stds, laws))]
    return (
        Figure(
            "norms",
            "Signals along a chain",
            Caption(
                shows="Log norms of powers of a symmetric matrix times u, and of gradients in networks of tanh on "
                f"their way back, with ½ log χ a layer. {SEEDS}",
                look_for="Straight lines. Without the first eigenvector the second one sets the pace. Gradients vanish "
                "at small σ_w and explode at large.",
                source="Hardt, Recht 2022, chapter 7; Schoenholz et al. 2017",
            ),
            charts=(
                _chart(data, "power", "power k", powers),
                _chart(data, "layer", "layers on the way back", gradients),
            ),
        ),
        Figure(
            "products",
            "Products of blocks, and activations by layer",
            Caption(
                shows="Log condition number of products of L blocks I + J with ‖J‖ = ε; condition number and share of "
                f"the first principal direction of the activations of ReLUs. {SEEDS}",
                look_for="Independent J add up like a random walk, the same J in a straight line. Activations stay "
                f"well conditioned where means are removed; {LOST:g} stands for what float64 cannot resolve.",
                source="Hardt, Recht 2022, chapter 7",
            ),
            charts=(
                _chart(data, "depth", "blocks L", [("log κ", _lines(products, walks))], "log"),
                _chart(data, "relu_layer", "layer", layers),
            ),
        ),
    )


def _chart(data: xr.Dataset, x: str, title: str, choices: list[tuple[str, Lines]], scale: Scale = "linear") -> Chart:
    drawn = tuple(Choice(name, Axis(name, name, scale), (lines,)) for name, lines in choices)
    return Chart(Axis(x, title, scale, data[x].values), drawn)


def _lines(solid: dict[str, xr.DataArray], dashed: dict[str, xr.DataArray] | None = None) -> Lines:
    series = []
    for k, (name, values) in enumerate(solid.items()):
        low, middle, high = (values.quantile(q, "seed").values for q in (0.0, 0.5, 1.0))
        series.append(Series(name, middle, category(k), low=low, high=high))
    for k, (name, values) in enumerate((dashed or {}).items()):
        series.append(Series(name, values.median("seed").values, category(k), style="dashed"))
    return Lines(tuple(series))


EXPERIMENT = Experiment(
    name="signal-propagation",
    title="Signals through deep chains",
    source="Hardt, Recht 2022, chapter 7; Poole et al. 2016; Schoenholz et al. 2017",
    settings=Settings,
    paper=PAPER,
    simulate=simulate,
    claims=(EXPLODING, RESIDUAL, NORMALISED),
    figures=figures,
)
