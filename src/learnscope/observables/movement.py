"""Movement of the weights: how far from initialisation, in which direction, how much since the last look."""

from __future__ import annotations

import torch
import xarray as xr
from torch import Tensor

from learnscope.observables.observable import Need, State, Task, current_parameters, variable

SOURCE = "Chizat, Oyallon, Bach 2019 (arXiv:1812.07956)"


def relative_distance(weight: Tensor, initial: Tensor) -> Tensor:
    """Return ‖W - W₀‖ / ‖W₀‖ (Frobenius); infinite for a weight that left zero, NaN if it stayed there.

    Args:
        weight: any shape and dtype; computed in float64, complex numbers as pairs of real ones.
        initial: the same shape.

    Examples:
        >>> float(relative_distance(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 0.0])).round(decimals=6))
        1.333333
    """
    return _norm(_real(weight) - _real(initial)) / _norm(_real(initial))


def cosine(weight: Tensor, initial: Tensor) -> Tensor:
    """Return ⟨W, W₀⟩ / (‖W‖ ‖W₀‖); NaN if either is zero.

    Examples:
        >>> float(cosine(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 1.0])))
        1.0
    """
    a, b = _real(weight).flatten(), _real(initial).flatten()
    return (torch.dot(a, b) / (_norm(a) * _norm(b))).clamp(-1, 1)


def _real(weight: Tensor) -> Tensor:
    return (torch.view_as_real(weight.resolve_conj()) if weight.is_complex() else weight).double()


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x)


class Movement:
    """Relative distance and cosine to initialisation, and the update since the previous measurement.

    The update is the whole change between two measurements, over however many optimiser steps lie between;
    it is missing at the first measurement and at the first one after a run was taken up again.
    """

    name = "movement"
    needs: frozenset[Need] = frozenset({"parameters"})

    def applies_to(self, task: Task | None) -> bool:
        """Return True: no labels are used."""
        return True

    def measure(self, state: State) -> xr.Dataset:
        """Measure every parameter."""
        previous = state.previous_parameters
        now, start = current_parameters(state), state.initial_parameters
        names = [name for name, value in start.items() if value.numel()]
        updates = [
            float("nan") if previous is None else float(_norm(_real(now[name]) - _real(previous[name])))
            for name in names
        ]
        return xr.Dataset(
            {
                "weight_distance": variable(
                    [float(relative_distance(now[name], start[name])) for name in names],
                    ["parameter"],
                    long_name="distance from initialisation, relative to its norm",
                    source=SOURCE,
                ),
                "weight_cosine": variable(
                    [float(cosine(now[name], start[name])) for name in names],
                    ["parameter"],
                    long_name="cosine between the weight and its initial value",
                ),
                "weight_norm": variable(
                    [float(_norm(_real(now[name]))) for name in names],
                    ["parameter"],
                    long_name="Frobenius norm of the weight",
                ),
                "update_norm": variable(
                    updates, ["parameter"], long_name="norm of the change since the previous measurement"
                ),
            },
            coords={"parameter": names},
        )
