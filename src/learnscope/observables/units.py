"""Single units: which are dead, which are saturated, and how large the activations are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import xarray as xr
from torch import Tensor

from learnscope.observables.features import promoted
from learnscope.observables.observable import Need, State, Task, variable

SATURATION_MARGIN = 0.05  # share of the activation's range that counts as its edge
SATURATED = 0.9  # share of a unit's activations at an edge from which the unit counts as saturated


@dataclass(frozen=True, slots=True)
class UnitStatistics:
    """Statistics of the units over all examples and positions.

    Attributes:
        square_sum: Σ a² over the finite activations of all units.
        saturated: [units] number of activations at an edge of the range; None for an unbounded layer.
        nonfinite: number of activations that are NaN or infinite.
        count: number of activations of each unit (examples times positions).
        units: number of units.
    """

    square_sum: float
    saturated: Tensor | None
    nonfinite: int
    count: int
    units: int

    @property
    def rms(self) -> float:
        """Root mean square activation √(Σ a² / N) over the finite activations of all units."""
        finite = self.count * self.units - self.nonfinite
        return (self.square_sum / finite) ** 0.5 if finite else float("nan")

    @property
    def saturated_share(self) -> float:
        """Share of the units with 90 % of their activations at an edge of the range; NaN for an unbounded layer."""
        if self.saturated is None or not self.count:
            return float("nan")
        return float((self.saturated >= SATURATED * self.count).double().mean())

    @property
    def nonfinite_share(self) -> float:
        """Share of the activations that are NaN or infinite."""
        return self.nonfinite / max(self.count * self.units, 1)


def unit_statistics(activations: Tensor, bounds: tuple[float, float] | None = None) -> UnitStatistics:
    """Summarise the activations of all units.

    Args:
        activations: [n, units, positions], any real dtype; NaN and infinities are counted and left out.
        bounds: lower and upper limit of the activation function, where it has both; an activation counts as
            saturated within 5 % of the range from either limit.

    Cost: one pass over the activations, and no copy, unless some are not finite or the range is bounded.

    Examples:
        >>> statistics = unit_statistics(torch.tensor([[0.0, 1.0], [0.0, 3.0]]).unsqueeze(-1))
        >>> round(statistics.rms**2, 6)
        2.5
    """
    n, units, positions = activations.shape
    values = promoted(activations)
    square_sum, nonfinite = _square_sum(values), 0
    if not math.isfinite(square_sum) or square_sum == 0:  # or beyond what float32 can hold
        finite = torch.isfinite(values)
        nonfinite = int((~finite).sum())
        square_sum = float(values.double().masked_fill(~finite, 0).square().sum())
    return UnitStatistics(
        square_sum=square_sum,
        saturated=None if bounds is None else _count_saturated(values, bounds),
        nonfinite=nonfinite,
        count=n * positions,
        units=units,
    )


def _square_sum(values: Tensor) -> float:
    """Return Σ a² in one pass, on all threads where the values lie side by side in memory in any order."""
    channels_innermost = values.mT
    flat = next((v.view(-1) for v in (values, channels_innermost) if v.is_contiguous()), None)
    return float(torch.linalg.vector_norm(values)) ** 2 if flat is None else float(torch.dot(flat, flat))


def _count_saturated(values: Tensor, bounds: tuple[float, float]) -> Tensor:
    lower, upper = bounds
    edge = SATURATION_MARGIN * (upper - lower)
    return ((values <= lower + edge) | (values >= upper - edge)).sum(dim=(0, 2))


def dead_share(features: Tensor) -> float:
    """Return the share of units whose feature is the same for every example.

    For a unit with a mean over positions as its feature, this is a unit that tells no example from another; for
    rectified units it is one that is never active.

    Args:
        features: [n, units]; a unit with NaN does not count as dead.

    Examples:
        >>> dead_share(torch.tensor([[0.0, 1.0], [0.0, 3.0]]))
        0.5
    """
    return float((features.amin(0) >= features.amax(0)).double().mean())


def merged(parts: list[UnitStatistics]) -> UnitStatistics:
    """Merge the statistics of several chunks of examples into those of all examples."""
    saturated = [part.saturated for part in parts if part.saturated is not None]
    return UnitStatistics(
        square_sum=sum(part.square_sum for part in parts),
        saturated=torch.stack(saturated).sum(0) if saturated else None,
        nonfinite=sum(part.nonfinite for part in parts),
        count=sum(part.count for part in parts),
        units=parts[0].units,
    )


class Units:
    """Dead and saturated units, size of the activations, and activations that are not finite, by layer."""

    name = "units"
    needs: frozenset[Need] = frozenset({"activations"})

    def applies_to(self, task: Task | None) -> bool:
        """Return True: no labels are used."""
        return True

    def measure(self, state: State) -> xr.Dataset:
        """Measure every layer in view."""
        layers = list(state.layers)
        statistics = [state.units(layer) for layer in layers]
        dead = [dead_share(state.features(layer)) for layer in layers]
        return xr.Dataset(
            {
                "activation_rms": variable(
                    [s.rms for s in statistics], ["layer"], long_name="root mean square activation"
                ),
                "dead_share": variable(
                    dead,
                    ["layer"],
                    long_name="share of units with one and the same output for every probe example",
                ),
                "saturated_share": variable(
                    [s.saturated_share for s in statistics],
                    ["layer"],
                    long_name="share of units with 90 % of their activations within 5 % of an edge of a bounded range",
                ),
                "nonfinite_share": variable(
                    [s.nonfinite_share for s in statistics],
                    ["layer"],
                    long_name="share of activations that are NaN or infinite",
                ),
            },
            coords={"layer": layers},
        )
