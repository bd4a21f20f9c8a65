"""Single units: which are dead, which are saturated, and how large the activations are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import xarray as xr
from torch import Tensor

from learnscope.observables.observable import Need, State, Task, variable

SATURATION_MARGIN = 0.05  # share of the activation's range that counts as its edge
SATURATED = 0.9  # share of a unit's activations at an edge from which the unit counts as saturated


@dataclass(frozen=True, slots=True)
class UnitStatistics:
    """Statistics of each unit over all examples and positions.

    Attributes:
        minimum: [units] smallest finite activation.
        maximum: [units] largest finite activation.
        square_sum: Σ a² over the finite activations of all units.
        saturated: [units] number of activations at an edge of the range; None for an unbounded layer.
        nonfinite: number of activations that are NaN or infinite.
        count: number of activations for each unit (examples times positions).
    """

    minimum: Tensor
    maximum: Tensor
    square_sum: float
    saturated: Tensor | None
    nonfinite: int
    count: int

    @property
    def rms(self) -> float:
        """Root mean square activation √(Σ a² / N) over the finite activations of all units."""
        finite = self.count * len(self.minimum) - self.nonfinite
        return (self.square_sum / finite) ** 0.5 if finite else float("nan")

    @property
    def dead_share(self) -> float:
        """Share of the units whose activation is the same for every example and position."""
        return float((self.minimum >= self.maximum).double().mean())

    @property
    def saturated_share(self) -> float:
        """Share of the units with 90 % of their activations at an edge of the range; NaN for an unbounded layer."""
        if self.saturated is None or not self.count:
            return float("nan")
        return float((self.saturated >= SATURATED * self.count).double().mean())


def unit_statistics(activations: Tensor, bounds: tuple[float, float] | None = None) -> UnitStatistics:
    """Summarise the activations of each unit.

    Args:
        activations: [n, units, positions], any floating dtype; NaN and infinities are counted and left out.
        bounds: lower and upper limit of the activation function, where it has both; an activation counts as
            saturated within 5 % of the range from either limit.

    Returns:
        Statistics on the device of ``activations``.

    Cost: three passes over the activations; no copy unless some are not finite.

    Examples:
        >>> h = torch.tensor([[0.0, 1.0], [0.0, 3.0]]).unsqueeze(-1)
        >>> statistics = unit_statistics(h)
        >>> statistics.dead_share, round(statistics.rms**2, 6)
        (0.5, 2.5)
    """
    n, units, positions = activations.shape
    values = activations.detach()
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    square_sum = float(torch.linalg.vector_norm(values)) ** 2
    nonfinite = 0
    low = high = values
    if not math.isfinite(square_sum):
        finite = torch.isfinite(values)
        nonfinite = int((~finite).sum())
        low = values.masked_fill(~finite, torch.inf)
        high = values.masked_fill(~finite, -torch.inf)
        square_sum = float(values.double().masked_fill(~finite, 0).square().sum())
    return UnitStatistics(
        minimum=low.amin(2).amin(0),
        maximum=high.amax(2).amax(0),
        square_sum=square_sum,
        saturated=None if bounds is None else _count_saturated(values, bounds),
        nonfinite=nonfinite,
        count=n * positions,
    )


def _count_saturated(values: Tensor, bounds: tuple[float, float]) -> Tensor:
    lower, upper = bounds
    edge = SATURATION_MARGIN * (upper - lower)
    return ((values <= lower + edge) | (values >= upper - edge)).sum(dim=(0, 2))


def merged(parts: list[UnitStatistics]) -> UnitStatistics:
    """Merge the statistics of several chunks of examples into those of all examples."""
    saturated = [part.saturated for part in parts if part.saturated is not None]
    return UnitStatistics(
        minimum=torch.stack([part.minimum for part in parts]).amin(0),
        maximum=torch.stack([part.maximum for part in parts]).amax(0),
        square_sum=sum(part.square_sum for part in parts),
        saturated=torch.stack(saturated).sum(0) if saturated else None,
        nonfinite=sum(part.nonfinite for part in parts),
        count=sum(part.count for part in parts),
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
        nonfinite = [s.nonfinite / max(s.count * len(s.minimum), 1) for s in statistics]
        return xr.Dataset(
            {
                "activation_rms": variable(
                    [s.rms for s in statistics], ["layer"], long_name="root mean square activation"
                ),
                "dead_share": variable(
                    [s.dead_share for s in statistics],
                    ["layer"],
                    long_name="share of units with one and the same output for every probe example",
                ),
                "saturated_share": variable(
                    [s.saturated_share for s in statistics],
                    ["layer"],
                    long_name="share of units with 90 % of their activations within 5 % of an edge of a bounded range",
                ),
                "nonfinite_share": variable(
                    nonfinite, ["layer"], long_name="share of activations that are NaN or infinite"
                ),
            },
            coords={"layer": layers},
        )
