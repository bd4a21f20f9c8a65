"""Chained fully connected layers gain little on images; they slow training where weights are small or layers many.

On digits the test errors of ridge regression on the kernels of fully connected networks hardly depend on the number of
hidden layers, and trained networks gain little beyond one. That is a statement about these data. A product of two of
twenty inputs is learned ever worse by the kernels of deeper networks, and a composition of three tent functions is
beyond a network of one hidden layer but not beyond one of four: depth adds to what can be learned.

Optimisation does not simply slow down with depth. From He's weights the tangent kernel grows with the number of layers,
and gradient descent at one learning rate takes fewer steps until layers are so many, next to their width, that its
fluctuations take over. From the smaller weights that are PyTorch's default, a sixth of He's signal power a layer,
every layer costs, and deep networks are not trained at all.

Kernels are of infinite width, four layers of weights being three hidden ones; the ridge is 10⁻⁶ of the mean of the
diagonal. Networks are trained on all examples at once: for test errors by Adam until the cross-entropy is 0.01, for the
number of steps by gradient descent until it is 0.1, which is counted as the most steps of a run if it is not reached.

Sources: M. Hardt, B. Recht (2022), Patterns, predictions, and actions, chapter 7; A. Daniely, R. Frostig, Y. Singer
(2016) for kernels of chained layers; M. Telgarsky (2016) for compositions of tents.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from xarray.ufuncs import exp, log

from learnscope import laboratory
from learnscope.distributions.images import load_images
from learnscope.experiments.neural_kernels import drawn, machine_error, network_error
from learnscope.kernels import infinite_width
from learnscope.laboratory import SEEDS, Claim, Criterion, Experiment, Point, at_least, at_most, median_over_seeds
from learnscope.laboratory.claims import Measure
from learnscope.networks import FullyConnected
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, category

KERNELS = ("Gaussian process", "tangent")
TARGETS = ("images", "product of two inputs", "tents")
PRODUCT_DIM = 20
TENTS = 3
RATE = 0.1
UNFITTED = 0.1  # cross-entropy at which steps are no longer counted
GAINS = {"He's weights": 1.0, "smaller weights": 6**-0.5}


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    images: Literal["digits", "mnist", "fashion_mnist", "cifar10"] = Field("digits", description="the data set")
    kernel_depths: tuple[int, ...] = Field((1, 2, 3, 5, 10), min_length=2, description="hidden layers of the kernels")
    depths: tuple[int, ...] = Field((1, 2, 4), min_length=2, description="hidden layers of networks, ascending from 1")
    timed_depths: tuple[int, ...] = Field((1, 4, 8, 16), min_length=3, description="hidden layers of those timed")
    n_train: int = Field(300, ge=20, description="examples for the kernels; networks have half as many")
    n_test: int = Field(600, ge=10, description="examples to test on")
    width: int = Field(64, ge=1, description="of the networks")
    n_timed: int = Field(100, ge=10, description="examples for the number of steps")
    n_steps: int = Field(500, ge=10, description="most steps of gradient descent")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Measure errors of kernels and networks of each depth on three targets, and the steps that training takes."""
    images = load_images(point.images)
    x, y = drawn(images, point.n_train + point.n_test, generator)
    data = {"images": (x.flatten(1), y)}
    data["product of two inputs"] = product_target(len(x), generator)
    data["tents"] = tent_target(len(x), generator)
    kernels = np.array([_kernel_errors(point, *each) for each in data.values()])
    networks = np.array([_network_errors(point, *each, generator) for each in data.values()])
    timed = x[: point.n_timed], y[: point.n_timed]
    steps = [[_steps(point, depth, gain, *timed, generator) for depth in point.timed_depths] for gain in GAINS.values()]
    return xr.Dataset(
        {
            "kernel_error": (["target", "kernel", "kernel_depth"], kernels),
            "network_error": (["target", "depth"], networks),
            "steps": (["start", "timed_depth"], np.array(steps, dtype=float)),
        },
        {
            "target": list(TARGETS),
            "kernel": list(KERNELS),
            "kernel_depth": list(point.kernel_depths),
            "depth": list(point.depths),
            "timed_depth": list(point.timed_depths),
            "start": list(GAINS),
        },
    )


def product_target(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw x from N(0, 1) in 20 dimensions with the class [x₁ x₂ > 0]."""
    x = torch.randn(n, PRODUCT_DIM, generator=generator)
    return x, (x[:, 0] * x[:, 1] > 0).long()


def tent_target(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw u uniformly in [-1, 1], with a constant input beside it, and the class [t(t(t(u))) > 0], t(u) = 1 - 2|u|."""
    u = 2 * torch.rand(n, generator=generator) - 1
    image = u
    for _ in range(TENTS):
        image = 1 - 2 * image.abs()
    return torch.stack([u, torch.ones_like(u)], 1), (image > 0).long()


def _kernel_errors(point: Point, x: Tensor, y: Tensor) -> list[list[float]]:
    """Return the test errors of both kernels at each depth: [2, depths]."""
    n, x = point.n_train, x.double()
    wide = [infinite_width(x, x[:n], depth=depth + 1) for depth in point.kernel_depths]
    return [
        [machine_error(K, y, n, n) for K in kernels]
        for kernels in zip(*((w.nngp, w.tangent) for w in wide), strict=True)
    ]


def _network_errors(point: Point, x: Tensor, y: Tensor, generator: torch.Generator) -> list[float]:
    """Return the test errors of trained networks of each depth."""
    errors = []
    for depth in point.depths:
        network = FullyConnected(x.shape[1], (point.width,) * depth, int(y.max()) + 1, generator=generator)
        errors.append(network_error(network, x, y, point.n_train // 2, point.n_train, point.n_steps))
    return errors


def _steps(point: Point, depth: int, gain: float, x: Tensor, y: Tensor, generator: torch.Generator) -> int:
    """Return the number of steps of gradient descent to fit the examples, from He's weights times a gain."""
    network = FullyConnected(x[0].numel(), (point.width,) * depth, int(y.max()) + 1, generator=generator)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(gain)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)
    for step in range(point.n_steps):
        loss = cross_entropy(network(x), y)
        if loss.item() < UNFITTED:
            return step
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return point.n_steps


def _spread(target: str) -> Measure:
    """Return the range of test errors over the depths of a kernel, the larger of the two kernels'."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        errors = data["kernel_error"].sel(target=target, drop=True)
        return (errors.max("kernel_depth") - errors.min("kernel_depth")).max("kernel")

    return measure


def _gain_of_depth(target: str) -> Measure:
    """Return the error of the network of one hidden layer less that of the best of the deeper ones."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        errors = data["network_error"].sel(target=target, drop=True)
        return errors.isel(depth=0, drop=True) - errors.isel(depth=slice(1, None)).min("depth")

    return measure


def _slowing(start: str, deep: int, shallow: int) -> Measure:
    """Return the steps at one of the timed depths over those at another, given by their places."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        steps = log(data["steps"].sel(start=start, drop=True))
        return exp(steps.isel(timed_depth=deep, drop=True) - steps.isel(timed_depth=shallow, drop=True))

    return measure


CLAIM = Claim(
    name="fc-depth-no-gain",
    statement="On images, chained fully connected layers gain little over one: neither in their kernels nor in trained "
    "networks. From He's weights training gets faster with depth, until layers are many next to their width.",
    source="Hardt, Recht 2022, chapter 7; Daniely, Frostig, Singer 2016",
    correction="The chapter says that chained layers add no power of approximation, which compositions refute, and "
    "that they slow optimisation. That is not reproduced from He's weights, where four hidden layers take fewer steps "
    "than one; it holds from smaller weights, and for very many layers.",
    criteria=(
        Criterion(
            name="range of the kernels' test errors on images over 1 to 10 hidden layers",
            predicted=0.0,
            measured=_spread("images"),
            band=at_most(0.02),
            reason="errors on 600 images scatter by 0.006; the range of five dependent ones by twice that",
            control=_spread("product of two inputs"),
            control_name="a product of two of twenty inputs",
        ),
        Criterion(
            name="test error of one hidden layer less that of the best deeper network, on images",
            predicted=0.0,
            measured=_gain_of_depth("images"),
            band=at_most(0.02),
            reason="errors of single networks scatter by 0.01",
            control=_gain_of_depth("tents"),
            control_name="a composition of three tents",
        ),
        Criterion(
            name="steps of gradient descent of four hidden layers over those of one, from He's weights",
            predicted=0.4,
            measured=_slowing("He's weights", 1, 0),
            band=at_most(0.8),
            reason="the tangent kernel of the start is 5/2 times as large; twice that for what training changes",
            control=_slowing("smaller weights", 2, 0),
            control_name="eight hidden layers over one, from smaller weights",
        ),
        Criterion(
            name="steps of the most layers over those of four, from He's weights",
            predicted=1.0,
            measured=_slowing("He's weights", -1, 1),
            band=at_least(1.0),
            reason="the sign is claimed; fluctuations of the kernel grow as exp(layers/width)",
            control=_slowing("He's weights", 1, 0),
            control_name="four layers over one",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw errors and steps against depth."""
    return _errors_figure(data), _steps_figure(data)


def _errors_figure(data: xr.Dataset) -> Figure:
    kernels, networks = [], []
    for target in TARGETS:
        both = data["kernel_error"].sel(target=target)
        kernels.append(Choice(target, _share(), (_lines({name: both.sel(kernel=name) for name in KERNELS}),)))
    trained = {target: data["network_error"].sel(target=target) for target in TARGETS}
    networks.append(Choice("networks", _share(), (_lines(trained),)))
    return Figure(
        "errors",
        "Test error against depth",
        Caption(
            shows=f"Test errors of kernels of infinite width, and of trained networks on three targets. {SEEDS}",
            look_for="Flat lines on images. Kernels of deep networks learn the product worse; deep networks learn the "
            "composed tents, which one hidden layer does not.",
            source="Hardt, Recht 2022, chapter 7; Telgarsky 2016",
        ),
        charts=(
            Chart(_layers(data["kernel_depth"].values), tuple(kernels), title="Kernels"),
            Chart(_layers(data["depth"].values), tuple(networks), title="Networks"),
        ),
    )


def _steps_figure(data: xr.Dataset) -> Figure:
    curves = _lines({name: data["steps"].sel(start=name) for name in GAINS})
    return Figure(
        "steps",
        "Steps of gradient descent against depth",
        Caption(
            shows=f"Steps until the cross-entropy is {UNFITTED:g}; lines that end at the top did not get there. "
            f"{SEEDS}",
            look_for="From He's weights a valley: faster up to some layers, slower beyond. From smaller weights slower "
            "with most layers that are added.",
            source="Hardt, Recht 2022, chapter 7",
        ),
        charts=(
            Chart(_layers(data["timed_depth"].values), (Choice("steps", Axis("steps", "steps", "log"), (curves,)),)),
        ),
    )


def _layers(depths: np.ndarray) -> Axis:
    return Axis("depth", "hidden layers", "log", depths)


def _share() -> Axis:
    return Axis("error", "share of wrong classes")


def _lines(curves: dict[str, xr.DataArray]) -> Lines:
    return Lines(tuple(median_over_seeds(each, name, category(k)) for k, (name, each) in enumerate(curves.items())))


EXPERIMENT = Experiment(
    name="fully-connected-depth",
    title="What more fully connected layers gain and cost",
    source="Hardt, Recht 2022, chapter 7",
    settings=Settings,
    paper={
        "images": "mnist",
        "kernel_depths": (1, 2, 4, 8, 16, 32),
        "depths": (1, 2, 4, 8, 16, 32),
        "timed_depths": (1, 4, 8, 32),
        "n_train": 10_000,
        "n_test": 10_000,
        "width": 512,
        "n_timed": 5000,
        "n_steps": 5000,
    },
    simulate=simulate,
    claims=(CLAIM,),
    figures=figures,
)
