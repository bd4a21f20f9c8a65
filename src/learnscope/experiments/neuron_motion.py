"""Where a neuron bends moves by a closed equation, which pulls it to one place for each training point.

The neurons of f(x) = (1/h) Σ_n β_n max(ω_n · x / √d + b_n, 0) bend at z = -√d b ω / |ω|². While the hinge loss is
linear, gradient flow (time rescaled by h) moves them by

    dz/dt = β / (p b) Σ_μ y_μ 1[μ active] ( z + (2 (z · x_μ) z - |z|² x_μ) / d ),

where μ is active if z · x_μ > |z|² for b < 0, and if z · x_μ < |z|² for b > 0. With a single training point (x, y) the
bracket vanishes at z* = -d x / |x|² alone, apart from the origin, and there the point is active for b > 0 only. Every
neuron that stays active ends there, whatever the sign of its bias at the start: its parameters (ω, b) grow along
(x/√d, 1), by u(t) = u₀ cosh kt + k β₀ y sinh kt for the pre-activation u and k² = |x|²/d + 1 (derived here).

Source: L. Petrini (2020), Learning features in neural nets: perks and drawbacks, candidacy slides, "dynamics of z".
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

from learnscope import laboratory
from learnscope.experiments.figures.neuron_motion import errors_figure, field_figure, motion_figure
from learnscope.laboratory import Claim, Criterion, Experiment, Point, at_least, at_most
from learnscope.laboratory.claims import Measure
from learnscope.observables.neurons import Neurons, active_by_kink, kink_velocity, kinks, preactivations
from learnscope.report.chart import Figure

FORMULAS = ("with 1/d", "as on the slide")
NEAR = 0.01  # of |z*|, where a neuron counts as arrived
ACTIVITIES = ("never active", "no longer active", "active at the end")


class Settings(laboratory.Settings):
    """Sizes; the defaults are the quick scale."""

    dims: tuple[int, ...] = Field((1, 2, 3, 5, 10), min_length=2, description="dimensions d of the inputs")
    width: int = Field(200, ge=1, description="neurons h")
    n_train: int = Field(50, ge=1, description="training points of the network in motion")
    growth: float = Field(12.0, gt=0, description="k t at the end, for the single training point")
    n_times: int = Field(25, ge=2, description="times that are kept, for the single training point")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Compare the equation with derivatives along the flow, and follow neurons that see one training point."""
    errors = np.array([_errors(dim, point, generator) for dim in point.dims])
    data = xr.Dataset(
        {
            "velocity_error": (["dim", "formula"], errors[:, :2]),
            "activity_error": (["dim", "condition"], errors[:, 2:]),
        },
        coords={"dim": list(point.dims), "formula": list(FORMULAS), "condition": ["by the sign of b", "for b < 0"]},
    )
    return data.merge(_one_training_point(point, generator))


def _randn(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _drawn(width: int, dim: int, generator: torch.Generator) -> Neurons:
    return Neurons(_randn(generator, width, dim), _randn(generator, width), _randn(generator, width))


def _errors(dim: int, point: Point, generator: torch.Generator) -> list[float]:
    """Return relative errors of both formulas, and shares of activities missed, with and without the sign of b."""
    neurons, x = _drawn(point.width, dim, generator), _randn(generator, point.n_train, dim)
    y = _randn(generator, point.n_train).sign()
    z = kinks(neurons.weights, neurons.biases)
    flow = torch.func.grad(lambda parts: (_hidden(parts, x).relu() @ parts.outputs * y).mean())(neurons)
    direct = torch.autograd.functional.jvp(kinks, (neurons.weights, neurons.biases), (flow.weights, flow.biases))[1]
    assert isinstance(direct, Tensor)
    corrected = kink_velocity(neurons, x, y)
    slide = dim * corrected - (dim - 1) * _straight(neurons, x, y)
    active = _hidden(neurons, x) > 0
    velocity = [float((v - direct).norm() / direct.norm()) for v in (corrected, slide)]
    signs = (neurons.biases, -torch.ones_like(neurons.biases))
    return velocity + [float((active_by_kink(z, b, x) != active).double().mean()) for b in signs]


def _hidden(neurons: Neurons, x: Tensor) -> Tensor:
    return preactivations(neurons.weights, neurons.biases, x)


def _straight(neurons: Neurons, x: Tensor, y: Tensor) -> Tensor:
    """Return the part β/(p b) Σ y 1[active] z of the velocity, which has no 1/d."""
    active = (_hidden(neurons, x) > 0).double() * y[:, None]
    return (neurons.outputs / (len(x) * neurons.biases) * active.sum(0))[:, None] * kinks(
        neurons.weights, neurons.biases
    )


def bracket(z: Tensor, x: Tensor) -> Tensor:
    """Return z + (2 (z · x) z - |z|² x) / d for points z [n, d] and one training point x [d]."""
    return z + (2 * (z @ x)[:, None] * z - z.square().sum(1)[:, None] * x) / len(x)


def followed(neurons: Neurons, x: Tensor, phase: Tensor) -> tuple[Tensor, Tensor]:
    """Return where neurons bend that see one training point of label 1, and what becomes of them, by the closed form.

    Args:
        neurons: at the start.
        x: [d] the training point.
        phase: [T] the times k t.

    Returns:
        z [T, h, d], and the fate [h]: an index into ``ACTIVITIES``.
    """
    direction = torch.cat([x / len(x) ** 0.5, torch.ones_like(x[:1])])
    k, u = direction.norm(), _hidden(neurons, x[None])[0]
    # The pre-activation reaches zero where tanh kt = -u/(k β), after which the neuron stands still.
    ratio = -u / (k * neurons.outputs)
    lasts = (u > 0) & ~((ratio > 0) & (ratio < 1))
    ends = torch.where(lasts, torch.inf, torch.where(u > 0, torch.atanh(ratio.clamp(0, 1 - 1e-15)), 0.0))
    phases = phase[:, None].minimum(ends)
    grown = (u * phases.cosh() + k * neurons.outputs * phases.sinh() - u) / k**2
    along = grown[..., None] * direction
    z = kinks(neurons.weights + along[..., :-1], neurons.biases + along[..., -1])
    return z, torch.where(lasts, 2, torch.where(u > 0, 1, 0))


def _one_training_point(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Follow neurons in the plane that see one training point."""
    neurons, x = _drawn(point.width, 2, generator), _randn(generator, 2)
    phase = torch.linspace(0, point.growth, point.n_times, dtype=torch.float64)
    z, fate = followed(neurons, x, phase)
    rest, slide = -2 * x / x.square().sum(), -x / x.square().sum()
    arrived = (z[-1] - rest).norm(dim=1) < NEAR * rest.norm()
    residuals = {
        name: float(bracket(at[None], x).norm() / at.norm()) for name, at in (("rest", rest), ("slide", slide))
    }
    return xr.Dataset(
        {
            "rest_residual": residuals["rest"],
            "slide_residual": residuals["slide"],
            "arrived": ("fate", [float(arrived[fate == kind].double().mean()) for kind in range(3)]),
            "kink": (["time", "neuron", "coordinate"], z.float().numpy()),
            "fate_of": ("neuron", fate.numpy()),
            "input": ("coordinate", x.numpy()),
        },
        coords={"fate": list(ACTIVITIES), "time": phase.numpy()},
    )


def worst(name: str, **which: str) -> Measure:
    """Return the measure of an error, the largest over dimensions from 2 on."""
    return lambda data: data[name].sel(which).where(data["dim"] > 1).max("dim")


def share_arrived(fate: str) -> Measure:
    """Return the measure of how many neurons of a kind end at the place of rest."""
    return lambda data: data["arrived"].sel(fate=fate)


DYNAMICS = Claim(
    name="z-dynamics",
    statement="While the hinge loss is linear, the point z at which a neuron bends follows a closed equation: "
    "dz/dt = β/(p b) Σ y 1[active] (z + (2 (z·x) z − |z|² x)/d), with the activity given by z and the sign of b.",
    source="Petrini 2020, dynamics of z",
    correction="The slide has no 1/d in front of the last two terms, which is right for a network without the 1/√d "
    "in front of ω · x, or in one dimension. For the architecture that the slides state, it is off by order one.",
    criteria=(
        Criterion(
            name="distance of the equation to the derivative along the flow, relative, the largest over d",
            predicted=0.0,
            measured=worst("velocity_error", formula=FORMULAS[0]),
            band=at_most(1e-9),
            reason="an identity; rounding is 1e-16 times |z|² of neurons with small ω, which reaches 1e5",
            control=worst("velocity_error", formula=FORMULAS[1]),
            control_name="the equation as it stands on the slide",
        ),
        Criterion(
            name="share of pairs of neuron and point whose activity the inequality misses, the largest over d",
            predicted=0.0,
            measured=worst("activity_error", condition="by the sign of b"),
            band=at_most(1e-9),
            reason="an identity; no pre-activation is zero",
            control=worst("activity_error", condition="for b < 0"),
            control_name="the inequality of b < 0 for every neuron",
        ),
    ),
)
FIELD = Claim(
    name="z-field-p1",
    statement="With one training point the field has one place of rest besides the origin, z* = −d x/|x|²; it is "
    "active for b > 0 only, and all neurons that stay active end there.",
    source="Petrini 2020, dynamics of z, p = 1; place of rest and closed form derived in the experiment's file",
    correction="Without the 1/d the slide's field would vanish at −x/|x|², where the field of the stated architecture "
    "does not.",
    criteria=(
        Criterion(
            name="size of the field's bracket at the place of rest, relative to |z|",
            predicted=0.0,
            measured=lambda data: data["rest_residual"],
            band=at_most(1e-12),
            reason="an identity, up to rounding",
            control=lambda data: data["slide_residual"],
            control_name="the slide's place, −x/|x|²",
        ),
        Criterion(
            name="share of the neurons that stay active within 1 % of z* at k t = 12",
            predicted=1.0,
            measured=share_arrived(ACTIVITIES[-1]),
            band=at_least(0.95),
            reason="the start counts for 2 |ω, b| k / (|u₀ + k β₀| e^12) ≈ 1e-4 of the end, and more than 1e-2 only "
            "if |u₀ + k β₀| is below 1e-2 of its typical size",
            control=share_arrived(ACTIVITIES[0]),
            control_name="neurons that the point does not activate",
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw the errors of both equations, the field of one training point, and neurons on their way."""
    return errors_figure(data), field_figure(data, bracket), motion_figure(data, ACTIVITIES)


EXPERIMENT = Experiment(
    name="neuron-motion",
    title="How the bends of neurons move",
    source="L. Petrini (2020), Learning features in neural nets: perks and drawbacks, candidacy slides, EPFL",
    settings=Settings,
    paper={"dims": (1, 2, 3, 5, 10, 30, 100), "width": 1000, "n_train": 500},
    simulate=simulate,
    claims=(DYNAMICS, FIELD),
    figures=figures,
)
