"""On few images kernels beat networks, and a composed kernel beats the tangent kernel.

A chapter says that the tangent kernel does not match the networks that it comes from, and that simpler kernels which
are composed of patches, Gaussians and averages beat it. The second holds. The first is reversed where images are few:
machines on the kernel of an infinitely wide fully connected network err less than the network that is trained. In two
runs on MNIST and one on CIFAR-10 that was still so with 4,000 images (errors of 0.04 against 0.06, 0.56 against 0.60),
where a convolutional network was ahead of both (0.025, 0.50). The fully connected network leads where a direction has
to be found.

Images are drawn without return from a data set, for training and for testing. Kernel machines are ridge regressions on
classes with a ridge of 10⁻⁶ of the mean of the kernel's diagonal; networks are trained on all examples at once by Adam
from He's initial weights, until the cross-entropy is 0.01. Four layers of weights, ReLU. The tangent kernel of the
convolutional network is that at its initial weights, averaged over outputs.

The bent target, on which networks are ahead, is whether |x₁| is below its median, for x from N(0, 1) in five
dimensions; kernels see no one direction there before others.

Sources: M. Hardt, B. Recht (2022), Patterns, predictions, and actions, chapter 7; V. Shankar et al. (2020), Neural
kernels without tangents; S. Arora et al. (2020), Harnessing the power of infinitely wide deep nets on small-data tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from learnscope import laboratory
from learnscope.distributions.images import Images, load_images
from learnscope.kernels import KernelRidge, infinite_width, myrtle, tangent_kernel
from learnscope.kernels.analytic import compositional
from learnscope.laboratory import SEEDS, Claim, Criterion, Experiment, Point, at_least, median_over_seeds
from learnscope.laboratory.claims import Measure
from learnscope.networks import Convolutional, FullyConnected
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure, Lines, Series, category

LAYERS = 4  # of weights
RIDGE = 1e-6  # over the mean of the diagonal
FITTED = 0.01  # cross-entropy at which training ends
BENT_DIM = 5
MEDIAN = 0.6745  # of |x₁|
SMALL = ("linear", "fully connected, Gaussian process", "fully connected, tangent", "composed of patches")
LEARNED = ("convolutional, tangent at initial weights", "fully connected network", "convolutional network")
NTK, COMPOSED, NETWORK = SMALL[2], SMALL[3], LEARNED[1]
MYRTLE = "Myrtle, tangent"


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    images: Literal["digits", "mnist", "fashion_mnist", "cifar10"] = Field("digits", description="the data set")
    n_train: tuple[int, ...] = Field((40, 80, 160), min_length=1, description="numbers of training images, ascending")
    n_test: int = Field(240, ge=10, description="images to test on")
    levels: int = Field(2, ge=1, description="of patches in the composed kernel")
    myrtle: Literal[0, 5, 7, 10] = Field(0, description="layers of the Myrtle kernel; 0 leaves it out")
    width: int = Field(256, ge=1, description="of the fully connected networks")
    n_steps: int = Field(300, ge=1, description="most steps of training")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Measure the test errors of kernels and networks on one split, on permuted pixels, and on the bent target."""
    sizes = list(point.n_train)
    x, y = drawn(load_images(point.images), sizes[-1] + point.n_test, generator)
    order = torch.randperm(x[0, 0].numel(), generator=generator)
    permuted = x.flatten(2)[..., order].view_as(x)
    kernels = _kernels(point, x, sizes[-1])
    on_permuted = compositional(permuted, permuted[: sizes[-1]], levels=point.levels)
    errors = {name: [machine_error(K, y, n, sizes[-1]) for n in sizes] for name, K in kernels.items()}
    shape, classes = x.shape[1:], int(y.max()) + 1
    builders: tuple[Callable[[], nn.Module], ...] = (
        lambda: FullyConnected(shape.numel(), (point.width,) * (LAYERS - 1), classes, generator=generator),
        lambda: Convolutional(shape[0], classes, size=(shape[1], shape[2]), generator=generator),
    )
    at_start = tangent_kernel(builders[1](), x, x[: sizes[-1]], outputs="trace")
    assert isinstance(at_start, Tensor)
    errors[LEARNED[0]] = [machine_error(at_start, y, n, sizes[-1]) for n in sizes]
    for name, build in zip(LEARNED[1:], builders, strict=True):
        errors[name] = [network_error(build(), x, y, n, sizes[-1], point.n_steps) for n in sizes]
    return xr.Dataset(
        {
            "error": (["model", "n_train"], np.array(list(errors.values()))),
            "permuted_error": ("n_train", [machine_error(on_permuted, y, n, sizes[-1]) for n in sizes]),
            "bent_error": (["bent_model", "n_train"], _on_bent_target(point, generator)),
        },
        {"model": list(errors), "n_train": sizes, "bent_model": [NTK, NETWORK]},
    )


def drawn(images: Images, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return n images [n, channels, height, width] and classes [n] of a set, drawn without return."""
    x, y = torch.cat([images.x_train, images.x_test]), torch.cat([images.y_train, images.y_test])
    chosen = torch.randperm(len(x), generator=generator)[:n]
    return x[chosen], y[chosen]


def _kernels(point: Point, x: Tensor, n: int) -> dict[str, Tensor]:
    """Return the kernels [all, n] of all images with the first n."""
    flat = x.flatten(1).double()
    wide = infinite_width(flat, flat[:n], depth=LAYERS)
    patches = compositional(x, x[:n], levels=point.levels)
    found = dict(zip(SMALL, (1 + flat @ flat[:n].mT, wide.nngp, wide.tangent, patches), strict=True))
    return found | ({MYRTLE: myrtle(x, x[:n], depth=point.myrtle).tangent} if point.myrtle else {})


def machine_error(kernel: Tensor, y: Tensor, n: int, first_test: int) -> float:
    """Return the share of wrong classes of a ridge regression on the first n examples, on those from first_test on.

    Args:
        kernel: [all, first_test] kernel of all examples with those for training.
        y: [all] classes.
        n: examples to train on.
        first_test: where the test examples begin.
    """
    gram = kernel[:n, :n].double()
    machine = KernelRidge.fit((gram + gram.mT) / 2, y[:n], ridges=RIDGE * gram.diagonal().mean()[None])
    return wrong(machine.classify(kernel[first_test:, :n]), y[first_test:])


def network_error(network: nn.Module, x: Tensor, y: Tensor, n: int, first_test: int, steps: int) -> float:
    """Return the share of wrong classes of a network after training on the first n examples."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(steps):
        loss = cross_entropy(network(x[:n]), y[:n])
        if loss.item() < FITTED:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return wrong(network(x[first_test:]).argmax(1), y[first_test:])


def wrong(predicted: Tensor, y: Tensor) -> float:
    """Return the share of examples whose predicted class is not theirs."""
    return float((predicted != y).double().mean())


def _on_bent_target(point: Point, generator: torch.Generator) -> list[list[float]]:
    """Return test errors of the tangent kernel and of the network on the bent target: [2, sizes]."""
    sizes = point.n_train
    x = torch.randn(sizes[-1] + point.n_test, BENT_DIM, generator=generator)
    y = (x[:, 0].abs() < MEDIAN).long()
    x = torch.cat([x, torch.ones(len(x), 1)], 1)
    kernel = infinite_width(x.double(), x[: sizes[-1]].double(), depth=LAYERS).tangent
    machines, networks = [], []
    for n in sizes:
        network = FullyConnected(BENT_DIM + 1, (point.width,) * (LAYERS - 1), 2, generator=generator)
        machines.append(machine_error(kernel, y, n, sizes[-1]))
        networks.append(network_error(network, x, y, n, sizes[-1], point.n_steps))
    return [machines, networks]


def _gain_of_patches(quantity: str) -> Measure:
    """Return the error of the tangent kernel less that of the composed kernel, mean over sizes."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        composed = data[quantity].sel(model=COMPOSED, drop=True) if "model" in data[quantity].dims else data[quantity]
        return (data["error"].sel(model=NTK, drop=True) - composed).mean("n_train")

    return measure


def _lead_of_kernel(quantity: str, model: str) -> Measure:
    """Return the error of the fully connected network less that of its tangent kernel, mean over sizes."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        errors = data[quantity].mean("n_train")
        return errors.sel({model: NETWORK}, drop=True) - errors.sel({model: NTK}, drop=True)

    return measure


CLAIM = Claim(
    name="ntk-vs-net-vs-simple",
    statement="Kernels composed of patches, Gaussians and averages beat the tangent kernel of the fully connected "
    "network on images; on few images that kernel in turn beats the network.",
    source="Hardt, Recht 2022, chapter 7; Shankar et al. 2020; Arora et al. 2020 for few data",
    correction="The chapter says that tangent kernels do not match networks. On up to 160 digits it is reversed: the "
    "machine on the fully connected kernel errs less than the network.",
    criteria=(
        Criterion(
            name="test error of the tangent kernel less that of the composed kernel, mean over sizes",
            predicted=0.0,
            measured=_gain_of_patches("error"),
            band=at_least(0.0),
            reason="the sign is claimed; errors are paired, and the interval is that of the mean over splits",
            control=_gain_of_patches("permuted_error"),
            control_name="the composed kernel on permuted pixels",
        ),
        Criterion(
            name="test error of the fully connected network less that of its tangent kernel, mean over sizes",
            predicted=0.0,
            measured=_lead_of_kernel("error", "model"),
            band=at_least(0.0),
            reason="the sign is claimed; errors are paired, and the interval is that of the mean over splits",
            control=_lead_of_kernel("bent_error", "bent_model"),
            control_name="the bent target, of one direction among five",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw errors against the number of training images."""
    errors = {str(name): data["error"].sel(model=name) for name in data["model"].values}
    kernels = [_curve(name, each) for name, each in errors.items() if name not in LEARNED]
    permuted = _curve(COMPOSED, data["permuted_error"])
    kernels.append(replace(permuted, name=f"{COMPOSED}, permuted pixels", style="dashed"))
    pairs = [_curve(name, errors[name]) for name in (NTK, NETWORK, LEARNED[0], LEARNED[2])]
    bent = [_curve(str(name), data["bent_error"].sel(bent_model=name)) for name in data["bent_model"].values]
    axis = Axis("error", "share of wrong classes", "log")
    kernel_errors, pair_errors, bent_errors = (
        (Choice("test error", axis, (Lines(tuple(each)),)),) for each in (kernels, pairs, bent)
    )
    sizes = Axis("n_train", "training examples", "log", data["n_train"].values)
    return (
        Figure(
            "errors",
            "Kernels and networks on few images",
            Caption(
                shows=f"Test errors on images of kernel machines, and of trained networks. {SEEDS}",
                look_for="The composed kernel is lowest, and loses that if pixels are permuted. The fully connected "
                "network errs more than its tangent kernel.",
                source="Shankar et al. 2020; Arora et al. 2020",
            ),
            charts=(
                Chart(sizes, kernel_errors, title="Kernels"),
                Chart(sizes, pair_errors, title="Networks and their tangent kernels"),
            ),
        ),
        Figure(
            "bent",
            "Where the network is ahead",
            Caption(
                shows=f"Test errors on the bent target, which hangs on one direction among five. {SEEDS}",
                look_for="The network finds the direction, the kernel of the same network does not.",
            ),
            charts=(Chart(sizes, bent_errors),),
        ),
    )


def _curve(name: str, errors: xr.DataArray) -> Series:
    return median_over_seeds(errors, name, category((*SMALL, *LEARNED, MYRTLE).index(name)))


EXPERIMENT = Experiment(
    name="neural-kernels",
    title="Kernels against the networks that they come from",
    source="Hardt, Recht 2022, chapter 7; Shankar et al. 2020",
    settings=Settings,
    paper={
        "images": "cifar10",
        "n_train": (1250, 2500, 5000, 10_000),
        "n_test": 10_000,
        "levels": 3,
        "myrtle": 5,
        "width": 1024,
        "n_steps": 5000,
    },
    simulate=simulate,
    claims=(CLAIM,),
    figures=figures,
    parts=("fully-connected-depth",),
)
