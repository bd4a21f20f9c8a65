"""On images too the neurons that learn features become fewer in kind, and that does not have to help.

Digits are projected on the first principal components of the training images, each scaled to variance one, with even
digits in one class and odd ones in the other. A network with one hidden layer of ReLUs,
f(x) = (√2/h) Σ_n β_n max(ω_n · x / √d + b_n, 0), is trained as F = α (f - f₀) by gradient flow on the hinge loss until
every margin is reached, with small and with large α. The number A of different sets of training points that activate
some neuron falls with small α and stays with large. The slide adds that features beat the lazy regime here. That is
measured beside it, against the classifier of maximal margin with the tangent kernel at infinite width, and not judged,
since Geiger et al. (2020) find the opposite for fully connected networks.

Sources: L. Petrini (2020), Learning features in neural nets: perks and drawbacks, candidacy slides, "10-PCA MNIST";
M. Geiger, S. Spigler, A. Jacot, M. Wyart (2020), Disentangling feature and lazy training in deep neural networks.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import xarray as xr
from pydantic import Field

from learnscope import laboratory
from learnscope.distributions.even_or_odd import even_or_odd
from learnscope.distributions.images import load_images
from learnscope.distributions.interfaces import Sample
from learnscope.dynamics.shallow import Stop
from learnscope.dynamics.step_control import Limits
from learnscope.experiments.figures.attractors import kinks_chart
from learnscope.experiments.shared.hinge_flow import PROXIMAL, fitted_share, follow
from learnscope.kernels.hard_margin import hard_margin
from learnscope.kernels.one_hidden_layer import limit_kernels
from learnscope.laboratory import Claim, Criterion, Experiment, Grid, Point, at_most
from learnscope.laboratory.claims import Measure
from learnscope.networks.one_hidden_layer import OneHiddenLayer, one_hidden_layer
from learnscope.observables.neurons import Neurons, active_sets, kinks
from learnscope.report.chart import (
    Axis,
    Caption,
    Chart,
    Choice,
    Figure,
    Groups,
    Lines,
    Series,
    Slider,
    category,
)

REGIMES = ("features", "lazy")
WINDOW = 4.0  # standard deviations of a component that are drawn on each side of the origin
MOMENTS = ("start", "end")


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    data: Literal["digits", "mnist"] = Field("digits", description="images")
    components: int = Field(10, ge=2, description="principal components d")
    n_train: Grid[int] = Field((300,), description="training points p")
    n_test: int = Field(500, ge=1, description="test points")
    width: int = Field(800, ge=2, description="neurons h")
    alpha: float = Field(1e-4, gt=0, description="scale of the output, small for features")
    lazy_alpha: float = Field(1e4, gt=0, description="the same in the lazy regime")
    max_output_change: float = Field(0.5, gt=0, description="most that a step of the flow changes F by")
    max_steps: int = Field(200_000, ge=1, description="most steps of the flow")
    proximal: bool = Field(False, description=PROXIMAL)


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Train in both regimes on some of the digits, and count what activates neurons."""
    seen, unseen = components_of(point, generator)
    start = one_hidden_layer(point.width, point.components, generator, activation="normalised_relu", mirrored=False)
    runs = follow(
        [start] * 2,
        [seen.x] * 2,
        [seen.y] * 2,
        alpha=(point.alpha, point.lazy_alpha),
        stop=Stop(max_steps=point.max_steps),
        proximal=point.proximal,
        limits=Limits(point.max_output_change, 1.0),
    )
    counts = [[_sets(run.initial, seen), _sets(run.network, seen)] for run in runs]
    machine = hard_margin(lambda x1, x2: limit_kernels(x1, x2).total, seen.x, seen.y)
    errors = [*(float((run.predict(unseen.x).sign() != unseen.y).double().mean()) for run in runs)]
    places = [[kinks(state.weights, state.biases)[:, :2] for state in (run.initial, run.network)] for run in runs]
    return xr.Dataset(
        {
            "active_sets": (["regime", "moment"], np.array(counts, dtype=np.float64)),
            "test_error": ("learner", [*errors, machine.error(unseen.x, unseen.y)]),
            "fitted": ("regime", [fitted_share(run, seen.y) for run in runs]),
            "kink": (
                ["regime", "moment", "neuron", "coordinate"],
                torch.stack([torch.stack(pair) for pair in places]).float().numpy(),
            ),
        },
        coords={
            "regime": list(REGIMES),
            "moment": list(MOMENTS),
            "learner": ["features", "lazy network", "lazy limit"],
        },
    )


def components_of(point: Point, generator: torch.Generator) -> tuple[Sample, Sample]:
    """Draw digits for training and testing as components of variance one, with y = +1 for even digits."""
    drawn = even_or_odd(load_images(point.data), point.n_train, point.n_test, generator)
    x, x_test = drawn.x.flatten(1).double(), drawn.x_test.flatten(1).double()
    mean = x.mean(0)
    values, vectors = torch.linalg.eigh((x - mean).mT @ (x - mean) / len(x))
    onto = (vectors[:, -point.components :] / values[-point.components :].sqrt()).flip(1)
    return Sample((x - mean) @ onto, drawn.y.double()), Sample((x_test - mean) @ onto, drawn.y_test.double())


def _sets(network: OneHiddenLayer, sample: Sample) -> int:
    return active_sets(Neurons(network.weights, network.biases, network.outputs), sample.x)


def shrinkage(regime: str) -> Measure:
    """Return the measure of A at the end over A at the start, for the most training points."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        sets = data["active_sets"].sel(regime=regime).isel(n_train=-1)
        return sets.sel(moment="end", drop=True) / sets.sel(moment="start", drop=True)

    return measure


CLAIM = Claim(
    name="attractors-real-data",
    statement="On images the neurons of the regime of features become fewer in kind through training, as on the "
    "sphere.",
    source="Petrini 2020, 10-PCA MNIST",
    correction="The slide's network is better with features than lazy. With 300 digits the lazy regime is better; the "
    "sign of the difference is shown and not judged.",
    criteria=(
        Criterion(
            name="sets of active points at the end over those at the start",
            predicted=0.6,
            measured=shrinkage("features"),
            band=at_most(0.6),
            reason="merging into attractors takes a good part away, while neurons that never gather keep a set each; "
            "seeds scatter by a few per cent",
            control=shrinkage("lazy"),
            control_name="lazy regime",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw test errors, and where neurons bend at the start and the end."""
    return _errors_figure(data), _neurons_figure(data)


def _errors_figure(data: xr.Dataset) -> Figure:
    seeds = data["seed"].values
    errors = data["test_error"].isel(n_train=-1)
    order = np.argsort(errors.sel(learner="lazy limit").values)
    lines = tuple(
        Series(str(name), errors.sel(learner=name).values[order], category(k))
        for k, name in enumerate(errors["learner"].values)
    )
    better = int((errors.sel(learner="features") < errors.sel(learner="lazy limit")).sum())
    return Figure(
        "errors",
        "Test errors of both regimes",
        Caption(
            shows=f"Test error with {int(data['n_train'][-1])} training points for each seed, in the order of the lazy "
            f"limit's error. With features it is smaller for {better} of {len(seeds)} seeds. Runs that ended before "
            f"every point was fitted: {int((data['fitted'] < 1).sum())} of {data['fitted'].size}.",
            look_for="Which regime is better: the slide says features.",
            source="Petrini 2020; Geiger et al. 2020",
        ),
        charts=(
            Chart(
                Axis("seed", "seed", "names", np.array([str(seed) for seed in seeds[order]])),
                (Choice("error", Axis("test error", "test error"), (Lines(lines),)),),
            ),
        ),
    )


def _neurons_figure(data: xr.Dataset) -> Figure:
    first = data["kink"].isel(seed=0, n_train=-1)
    count = data.sizes["neuron"]
    groups = Groups("neuron", ("neuron",), np.zeros(count, int), tuple(f"neuron {k}" for k in range(count)))
    return Figure(
        "neurons",
        "Where neurons bend, in the first two components",
        Caption(
            shows=f"The points z of the {count} neurons of the first seed, their first two coordinates, at the "
            "start (moment 0) and the end (moment 1).",
            look_for="With features they gather; in the lazy regime they stay.",
            source="Petrini 2020, 10-PCA MNIST",
        ),
        charts=(kinks_chart(first, WINDOW, Slider("moment", np.arange(len(MOMENTS))), groups),),
    )


EXPERIMENT = Experiment(
    name="attractors-on-images",
    title="Attractors on images",
    source="L. Petrini (2020), Learning features in neural nets: perks and drawbacks, candidacy slides, EPFL",
    settings=Settings,
    paper={
        "data": "mnist",
        "n_train": (300, 1000, 3000, 10_000),
        "n_test": 10_000,
        "width": 10_000,
        "proximal": True,
    },
    simulate=simulate,
    claims=(CLAIM,),
    figures=figures,
)
