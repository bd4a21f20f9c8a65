"""Networks that learn features stretch their weights along the one direction that tells, by λ ~ √p; lazy ones do not.

The stripe has its label in x₁ alone. One hidden layer, f(x) = (1/h) Σ β σ(ω·x / √d + b), learns it from p examples by
gradient flow on the hinge loss of F = α (f − f₀), ℓ = (1 − y F)₊ / α. The compression of the other directions is

    λ = rms(ω₁) / rms(ω_i, i > 1).

Before any margin is reached each neuron moves by dω/dt = (β / p √d) Σ_μ y x σ'(z): its part along x₁ is a mean over the
law of x, the others are fluctuations of the sample, of order 1/√p. With small α weights grow by orders of magnitude
before that, so what they had at the start is forgotten and λ ~ √p. With large α they hardly move: λ = 1.

λ is measured when the first example reaches its margin, where the argument ends, and at the end of training, where all
have. There single runs have heavy tails, since the rms is taken by few neurons; means are geometric.

Source: J. Paccolat, L. Petrini, M. Geiger, K. Tyloo, M. Wyart (2021), Geometric compression of invariant manifolds in
neural networks; the animations of L. Petrini's slides (2020).
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from pydantic import Field, field_validator
from torch import Tensor

from learnscope import laboratory
from learnscope.distributions.interfaces import stripe
from learnscope.dynamics.shallow import Run, Stop
from learnscope.experiments.figures.stripe import size_figure, weights_figure
from learnscope.experiments.shared.hinge_flow import PROXIMAL, fitted_share, follow, precision
from learnscope.laboratory import (
    Claim,
    Criterion,
    Experiment,
    Grid,
    Point,
    at_least,
    at_most,
    between,
    within,
)
from learnscope.laboratory.claims import Measure
from learnscope.laboratory.exponents import exponent, geometric_mean
from learnscope.networks.one_hidden_layer import OneHiddenLayer, one_hidden_layer
from learnscope.report.chart import Figure

LAZY = 1e4  # α at which weights do not move
LARGE = 256  # examples from which on λ is large, and the exponent is judged
PER_DECADE = 8  # moments of a training that are kept
TIMES = 10 ** (np.arange(-4, 49) / PER_DECADE)
NEURONS = 200  # that are drawn, at most
REGIMES = ("feature", "lazy", "random labels")


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    dim: int = Field(5, ge=2, description="directions d, one of which tells")
    n_train: Grid[int] = Field((64, 128, 256, 512, 1024, 2048, 4096, 8192), description="examples p")
    repetitions: int = Field(8, ge=1, description="samples and networks that are trained to the first margin")
    width: int = Field(100, ge=2, multiple_of=2, description="neurons h")
    alpha: float = Field(1e-8, gt=0, description="α up to the first margin")
    alpha_to_the_end: float = Field(1e-4, gt=0, description="α of trainings to the end")
    width_to_the_end: int = Field(200, ge=2, multiple_of=2, description="neurons of these")
    longest: int = Field(256, ge=16, description="the most examples that are trained on to the end")
    max_steps: int = Field(30_000, ge=1, description="of a training")
    proximal: bool = Field(False, description=PROXIMAL + "; to the end only")

    @field_validator("n_train")
    @classmethod
    def _wide(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        if len([p for p in values if p >= LARGE]) < 2 or list(values) != sorted(set(values)):
            raise ValueError(f"there must be two sizes from {LARGE} on, in increasing order")
        return values


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Train to the first margin in both regimes and on random labels; and to the end, if there are few examples."""
    logarithms = torch.zeros(len(REGIMES))
    for _ in range(point.repetitions):
        x, y = stripe(point.n_train, point.dim, generator)
        shuffled = y[torch.randperm(point.n_train, generator=generator)]
        network = one_hidden_layer(point.width, point.dim, generator, activation="normalised_relu")
        runs = follow(
            [network] * 3,
            x,
            [y, y, shuffled],
            alpha=[point.alpha, LAZY, point.alpha],
            stop=Stop(fraction=0.0, max_steps=point.max_steps),
            proximal=False,
        )
        logarithms += torch.stack([compression(run.network).log() for run in runs])
    result = xr.Dataset({"first": ("regime", (logarithms / point.repetitions).exp())}, coords={"regime": list(REGIMES)})
    if point.n_train > point.longest:
        return result.assign(_nothing())
    x, y = stripe(point.n_train, point.dim, generator)
    dtype = precision(point.proximal)
    network = one_hidden_layer(point.width_to_the_end, point.dim, generator, activation="normalised_relu", dtype=dtype)
    (run,) = follow(
        [network],
        x.to(dtype),
        y.to(dtype),
        alpha=point.alpha_to_the_end,
        proximal=point.proximal,
        stop=Stop(max_steps=point.max_steps),
        snapshots_per_decade=PER_DECADE,
    )
    return result.assign(_history(run, y))


def compression(network: OneHiddenLayer) -> Tensor:
    """Return λ = rms(ω₁) / rms(ω_i, i > 1) of a network or of several, [...].

    Examples:
        >>> from learnscope.networks.activations import Activation
        >>> weights = torch.tensor([[3.0, 1.0, -1.0], [-3.0, 1.0, 1.0]])
        >>> float(compression(OneHiddenLayer(weights, torch.zeros(2), torch.ones(2), Activation("relu"))))
        3.0
    """
    squares = network.weights.square().mean(-2)
    return (squares[..., 0] / squares[..., 1:].mean(-1)).sqrt()


def _history(run: Run, y: Tensor) -> dict[str, xr.Variable]:
    """Return λ over time, NaN after the end, and at the end, the fitted share, and ω₁ and ω₂ over the rms of ω."""
    kept = torch.searchsorted(run.times, torch.from_numpy(TIMES * (1 + 1e-9)), right=True) - 1
    done = run.time * 10 ** (1 / PER_DECADE) < TIMES
    weights = run.snapshots.weights[kept]
    shown = (weights / weights.square().mean((-2, -1), keepdim=True).sqrt())[:, :NEURONS, :2].float().numpy()
    found = _nothing()
    found["compression_at"][:] = np.where(done, np.nan, compression(run.snapshots)[kept].numpy())
    found["end"][...] = float(compression(run.network))
    found["fitted"][...] = fitted_share(run, y)
    found["weight"][:, : shown.shape[1]] = shown
    found["output"][: shown.shape[1]] = run.network.outputs[:NEURONS].float().numpy()
    return found


def _nothing() -> dict[str, xr.Variable]:
    """Return the variables of a training to the end, without any."""
    shapes = {
        "compression_at": {"time": len(TIMES)},
        "end": {},
        "fitted": {},
        "weight": {"time": len(TIMES), "neuron": NEURONS, "direction": 2},
        "output": {"neuron": NEURONS},
    }
    return {
        name: xr.Variable(list(shape), np.full(tuple(shape.values()), np.nan, np.float32), {"missing": "not trained"})
        for name, shape in shapes.items()
    }


def large(data: xr.Dataset, regime: str) -> xr.DataArray:
    """Return λ at the first margin of a regime, for the sizes at which λ is large."""
    return data["first"].sel(regime=regime).isel(n_train=np.flatnonzero(data["n_train"].values >= LARGE))


def slope(regime: str) -> Measure:
    """Return the measure of the exponent of λ in p; its mean over seeds is that of the geometric mean of λ."""
    return lambda data: exponent(large(data, regime), "n_train")


def spread(regime: str) -> Measure:
    """Return the measure of the largest over the least λ / √p among sizes, with geometric means over seeds."""

    def measure(data: xr.Dataset) -> xr.DataArray:
        chosen = large(data, regime)
        ratio = geometric_mean(chosen, "seed") / np.sqrt(chosen["n_train"])
        return ratio.max() / ratio.min()

    return measure


def largest(regime: str) -> Measure:
    """Return the measure of λ at the first margin for the most examples."""
    return lambda data: data["first"].sel(regime=regime).isel(n_train=-1)


COMPRESSION = Claim(
    name="stripe-compression",
    statement="In the regime of features weights grow along the direction that tells, which compresses the others by "
    "λ ~ √p until the first margin is reached; in the lazy regime they do not.",
    source="Paccolat, Petrini, Geiger, Tyloo, Wyart 2021, section 4",
    criteria=(
        Criterion(
            name=f"exponent of λ in p at the first margin, p ≥ {LARGE}",
            predicted=0.5,
            measured=slope("feature"),
            band=within(absolute=0.15),
            reason="finite size: λ starts from 1 and not from 0, which adds about 0.05; sampling: λ scatters by a "
            "factor 1.5, eight samples for each of ten seeds give the exponent to 0.03",
            control=slope("random labels"),
            control_name="random labels",
        ),
        Criterion(
            name=f"largest over least λ / √p at the first margin, p ≥ {LARGE}",
            predicted=1.0,
            measured=spread("feature"),
            band=at_most(2.0),
            reason="an exponent off by 0.15 makes a factor 1.7 of 32 in p; without growth it is √32",
            control=spread("lazy"),
            control_name="lazy training",
            pooled=True,
        ),
        Criterion(
            name="λ of lazy training at the first margin, most examples",
            predicted=1.0,
            measured=largest("lazy"),
            band=between(0.9, 1.25),
            reason="at the start λ = 1 ± 0.08 for 100 neurons, less in the mean; laziness leaves it there",
            control=largest("feature"),
            control_name="the regime of features",
        ),
        Criterion(
            name="geometric mean of λ at the end over the smaller sizes",
            predicted=11.3,
            measured=lambda data: geometric_mean(data["end"], "n_train"),
            band=at_least(3.0),
            reason="√p in the mean, less the factor of 2 or 3 by which single runs scatter; 1 without compression",
            control=largest("lazy"),
            control_name="lazy training",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw the weights and the compression through training, and the compression against the number of examples."""
    return weights_figure(data, TIMES), size_figure(data)


EXPERIMENT = Experiment(
    name="stripe",
    title="Features compress what does not tell",
    source="J. Paccolat, L. Petrini, M. Geiger, K. Tyloo, M. Wyart (2021), Geometric compression of invariant "
    "manifolds in neural networks, arXiv:2007.11471",
    settings=Settings,
    simulate=simulate,
    claims=(COMPRESSION,),
    figures=figures,
    paper={
        "dim": 10,
        "n_train": (64, 128, 256, 512, 1000, 2000, 5000, 10_000),
        "repetitions": 1,
        "width": 10_000,
        "alpha": 1e-6,
        "width_to_the_end": 10_000,
        "alpha_to_the_end": 1e-6,
        "longest": 10_000,
        "max_steps": 1_000_000,
        "proximal": True,
    },
    parts=("stripe-learning-curve", "support-vector-scaling"),
)
