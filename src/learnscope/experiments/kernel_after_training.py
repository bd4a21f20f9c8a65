"""The tangent kernel after training learns as well as the network did; the one before training does not.

A network learns a task with features, and a copy of it lazily, both by gradient flow on F = α (f − f₀) until the
margins are reached. Support-vector classifiers of largest margin then learn the same examples with its tangent kernel
Θ before training, after it, and after lazy training. Where features help, the kernel after training takes over most of
what the network gained on the kernel before; what the network has found out about the task is in the kernel. On
examples that were not trained on, Θ has turned towards the labels, and a few of its components carry them. At quick
scale trainings end when 95 % of the margins are reached; the last few take most of the steps, and change little.

There are two tasks. The stripe has its label in one of d directions, and is learned by one hidden layer; even and odd
digits are told apart by a convolutional network. Experiments of their own look at what Θ becomes on the stripe
(``stripe-kernel``), and at learning curves and layers on images (``compression-of-images``).

Sources: J. Paccolat, L. Petrini, M. Geiger, K. Tyloo, M. Wyart (2021), Geometric compression of invariant manifolds in
neural networks; L. Petrini (2020), Learning features in neural nets: perks and drawbacks, candidacy slides, EPFL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import nn

from learnscope import laboratory
from learnscope.distributions.even_or_odd import even_or_odd
from learnscope.distributions.images import load_images
from learnscope.distributions.interfaces import Sample, stripe
from learnscope.dynamics.module_flow import ModuleRun
from learnscope.dynamics.shallow import Run, Stop
from learnscope.dynamics.step_control import Limits
from learnscope.experiments.figures.kernel_after_training import alignment_figure, component_figure, error_figure
from learnscope.experiments.shared.digit_networks import digit_network, learned_digits, module_kernel
from learnscope.experiments.shared.hinge_flow import PROXIMAL, follow
from learnscope.experiments.shared.kernel_knowledge import (
    COMPONENTS,
    Knowledge,
    View,
    alignment_claim,
    classifier_claim,
    kept_gain,
    knowledge,
    signatures_claim,
)
from learnscope.kernels.hard_margin import Kernel, hard_margin
from learnscope.kernels.one_hidden_layer import tangent_kernels
from learnscope.laboratory import Criterion, Experiment, Grid, Point, at_least
from learnscope.networks.one_hidden_layer import OneHiddenLayer, one_hidden_layer
from learnscope.report.chart import Figure

Task = Literal["stripe", "images"]
Regime = Literal["feature", "lazy"]
Trained = Run | ModuleRun
KERNELS = {
    "before": "before training",
    "after": "after feature training",
    "lazy": "after lazy training",
    "shuffled": "after training on shuffled labels",
}
LEARNERS = {
    "before": "kernel before training",
    "after": "kernel after feature training",
    "network": "network, features",
    "lazy": "kernel after lazy training",
    "lazy network": "network, lazy",
}


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    task: Grid[Task] = Field(("stripe", "images"), description="what is learned, stripe and images; claims need theirs")
    n_train: Grid[int] = Field((32, 128), description="examples p; claims are judged for the largest")
    n_test: int = Field(1000, ge=1, description="examples for test errors")
    n_probe: int = Field(300, ge=20, description="test examples on which kernels are compared with the labels")
    n_shuffled: int = Field(32, ge=20, description="examples with shuffled labels, at most, of the control")
    dim: int = Field(5, ge=2, description="directions d of the stripe, one of which tells")
    width: int = Field(200, ge=2, multiple_of=2, description="neurons of the hidden layer that learns the stripe")
    alpha: float = Field(1e-4, gt=0, description="α on the stripe, with features")
    lazy_alpha: float = Field(1e3, gt=0, description="α on the stripe, lazy")
    images: str = Field("digits", description="image set, digits or mnist")
    channels: int = Field(8, ge=1, description="of each convolution that sees images, h")
    hidden: int = Field(32, ge=1, description="units of the fully connected layer after them")
    feature_scale: float = Field(0.01, gt=0, description="α √h on images, with features")
    lazy_scale: float = Field(100.0, gt=0, description="α √h on images, lazy")
    max_output_change: float = Field(0.5, gt=0, description="of F in a step of the flow")
    max_gradient_change: float = Field(0.1, gt=0, description="of the velocity in a step, squared and relative")
    fraction: float = Field(0.95, gt=0, le=1, description="a training ends with more than this share of the margins")
    max_steps: int = Field(100_000, ge=1, description="of a training")
    proximal: bool = Field(False, description="on the stripe, " + PROXIMAL)


class Problem(NamedTuple):
    """Examples to learn and to test on, and a network that learns them, or others, in a regime."""

    train: Sample
    test: Sample
    learn: Callable[[Sample, Regime], Trained]


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Train in both regimes and on shuffled labels; compare the networks and their kernels before and after."""
    train, test, learn = PROBLEMS[point.task](point, generator)
    runs = {
        "after": learn(train, "feature"),
        "lazy": learn(train, "lazy"),
        "shuffled": learn(_shuffled(train, point.n_shuffled, generator), "feature"),
    }
    networks = {"before": runs["after"].initial} | {name: run.network for name, run in runs.items()}
    kernels = {name: _kernel(network) for name, network in networks.items()}
    known = [_known(kernels[name], test, point.n_probe) for name in KERNELS]
    errors = {name: hard_margin(kernels[name], *train).error(*test) for name in ("before", "after", "lazy")}
    errors |= {"network": _error(runs["after"], test), "lazy network": _error(runs["lazy"], test)}
    return xr.Dataset(
        {
            "alignment": ("kernel", [float(each.alignment) for each in known]),
            "share": (("kernel", "rank"), torch.stack([each.shares for each in known]).numpy()),
            "information": (("kernel", "rank"), torch.stack([each.information for each in known]).numpy()),
            "error": ("learner", [errors[name] for name in LEARNERS]),
            "fitted": ("training", [run.converged for run in runs.values()]),
        },
        coords={
            "kernel": list(KERNELS),
            "rank": np.arange(1, COMPONENTS + 1),
            "learner": list(LEARNERS),
            "training": list(runs),
        },
    )


def _stripe(point: Point, generator: torch.Generator) -> Problem:
    """Return the stripe and a network with one hidden layer."""
    train, test = (stripe(n, point.dim, generator) for n in (point.n_train, point.n_test))
    start = one_hidden_layer(point.width, point.dim, generator, activation="normalised_relu")
    alphas = {"feature": point.alpha, "lazy": point.lazy_alpha}

    def learn(sample: Sample, regime: Regime) -> Run:
        (run,) = follow(
            [start],
            *sample,
            alpha=alphas[regime],
            proximal=point.proximal,
            stop=_stop(point),
            limits=Limits(point.max_output_change, point.max_gradient_change),
        )
        return run

    return Problem(train, test, learn)


def _images(point: Point, generator: torch.Generator) -> Problem:
    """Return even and odd digits and a convolutional network."""
    drawn = even_or_odd(load_images(point.images), point.n_train, point.n_test, generator)
    network = digit_network(drawn.x.shape[1:], point, generator)
    scales = {"feature": point.feature_scale, "lazy": point.lazy_scale}

    def learn(sample: Sample, regime: Regime) -> ModuleRun:
        return learned_digits(network, scales[regime], *sample, point, stop=_stop(point))

    return Problem(Sample(drawn.x, drawn.y), Sample(drawn.x_test, drawn.y_test), learn)


def _stop(point: Point) -> Stop:
    return Stop(fraction=point.fraction, max_steps=point.max_steps)


PROBLEMS: dict[Task, Callable[[Point, torch.Generator], Problem]] = {"stripe": _stripe, "images": _images}


def _shuffled(sample: Sample, n: int, generator: torch.Generator) -> Sample:
    """Return the first n examples, or all if there are fewer, with their labels in another order."""
    x, y = sample.x[:n], sample.y[:n]
    return Sample(x, y[torch.randperm(len(y), generator=generator)])


def _kernel(network: OneHiddenLayer | nn.Module) -> Kernel:
    if isinstance(network, OneHiddenLayer):
        return lambda x1, x2: tangent_kernels(network, x1, x2).total
    return module_kernel(network)


def _known(kernel: Kernel, test: Sample, n: int) -> Knowledge:
    return knowledge(kernel(test.x[:n], None), test.y[:n].double())


def _error(run: Trained, test: Sample) -> float:
    return float((run.predict(test.x) * test.y <= 0).double().mean())


def on(task: Task) -> View:
    """Return the view of a task with the most examples; without numbers if it was left out."""

    def view(data: xr.Dataset) -> xr.Dataset:
        known = data if task in data["task"].values else data.reindex(task=[task])
        return known.sel(task=task).isel(n_train=-1)

    return view


ON_IMAGES = Criterion(
    name="share of the network's gain on the kernel before training that the kernel after training keeps, images",
    predicted=1.0,
    measured=kept_gain(on("images"), "after"),
    band=at_least(0.5),
    reason="1 if it were as good as the network; a convolutional kernel is good before training, so that the gain is "
    "some percent of error, which sampling and the kernel's motion up to the last margin may cost half of",
    control=kept_gain(on("images"), "lazy"),
    control_name="the kernel after lazy training",
    pooled=True,
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw the test errors, the alignment, and what the components of the kernels know of the labels."""
    return error_figure(data, LEARNERS), alignment_figure(data, KERNELS), component_figure(data, KERNELS)


EXPERIMENT = Experiment(
    name="kernel-after-training",
    title="The tangent kernel after training learns like the network",
    source="J. Paccolat, L. Petrini, M. Geiger, K. Tyloo, M. Wyart (2021), Geometric compression of invariant "
    "manifolds in neural networks, arXiv:2007.11471",
    settings=Settings,
    simulate=simulate,
    claims=(
        alignment_claim(on("stripe")),
        classifier_claim(on("stripe"), ON_IMAGES),
        signatures_claim(on("images")),
    ),
    figures=figures,
    paper={
        "images": "mnist",
        "n_train": (128, 256, 512, 1024, 2048, 4096, 8192),
        "n_test": 20_000,
        "n_probe": 2000,
        "n_shuffled": 1024,
        "dim": 10,
        "width": 10_000,
        "alpha": 1e-6,
        "channels": 64,
        "hidden": 256,
        "feature_scale": 1e-3,
        "lazy_scale": 1e3,
        "max_output_change": 0.1,
        "max_gradient_change": 1e-3,
        "fraction": 1.0,
        "max_steps": 1_000_000,
        "proximal": True,
    },
)
