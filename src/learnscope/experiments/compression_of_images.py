"""Learning features turns the tangent kernel of a convolutional network towards the labels of digits.

A convolutional network in the parametrisation of the tangent kernel Θ learns to tell even from odd digits by gradient
flow on F = α (f − f₀), at small α √h (features) and at large α √h (lazy). Four learners are compared at growing
training sets: the network in both regimes, and support-vector classifiers of largest margin with Θ before and after
feature training. Of both kernels on test images this measures the centred alignment with the labels y, the share of the
labels ω_r² = ⟨φ_r, y⟩² / n² along the principal components φ_r, ⟨φ_r, φ_r⟩ = n, and the information I(φ_r; y).

In the stripe model feature training compresses the directions that do not matter for the label, and Θ aligns; digits
show the same signatures. Exponents of learning curves are not claimed on so few images.

The slides write ω_r² without the square on ⟨φ_r, y⟩; with it, the shares sum to 1.

Sources: J. Paccolat, L. Petrini, M. Geiger, K. Tyloo, M. Wyart (2021), Geometric compression of invariant manifolds in
neural networks; L. Petrini (2020), Learning features in neural nets: perks and drawbacks, candidacy slides, EPFL.
"""

from __future__ import annotations

import torch
import xarray as xr
from pydantic import Field
from torch import Tensor, nn

from learnscope import laboratory
from learnscope.distributions.even_or_odd import EvenOrOdd, even_or_odd
from learnscope.distributions.images import load_images
from learnscope.experiments.shared.digit_networks import digit_network, learned_digits, module_kernel
from learnscope.experiments.shared.kernel_knowledge import COMPONENTS, knowledge, signatures_claim
from learnscope.kernels.hard_margin import hard_margin
from learnscope.laboratory import SEEDS, Experiment, Grid, Point, medians
from learnscope.report.chart import Axis, Caption, Chart, Choice, Figure

TRAININGS = ("feature", "lazy", "shuffled")
KERNELS = ("before training", *(f"after {name} training" for name in TRAININGS))
LEARNERS = {
    "feature": "network, features",
    "lazy": "network, lazy",
    "before": "kernel before training",
    "after": "kernel after feature training",
}


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    images: str = Field("digits", description="image set, digits or mnist")
    n_train: Grid[int] = Field((50, 100, 200), description="images p to train on")
    n_test: int = Field(1000, ge=1, description="images to test on")
    n_kernel: int = Field(400, ge=20, description="test images on which kernels are compared with the labels")
    channels: int = Field(16, ge=1, description="of each convolution, h")
    hidden: int = Field(64, ge=1, description="units of the fully connected layer after them")
    feature_scale: float = Field(0.01, gt=0, description="α √h of the feature regime")
    lazy_scale: float = Field(100.0, gt=0, description="α √h of the lazy regime")
    n_shuffled: int = Field(100, ge=2, description="images with shuffled labels that the control is trained on")
    max_output_change: float = Field(0.5, gt=0, description="of F in a step of the flow")
    max_gradient_change: float = Field(0.1, gt=0, description="of the velocity in a step, squared and relative")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Train one network in both regimes and on shuffled labels; compare its kernels before and after."""
    sample = even_or_odd(load_images(point.images), point.n_train, point.n_test, generator)
    network = digit_network(sample.x.shape[1:], point, generator)
    few = min(point.n_shuffled, point.n_train)
    shuffled = sample.y[:few][torch.randperm(few, generator=generator)]
    runs = {
        "feature": learned_digits(network, point.feature_scale, sample.x, sample.y, point),
        "lazy": learned_digits(network, point.lazy_scale, sample.x, sample.y, point),
        "shuffled": learned_digits(network, point.feature_scale, sample.x[:few], shuffled, point),
    }
    networks = [network, *(runs[name].network for name in TRAININGS)]
    seen = [_seen_labels(each, sample, point.n_kernel) for each in networks]
    data = xr.concat(seen, "kernel").assign_coords(kernel=list(KERNELS), component=range(1, COMPONENTS + 1))
    errors = [
        *(_error(runs[name].predict(sample.x_test), sample) for name in ("feature", "lazy")),
        *(_kernel_error(each, sample) for each in (network, runs["feature"].network)),
    ]
    return data.assign(error=("learner", errors)).assign_coords(learner=list(LEARNERS))


def _error(predictions: Tensor, sample: EvenOrOdd) -> float:
    return float((predictions * sample.y_test <= 0).double().mean())


def _kernel_error(network: nn.Module, sample: EvenOrOdd) -> float:
    """Return the test error of the support-vector classifier of largest margin with a network's tangent kernel."""
    return hard_margin(module_kernel(network), sample.x, sample.y).error(sample.x_test, sample.y_test)


def _seen_labels(network: nn.Module, sample: EvenOrOdd, n: int) -> xr.Dataset:
    """Return what the kernel of a network on test images knows of their labels."""
    found = knowledge(module_kernel(network)(sample.x_test[:n], None), sample.y_test[:n].double())
    return xr.Dataset(
        {
            "alignment": float(found.alignment),
            "share": ("component", found.shares.numpy()),
            "information": ("component", found.information.numpy()),
        }
    )


def judged(data: xr.Dataset) -> xr.Dataset:
    """Return the data of the most images under the names that the claim goes by."""
    return data.isel(n_train=-1).rename(component="rank").assign_coords(kernel=["before", "after", "lazy", "shuffled"])


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw learning curves, and what the components of the kernels know of the labels."""
    return _curves_figure(data), _components_figure(data)


def _curves_figure(data: xr.Dataset) -> Figure:
    lines = medians(data["error"], "learner", LEARNERS)
    return Figure(
        "curves",
        "Learning curves",
        Caption(
            shows="Test error on even against odd digits of the network in both regimes, and of support-vector "
            f"classifiers with its tangent kernel before and after feature training. {SEEDS}",
            look_for="The kernel before training goes with the lazy network, the kernel after training with the "
            "network that learned features.",
            source="Paccolat, Petrini, Geiger, Tyloo, Wyart 2021",
        ),
        charts=(
            Chart(
                Axis("n_train", "training images p", "log", data["n_train"].values),
                (Choice("error", Axis("error", "test error", "log"), (lines,)),),
            ),
        ),
    )


def _components_figure(data: xr.Dataset) -> Figure:
    quantities = {
        "share": ("ω_r², summed up to r", data["share"].cumsum("component")),
        "information": ("I(φ_r; y) in bits", data["information"]),
    }
    charts = tuple(
        Chart(
            Axis("component", "component r of the kernel", "linear", data["component"].values),
            tuple(
                Choice(
                    f"p = {n_train}",
                    Axis(name, title, range=(0.0, 1.0)),
                    (medians(values.sel(n_train=n_train), "kernel", {kernel: kernel for kernel in KERNELS}),),
                )
                for n_train in data["n_train"].values[::-1]
            ),
            heading,
            choice_name="Training set",
        )
        for (name, (title, values)), heading in zip(
            quantities.items(), ("Share of the labels", "Information on the label"), strict=True
        )
    )
    return Figure(
        "components",
        "What the components of the kernel know of the labels",
        Caption(
            shows="Along the leading principal components of the tangent kernel on test images: the share of the "
            f"labels up to each, and the information that each alone has on the label. {SEEDS}",
            look_for="After feature training the first components hold most of the labels and one of them alone tells "
            "them best; after lazy training nothing has changed, and shuffled labels gain little.",
            source="Petrini 2020; Paccolat, Petrini, Geiger, Tyloo, Wyart 2021",
        ),
        charts=charts,
    )


EXPERIMENT = Experiment(
    name="compression-of-images",
    title="Compression of images by a convolutional network",
    source="Paccolat, Petrini, Geiger, Tyloo, Wyart 2021; Petrini 2020",
    settings=Settings,
    paper={
        "images": "mnist",
        "n_train": (128, 256, 512, 1024, 2048, 4096, 8192),
        "n_test": 10_000,
        "n_kernel": 2000,
        "channels": 64,
        "hidden": 256,
        "feature_scale": 1e-3,
        "lazy_scale": 1e3,
        "n_shuffled": 1024,
        "max_output_change": 0.1,
        "max_gradient_change": 1e-3,
    },
    simulate=simulate,
    claims=(signatures_claim(judged),),
    figures=figures,
    parts=("dimension-of-images",),
)
