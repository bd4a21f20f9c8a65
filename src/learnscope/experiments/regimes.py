"""Lazy or feature training: which is better hangs on the architecture, and where one turns into the other on α √h.

Networks learn to tell even from odd digits by gradient flow on F = α (f − f₀) under a soft hinge loss, until all
margins exceed 1. They are fully connected, with two hidden layers of width h, or convolutional, with three convolutions
of h channels, in the parametrisation of the tangent kernel Θ. Small α √h is the feature regime, in which Θ moves by
more than its own size; large α √h is the lazy regime, in which neither Θ nor the weights move, and the network is the
kernel machine of Θ at first.

Claimed is that fully connected networks generalise better when they are lazy and convolutional ones when they learn
features. On a few hundred real digits the first shows and the second hangs on the width: a kernel of few channels is a
random draw, which costs the lazy regime several per cent of error, and with more channels the difference vanishes. So
each architecture is judged at its largest width. With 16 channels and a fully connected layer before the output,
features win clearly (experiment ``compression-of-images``).

Sources: M. Geiger, S. Spigler, A. Jacot, M. Wyart (2020), Disentangling feature and lazy training in deep neural
networks; L. Petrini (2020), Learning features in neural nets: perks and drawbacks, candidacy slides, EPFL.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import nn

from learnscope import laboratory
from learnscope.distributions.even_or_odd import EvenOrOdd, even_or_odd
from learnscope.distributions.images import load_images
from learnscope.dynamics.module_flow import flow
from learnscope.experiments.shared.digit_networks import LOSS, STRIDES, module_kernel
from learnscope.kernels import KernelSupportVectorClassifier, infinite_width
from learnscope.laboratory import SEEDS, Claim, Criterion, Experiment, Point, at_least, at_most, median_over_seeds
from learnscope.laboratory.claims import Measure
from learnscope.networks.unit_weights import convolutional, fully_connected
from learnscope.observables.kernel_movement import kernel_change
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, category, depth

FULL, CONVOLUTIONAL = "fully connected", "convolutional"
FEATURE, LAZY = 0, -1  # places among the scales


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    images: str = Field("digits", description="image set, digits or mnist")
    n_train: int = Field(200, ge=2, description="images p to train on")
    n_test: int = Field(1400, ge=1, description="images to test on")
    widths: tuple[int, ...] = Field((30, 100, 300), min_length=2, description="h of fully connected networks")
    hidden_layers: int = Field(2, ge=1, description="of fully connected networks")
    channels: tuple[int, ...] = Field((8, 24), min_length=1, description="h of convolutional networks")
    scales: tuple[float, ...] = Field((0.01, 0.1, 1.0, 10.0, 100.0), min_length=3, description="α √h, ascending")
    n_kernel: int = Field(50, ge=2, description="test images on which the tangent kernel is compared")
    max_output_change: float = Field(0.5, gt=0, description="of F in a step")
    max_gradient_change: float = Field(0.1, gt=0, description="of the velocity in a step, squared and relative")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Train all networks at all scales on the same images."""
    sample = even_or_odd(load_images(point.images), point.n_train, point.n_test, generator)
    _, *image = sample.x.shape
    builders: list[tuple[str, int, Callable[[], nn.Module]]] = [
        *(
            (FULL, h, lambda h=h: fully_connected(math.prod(image), (h,) * point.hidden_layers, generator))
            for h in point.widths
        ),
        *(
            (CONVOLUTIONAL, h, lambda h=h: convolutional(image, (h,) * len(STRIDES), STRIDES, generator))
            for h in point.channels
        ),
    ]
    runs = [[_trained(build(), scale / h**0.5, sample, point) for scale in point.scales] for _, h, build in builders]
    data = xr.concat([xr.concat(row, "scale") for row in runs], "network").assign_coords(
        network=[f"{kind}, h = {h}" for kind, h, _ in builders], scale=list(point.scales)
    )
    data["width"] = ("network", [h for _, h, _ in builders])
    data["limit_error"] = _limit_error(sample, point)
    return data


def _trained(model: nn.Module, alpha: float, sample: EvenOrOdd, point: Point) -> xr.Dataset:
    """Train one network at one α and say how it generalises and how far it moved."""
    run = flow(
        model,
        sample.x,
        sample.y,
        alpha=alpha,
        loss=LOSS,
        max_output_change=point.max_output_change,
        max_gradient_change=point.max_gradient_change,
    )
    before, after = (module_kernel(each)(sample.x_test[: point.n_kernel], None) for each in (run.initial, run.network))
    return xr.Dataset(
        {
            "error": float((run.predict(sample.x_test) * sample.y_test <= 0).double().mean()),
            "kernel_change": float(kernel_change(after, before)),
            "weight_change": run.weight_change(),
            "steps": run.n_steps,
            "fitted": float((run.outputs * sample.y > 1).double().mean()),
        }
    )


def _limit_error(sample: EvenOrOdd, point: Point) -> float:
    """Return the test error of the classifier of largest margin on the kernel of infinite width, fully connected."""
    layers = point.hidden_layers + 1
    train, cross = (infinite_width(x.double(), sample.x.double(), depth=layers) for x in (sample.x, sample.x_test))
    machine = KernelSupportVectorClassifier.fit(train.tangent, sample.y.long())
    return float((machine.predict(cross.tangent) != sample.y_test.long()).double().mean())


def advantage(kind: str) -> Measure:
    """Return the measure of the lazy test error less that of feature training, at the largest width."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        error = of_kind(data, kind)["error"].isel(network=-1)
        return error.isel(scale=LAZY) - error.isel(scale=FEATURE)

    return measure


def spread(*, rescaled: bool) -> Measure:
    """Return the measure of the largest ratio of kernel movements between fully connected networks of two widths.

    They are compared at equal α √h where ``rescaled``, else at equal α, between the scales by interpolation of
    logarithms.
    """

    def measure(data: xr.Dataset) -> xr.DataArray:
        networks = of_kind(data, FULL)
        scales, widths = np.log(data["scale"].values), networks["width"].isel(seed=0).values
        middle = np.log(widths).mean()
        moved = np.log(networks["kernel_change"].transpose("seed", "network", "scale").values)
        shifts = np.zeros(len(widths)) if rescaled else (np.log(widths) - middle) / 2
        inner = scales[1:-1]
        compared = np.array(
            [[np.interp(inner + shifts[k], scales, row[k]) for k in range(len(widths))] for row in moved]
        )
        ratios = np.exp(compared.max(1) - compared.min(1)).max(1)
        return xr.DataArray(ratios, dims="seed", coords={"seed": data["seed"]})

    return measure


def of_kind(data: xr.Dataset, kind: str) -> xr.Dataset:
    """Return the networks of one architecture, by ascending width."""
    return data.isel(network=[k for k, name in enumerate(data["network"].values) if str(name).startswith(kind)])


REGIMES = Claim(
    name="regime-architecture",
    statement="Fully connected networks generalise better when they are lazy, convolutional ones when they learn "
    "features; the control parameter is α √h.",
    source="Geiger, Spigler, Jacot, Wyart 2020; Petrini 2020",
    criteria=(
        Criterion(
            name="test error of lazy less that of feature training, fully connected",
            predicted=-np.inf,
            measured=advantage(FULL),
            band=at_most(0.0),
            reason="the sign is claimed, not the size; the interval over seeds is the sampling error of images and "
            "initial weights",
            control=advantage(CONVOLUTIONAL),
            control_name="convolutional networks, for which the claim is the opposite",
        ),
        Criterion(
            name="test error of lazy less that of feature training, convolutional",
            predicted=np.inf,
            measured=advantage(CONVOLUTIONAL),
            band=at_least(0.0),
            reason="as for fully connected networks",
            control=advantage(FULL),
            control_name="fully connected networks",
        ),
        Criterion(
            name="largest ratio of kernel movements between widths at equal α √h",
            predicted=1.0,
            measured=spread(rescaled=True),
            band=at_most(2.0),
            reason="finite width: a kernel of 30 units is off its mean by 1/√30 and more in each layer",
            control=spread(rescaled=False),
            control_name="equal α",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw test errors and movements against α √h."""
    return _error_figure(data), _movement_figure(data)


def _error_figure(data: xr.Dataset) -> Figure:
    choices = []
    for kind in (FULL, CONVOLUTIONAL):
        lines = _by_width(data, kind, "error")
        if kind == FULL:
            limit = data["limit_error"].expand_dims(scale=data.sizes["scale"], axis=-1)
            lines.append(median_over_seeds(limit, "lazy, infinite width", category(5), "dashed"))
        choices.append(Choice(kind, Axis("error", "test error", range=(0.0, _top(data))), (Lines(tuple(lines)),)))
    return Figure(
        "error",
        "Which regime generalises better",
        Caption(
            shows=f"Test error on even against odd digits against α √h, for networks of several widths h. {SEEDS}",
            look_for="Narrow networks lose in the lazy regime, to the right; wide fully connected ones gain there and "
            "come to the error of the kernel of infinite width. Wide convolutional ones hardly tell the regimes apart.",
            source="Geiger, Spigler, Jacot, Wyart 2020",
        ),
        charts=(Chart(_scale(data), tuple(choices), choice_name="Network", starts=(0, 1)),),
    )


def _top(data: xr.Dataset) -> float:
    return 1.05 * float(data["error"].max())


def _movement_figure(data: xr.Dataset) -> Figure:
    charts = tuple(
        Chart(
            _scale(data),
            tuple(
                Choice(kind, Axis(name, title, "log"), (Lines(tuple(_by_width(data, kind, name))),))
                for kind in (FULL, CONVOLUTIONAL)
            ),
            heading,
            choice_name="Network",
        )
        for name, title, heading in (
            ("kernel_change", "‖ΔΘ‖ / ‖Θ₀‖", "Movement of the kernel"),
            ("weight_change", "‖Δθ‖ / ‖θ₀‖", "Movement of the weights"),
        )
    )
    return Figure(
        "movement",
        "Where the regimes meet",
        Caption(
            shows="How far the tangent kernel on test images and the weights have moved by the end of training, "
            f"against α √h. {SEEDS}",
            look_for="Kernels of all widths lie on one curve, which crosses 1 at an α √h of a few and bends where "
            "gates flip without much motion. Weights move the less the more of them there are.",
            source="Geiger, Spigler, Jacot, Wyart 2020",
        ),
        charts=charts,
    )


def _by_width(data: xr.Dataset, kind: str, name: str) -> list[Series]:
    networks = of_kind(data, kind)
    widths = networks["width"].isel(seed=0).values
    return [
        median_over_seeds(networks[name].isel(network=k), f"h = {h:.0f}", depth(k, len(widths)))
        for k, h in enumerate(widths)
    ]


def _scale(data: xr.Dataset) -> Axis:
    return Axis("scale", "α √h", "log", data["scale"].values)


EXPERIMENT = Experiment(
    name="regimes",
    title="Lazy and feature training by architecture",
    source="Geiger, Spigler, Jacot, Wyart 2020; Petrini 2020",
    settings=Settings,
    paper={
        "images": "mnist",
        "n_train": 10_000,
        "n_test": 50_000,
        "widths": (100, 300, 1000),
        "hidden_layers": 5,
        "channels": (16, 64, 128),
        "scales": (1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4),
        "max_output_change": 0.1,
        "max_gradient_change": 1e-4,
    },
    simulate=simulate,
    claims=(REGIMES,),
    figures=figures,
)
