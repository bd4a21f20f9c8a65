"""Lazy or feature learning: does training stay where the network is linear in its parameters?"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import xarray as xr
from torch import Tensor

from learnscope.errors import InputError
from learnscope.observables.kernel_movement import kernel_change
from learnscope.observables.movement import relative_distance
from learnscope.observables.observable import Kernels, Need, State, Task, current_parameters, variable

SMALL, LARGE = 0.2, 0.5
TELLING = 1000
LAZY, BETWEEN, FEATURE = 0.0, 0.5, 1.0
SOURCE = "Chizat, Oyallon, Bach 2019 (arXiv:1812.07956); the bounds of the rule are ours"


def linearisation_gap(outputs: Tensor, linearised: Tensor, initial: Tensor) -> Tensor:
    """Return ‖f − f_lin‖ / ‖f − f₀‖: the part of what the network has learned that its linearisation misses.

    f_lin(x) = f₀(x) + ∂f₀(x)/∂θ · (θ − θ₀) is the first-order expansion around the initial parameters, taken at the
    parameters that the network has now. The gap is 0 for a network that is linear in its parameters, tends to 0 in the
    lazy regime, and is of order one beyond it.

    Args:
        outputs: [n, outputs] f.
        linearised: the same shape, f_lin.
        initial: the same shape, f₀.

    Returns:
        [] float64; NaN where the outputs have not changed by a thousand times their rounding.

    Raises:
        InputError: for different shapes.

    Examples:
        >>> one, two = torch.ones(3, 1), 2 * torch.ones(3, 1)
        >>> float(linearisation_gap(outputs=3 * one, linearised=two, initial=one))
        0.5
    """
    if not outputs.shape == linearised.shape == initial.shape:
        shapes = [list(each.shape) for each in (outputs, linearised, initial)]
        raise InputError(f"outputs of the shapes {shapes} were given, but all three must be of the same examples")
    f, lin, start = outputs.double(), linearised.double(), initial.double()
    missed, change, size = (torch.linalg.vector_norm(part) for part in (f - lin, f - start, f))
    rounding = torch.finfo(outputs.dtype).eps * size
    return torch.where(change > TELLING * rounding, missed / change, torch.nan)


def joint_distance(pairs: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Return ‖θ − θ₀‖ / ‖θ₀‖ of several weights taken as one vector: [] float64, infinite if it left zero.

    Args:
        pairs: each weight as it is now and as it was.

    Examples:
        >>> start = torch.tensor([3.0, 0.0])
        >>> round(float(joint_distance([(torch.tensor([3.0, 4.0]), start), (torch.zeros(2), torch.zeros(2))])), 6)
        1.333333
    """
    moved, size = torch.zeros(2, dtype=torch.float64)
    for now, initial in pairs:
        wide = torch.promote_types(initial.dtype, torch.float64)
        start = initial.detach().to(wide)
        moved = moved + torch.linalg.vector_norm(now.detach().to(wide) - start).square().cpu()
        size = size + torch.linalg.vector_norm(start).square().cpu()
    return (moved / size).sqrt()


def regime(kernel_change: Tensor, weight_distance: Tensor, gap: Tensor | None = None) -> Tensor:
    """Tell lazy from feature learning: 0 for lazy, 1 for feature, 0.5 in between.

    Rule: lazy if the relative change of the tangent kernel, ‖K − K₀‖ / ‖K₀‖, the relative movement of the weights,
    ‖θ − θ₀‖ / ‖θ₀‖, and the gap to the linearisation are all at most 0.2. Feature if the linearisation misses half or
    more of what was learned, and the kernel has changed by more than 0.2, as it then must; without a gap, if the kernel
    has changed by half or more. As networks become lazier (wider, or with a larger output scale) all three tend to 0,
    otherwise they are of order one: 0.2 and 0.5 stand for "small" and "of order one". Movement of the weights alone
    does not make the feature regime, nor does it take much of it: wide networks learn features by small movements.

    Args:
        kernel_change: [...] see :func:`learnscope.observables.kernel_movement.kernel_change`.
        weight_distance: [...] see :func:`joint_distance`; NaN, of weights that stay zero, counts as 0.
        gap: [...] see :func:`linearisation_gap`; None leaves it out of the rule, as for the part of a single layer.

    Returns:
        [...] float64; NaN where the kernel or the gap is unknown.

    Examples:
        >>> float(regime(torch.tensor(0.1), torch.tensor(0.01), torch.tensor(0.05)))
        0.0
        >>> float(regime(torch.tensor(2.0), torch.tensor(0.01), torch.tensor(0.7)))
        1.0
    """
    known = torch.isfinite(kernel_change) if gap is None else torch.isfinite(kernel_change) & torch.isfinite(gap)
    nonlinear = torch.zeros_like(kernel_change) if gap is None else gap
    lazy = (kernel_change <= SMALL) & (torch.nan_to_num(weight_distance) <= SMALL) & (nonlinear <= SMALL)
    feature = kernel_change >= LARGE if gap is None else (gap >= LARGE) & (kernel_change > SMALL)
    value = torch.full(kernel_change.shape, BETWEEN, dtype=torch.float64, device=kernel_change.device)
    value[lazy], value[feature], value[~known] = LAZY, FEATURE, torch.nan
    return value


class Regime:
    """Weight movement, the gap to the linearisation, and what they and the kernel's change say of the regime.

    Missing where the kernels are not looked at. The gap is taken on every other example of the kernels.
    """

    name = "regime"
    needs: frozenset[Need] = frozenset({"kernel", "parameters"})

    def applies_to(self, task: Task | None) -> bool:
        """Return True: no labels are used."""
        return True

    def measure(self, state: State) -> xr.Dataset:
        """Measure on one state."""
        kernels = state.kernels
        names = list(kernels.layers)
        values = torch.full((3, 1 + len(names)), torch.nan, dtype=torch.float64)
        gap = change = torch.tensor(torch.nan, dtype=torch.float64)
        if kernels.now is not None:
            expansion = state.linearisation
            if expansion is not None:
                gap = linearisation_gap(*expansion)
                change = relative_distance(expansion.outputs, expansion.initial)
            values = _judged(kernels, kernels.now, state, None if expansion is None else gap)
        described = {
            "weight_distance": ("distance of the weights from initialisation, relative to their norm", ""),
            "regime": ("regime: 0 lazy, 1 feature learning, 0.5 in between", SOURCE),
        }
        variables = {}
        for row, (name, (long_name, source)) in zip(values[1:], described.items(), strict=True):
            variables[f"network_{name}"] = variable(row[0], long_name=long_name, source=source)
            of_layer = f"{long_name}, by layer"
            variables[f"layer_{name}"] = variable(row[1:], ["kernel_layer"], long_name=of_layer, source=source)
        variables["linearisation_gap"] = variable(
            gap,
            long_name="share of the change of the outputs that the linearisation at the start misses",
            source=SOURCE,
        )
        variables["output_change"] = variable(change, long_name="change of the outputs, relative to their initial norm")
        return xr.Dataset(variables, coords={"kernel_layer": names})


def _judged(kernels: Kernels, now: Tensor, state: State, gap: Tensor | None) -> Tensor:
    """Return kernel change, weight distance and regime of the network first and then of each layer: [3, 1 + layers]."""
    weights = current_parameters(state)
    both, start = (torch.cat([part.sum(0, keepdim=True), part]) for part in (now, kernels.initial))
    change = kernel_change(both, start).cpu()
    groups = [[name for names in kernels.layers.values() for name in names], *kernels.layers.values()]
    initial = state.initial_parameters
    moved = torch.stack([joint_distance((weights[name], initial[name]) for name in group) for group in groups])
    whole = regime(change[:1], moved[:1], None if gap is None else gap.cpu().reshape(1))
    return torch.stack([change, moved, torch.cat([whole, regime(change[1:], moved[1:])])])
