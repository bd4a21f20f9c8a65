"""With two directions that tell, the cylinder, networks that learn features gain less over lazy training.

The label of x ∈ R^d is on which side of a circle (x₁, x₂) lies; d_⊥ = d − 2 directions do not matter. Test errors fall
as ε ~ p^(−β), with

    β_lazy = d / (3d − 2),   β_feature = (d + d_⊥ / 2) / (3d − 2),

so that the ratio ρ = ε_lazy / ε_feature grows as p^((d_⊥ / 2) / (3d − 2)), 0.115 for d = 5, where it is 0.308 for the
stripe. Learners, trainings and sizes are those of the learning curves on the stripe. An exponent as small as this takes
more examples than the quick scale has; a verdict is to be expected from the paper scale.

Source: J. Paccolat, L. Petrini, M. Geiger, K. Tyloo, M. Wyart (2021), Geometric compression of invariant manifolds in
neural networks, abstract.
"""

from __future__ import annotations

import torch
import xarray as xr
from pydantic import Field

from learnscope.distributions.interfaces import cylinder
from learnscope.experiments import stripe_learning_curve as curves
from learnscope.experiments.figures.learning_curves import learning_figures
from learnscope.experiments.support_vector_scaling import JUDGED, beta
from learnscope.laboratory import Claim, Criterion, Experiment, Grid, Point, at_least, within
from learnscope.report.chart import Figure


class Settings(curves.Settings):
    """Sizes; the defaults are the quick scale, fewer than those of the stripe."""

    n_train: Grid[int] = Field((64, 128, 256, 512, 1024), description="examples p")


def simulate(point: Point, generator: torch.Generator) -> xr.Dataset:
    """Return the test errors of all learners on the cylinder."""
    return curves.compared(cylinder, point, generator)


def gain(dim: int) -> float:
    """Return (d_⊥ / 2) / (3d − 2), the exponent of the lazy over the feature error.

    Examples:
        >>> gain(5), gain(3)
        (0.11538, 0.07143)
    """
    return (dim - 2) / 2 / (3 * dim - 2)


CLAIM = Claim(
    name="cylinder-curve",
    statement="On the cylinder, where two directions tell, the feature error falls as p^(−β) with "
    "β = (d + d_⊥/2) / (3d − 2), and the lazy one with β = d / (3d − 2).",
    source="Paccolat, Petrini, Geiger, Tyloo, Wyart 2021, abstract",
    criteria=(
        Criterion(
            name=f"exponent of the lazy over the feature error, d = {JUDGED}",
            predicted=gain(JUDGED),
            measured=curves.growth("feature"),
            band=within(absolute=0.05),
            reason="the stripe's exponent is 0.19 larger and no gain is 0.115 smaller; half of that",
            control=curves.growth("lazy"),
            control_name="the lazy limit over lazy networks",
            pooled=True,
        ),
        Criterion(
            name=f"the lazy over the feature error at the most examples, d = {JUDGED}",
            predicted=2.0,
            measured=curves.last_ratio("feature"),
            band=at_least(1.25),
            reason="features gain something; lazy networks stay within 1.25 of their limit",
            control=curves.last_ratio("lazy"),
            control_name="the lazy limit over lazy networks",
            pooled=True,
        ),
    ),
)


def figures(data: xr.Dataset) -> tuple[Figure, ...]:
    """Draw the learning curves, and local exponents of the errors and of their ratio."""
    powers = {
        "feature": lambda d: -beta(d) - gain(d),
        "limit": lambda d: -beta(d),
        "neighbours": lambda d: -1 / d,
        "ratio": gain,
    }
    return learning_figures(data, curves.LEARNERS, powers, "cylinder")


EXPERIMENT = Experiment(
    name="cylinder",
    title="Two directions that tell leave less to compress",
    source="J. Paccolat, L. Petrini, M. Geiger, K. Tyloo, M. Wyart (2021), Geometric compression of invariant "
    "manifolds in neural networks, arXiv:2007.11471",
    settings=Settings,
    simulate=simulate,
    claims=(CLAIM,),
    figures=figures,
    paper={**curves.EXPERIMENT.paper, "dim": (3, 5, 10)},
)
