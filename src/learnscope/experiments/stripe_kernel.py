"""Learning the stripe turns the tangent kernel towards the label, and its eigenvectors into functions of x₁ mostly.

Θ(x, x') is the tangent kernel of a network with one hidden layer, before and after it learns the stripe from p examples
in the regime of features. Compression makes it nearly a function of x₁ and x₁' with a correction linear in the other
directions, so after training its eigenvectors are of two kinds:

    φ(x₁)   and   φ(x₁) u·x_⊥,   the second in multiplets of d − 1.

On examples that were not trained on, this measures what the kernel knows of the label (``shared/kernel_knowledge.py``).
The classifier of maximal margin with the kernel after training does nearly as well as the network; and so does the
kernel before training on data stretched by hand, x_⊥ / λ(t*), with λ where a tenth of the examples has reached its
margin.

Source: J. Paccolat, L. Petrini, M. Geiger, K. Tyloo, M. Wyart (2021), Geometric compression of invariant manifolds in
neural networks.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

from learnscope import laboratory
from learnscope.distributions.interfaces import stripe
from learnscope.dynamics.shallow import Run, Stop
from learnscope.experiments.shared.hinge_flow import PROXIMAL, follow
from learnscope.experiments.shared.kernel_knowledge import COMPONENTS, alignment_claim, classifier_claim, knowledge
from learnscope.experiments.stripe import compression
from learnscope.kernels.hard_margin import Kernel, hard_margin
from learnscope.kernels.one_hidden_layer import limit_kernels, tangent_kernels
from learnscope.laboratory import SEEDS, Claim, Criterion, Experiment, Grid, Point, at_least, medians
from learnscope.laboratory.claims import Measure
from learnscope.networks.one_hidden_layer import OneHiddenLayer, one_hidden_layer
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Groups, Points

PATTERNS = 12  # leading components whose pattern is measured
BINS = 25  # of x₁, in which a function of it is taken to be constant
LAZY = 1e3  # α of lazy training
FITTED = 0.1  # share of examples at their margin at t*
SHOWN = 400  # examples that are drawn
KERNELS = ("before", "after", "lazy", "stretched")
NAMES = {
    "before": "kernel before training",
    "after": "kernel after training",
    "lazy": "kernel after lazy training",
    "stretched": "kernel on stretched data",
    "network": "network",
}


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    dim: int = Field(5, ge=2, description="directions d, one of which tells")
    n_train: Grid[int] = Field((128, 256), description="examples p; most is judged for the largest")
    n_probe: int = Field(1000, ge=SHOWN, description="examples on which kernels are measured")
    n_test: int = Field(4000, ge=1, description="examples for test errors")
    width: int = Field(400, ge=2, multiple_of=2, description="neurons h")
    alpha: float = Field(1e-4, gt=0, description="α in the regime of features")
    max_steps: int = Field(100_000, ge=1, description="of a training")
    proximal: bool = Field(False, description=PROXIMAL)


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Train in both regimes, and measure the kernels before and after and what they know."""
    (x, y), probe, test = (stripe(n, point.dim, generator) for n in (point.n_train, point.n_probe, point.n_test))
    start = one_hidden_layer(point.width, point.dim, generator, activation="normalised_relu")

    def trained(alpha: float, fraction: float) -> Run:
        stop = Stop(fraction=fraction, max_steps=point.max_steps)
        (run,) = follow([start], x, y, alpha=alpha, proximal=point.proximal, stop=stop)
        return run

    feature, lazy, early = trained(point.alpha, 1.0), trained(LAZY, 1.0), trained(point.alpha, FITTED)
    stretch = float(compression(early.network))
    kernels: dict[str, Kernel] = {
        "before": tangent_kernel_of(start),
        "after": tangent_kernel_of(feature.network),
        "lazy": tangent_kernel_of(lazy.network),
        "stretched": stretched_kernel(stretch),
    }
    measured = [knowledge(kernels[name](probe.x, None), probe.y, PATTERNS) for name in KERNELS]
    patterns = [two_kinds(each.components, probe.x) for each in measured]
    errors = {name: hard_margin(kernels[name], x, y).error(*test) for name in KERNELS}
    errors["network"] = float((feature.predict(test.x) * test.y <= 0).double().mean())
    lines = [first_share(network.preactivations(probe.x)) for network in (start, feature.network)]
    return xr.Dataset(
        {
            "alignment": ("kernel", [each.alignment for each in measured]),
            "share": (("kernel", "rank"), torch.stack([each.shares for each in measured])),
            "information": (("kernel", "rank"), torch.stack([each.information for each in measured])),
            "pattern": (("kernel", "place", "kind"), torch.stack(patterns)),
            "error": ("learner", list(errors.values())),
            "line": ("moment", lines),
            "shown": (("example", "direction"), probe.x[:SHOWN, :2]),
            "component": (
                ("kernel", "example", "place"),
                torch.stack([each.components[:SHOWN] for each in measured]).float(),
            ),
            "stretch": stretch,
        },
        coords={
            "kernel": list(KERNELS),
            "learner": list(errors),
            "rank": np.arange(1, COMPONENTS + 1),
            "kind": ["φ(x₁)", "φ(x₁) u·x_⊥"],
            "moment": ["before", "after"],
        },
    )


def tangent_kernel_of(network: OneHiddenLayer) -> Kernel:
    """Return the tangent kernel of a network as a function of inputs."""
    return lambda x1, x2: tangent_kernels(network, x1, x2).total


def stretched_kernel(stretch: float) -> Kernel:
    """Return the kernel of infinite width before training, on inputs whose other directions are divided by λ."""

    def stretched(x: Tensor) -> Tensor:
        return torch.cat([x[:, :1], x[:, 1:] / stretch], dim=1)

    return lambda x1, x2: limit_kernels(stretched(x1), None if x2 is None else stretched(x2)).total


def two_kinds(components: Tensor, x: Tensor) -> Tensor:
    """Return how much of each component is a function of x₁, and how much is one times the other directions.

    Functions are constant on bins of x₁ that hold equally many examples. The second regression is on x_⊥ in each bin.

    Args:
        components: [n, k].
        x: [n, d].

    Returns:
        [k, 2] explained shares of the sum of squares.
    """
    order = x[:, 0].argsort()
    left = torch.zeros(2, components.shape[1], dtype=components.dtype)
    for rows in order.tensor_split(BINS):
        values, across = components[rows], x[rows, 1:]
        fitted = across @ torch.linalg.lstsq(across, values).solution
        left += torch.stack([(values - values.mean(0)).square().sum(0), (values - fitted).square().sum(0)])
    return (1 - left / components.square().sum(0)).mT


def first_share(values: Tensor) -> float:
    """Return the share of the first principal component in the variance of values [n, units].

    Examples:
        >>> first_share(torch.tensor([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]]))
        1.0
    """
    spectrum = torch.linalg.svdvals(values - values.mean(0)).square()
    return float(spectrum[0] / spectrum.sum())


def last(data: xr.Dataset) -> xr.Dataset:
    """Return the data of the most examples."""
    return data.isel(n_train=-1)


def explained(kernel: str) -> Measure:
    """Return the measure of the mean over leading components of what the better of the two kinds explains."""
    return lambda data: last(data)["pattern"].sel(kernel=kernel).max("kind").mean("place")


EIGENVECTORS = Claim(
    name="stripe-ntk-eigvecs",
    statement="After compression the eigenvectors of the tangent kernel are of two kinds, φ(x₁) and φ(x₁) u·x_⊥.",
    source="Paccolat, Petrini, Geiger, Tyloo, Wyart 2021, section on kernels",
    criteria=(
        Criterion(
            name=f"share of the leading {PATTERNS} eigenvectors that one of the two kinds explains",
            predicted=1.0,
            measured=explained("after"),
            band=at_least(0.9),
            reason="λ is about 20, and what is left of the other directions beyond first order is some percent; "
            "100 regressors on 1,000 examples explain a tenth of anything",
            control=explained("before"),
            control_name="the kernel before training",
        ),
    ),
)
LINE = Claim(
    name="last-layer-1d",
    statement="What the hidden layer sees collapses to a line, since it depends on x₁ only.",
    source="Petrini 2020, slide on the last hidden layer",
    criteria=(
        Criterion(
            name="share of the first principal component of the pre-activations after training",
            predicted=1.0,
            measured=lambda data: last(data)["line"].sel(moment="after"),
            band=at_least(0.95),
            reason="the other d − 1 directions have 1/λ² of the variance each, 0.01 in sum for λ = 20",
            control=lambda data: last(data)["line"].sel(moment="before"),
            control_name="before training, where it is 1/d",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw the eigenvectors over the plane, what the components know, and the test errors."""
    return _eigenvector_figure(data), _component_figure(data), _error_figure(data)


def _eigenvector_figure(data: xr.Dataset) -> Figure:
    chosen = last(data).isel(seed=0)
    places = chosen["shown"].transpose("example", "direction").values
    charts = []
    for kernel in ("before", "after"):
        for place in (1, 2):
            values = chosen["component"].sel(kernel=kernel).isel(place=place).values
            groups = Groups("φ", (), np.full(len(places), -1), tuple(f"{value:.2f}" for value in values), values)
            view = Points(places, ("x₁, which tells", "x₂, which does not"))
            name = f"{place + 1} {kernel}"
            charts.append(Chart(Axis("x1", "x₁"), (Choice(name, Axis("x2", "x₂"), (view,)),), name, groups=groups))
    caption = Caption(
        "The second and third eigenvectors of the tangent kernel before and after training, as colours of examples in "
        "the first two directions; one seed.",
        "Before training they vary along any direction. After training one is a function of x₁ alone, another changes "
        "its sign with the other directions.",
        "Paccolat, Petrini, Geiger, Tyloo, Wyart 2021",
    )
    return Figure("eigenvectors", "Eigenvectors of two kinds", caption, tuple(charts))


def _component_figure(data: xr.Dataset) -> Figure:
    quantities = {"share": "share of the label ω²", "information": "information on the label, bits"}
    names = {kernel: NAMES[kernel] for kernel in KERNELS}
    choices = [
        Choice(title, Axis(quantity, title), (medians(last(data)[quantity], "kernel", names),))
        for quantity, title in quantities.items()
    ]
    caption = Caption(
        f"Share of the label, and information on it, of each of the leading components. {SEEDS}",
        "After training two or three components know nearly everything; lazy training changes nothing, and stretching "
        "the data by hand does much of what training does.",
        "Paccolat, Petrini, Geiger, Tyloo, Wyart 2021; Petrini 2020",
    )
    chart = Chart(Axis("rank", "rank of the component", values=data["rank"].values), tuple(choices), starts=(0, 1))
    return Figure("components", "What the components know of the label", caption, (chart,))


def _error_figure(data: xr.Dataset) -> Figure:
    caption = Caption(
        f"Test errors of the network, and of classifiers of maximal margin with four kernels. {SEEDS}",
        "With the kernel after training, kernel learning comes near the network; stretched data do nearly the same.",
        "Paccolat, Petrini, Geiger, Tyloo, Wyart 2021",
    )
    choice = Choice("error", Axis("error", "test error", "log"), (medians(data["error"], "learner", NAMES),))
    chart = Chart(Axis("n_train", "examples p", "log", data["n_train"].values), (choice,))
    return Figure("errors", "The kernel after training learns like the network", caption, (chart,))


EXPERIMENT = Experiment(
    name="stripe-kernel",
    title="The tangent kernel learns which direction tells",
    source="J. Paccolat, L. Petrini, M. Geiger, K. Tyloo, M. Wyart (2021), Geometric compression of invariant "
    "manifolds in neural networks, arXiv:2007.11471",
    settings=Settings,
    simulate=simulate,
    claims=(EIGENVECTORS, alignment_claim(last), classifier_claim(last), LINE),
    figures=figures,
    paper={
        "dim": 10,
        "n_train": (128, 256, 512, 1000, 2000, 4000, 10_000),
        "n_probe": 4000,
        "n_test": 20_000,
        "width": 10_000,
        "alpha": 1e-6,
        "proximal": True,
    },
)
