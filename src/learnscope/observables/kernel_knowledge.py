"""What the principal components of the tangent kernel know of the labels, and how fast its modes are learned."""

from __future__ import annotations

import torch
import xarray as xr
from torch import Tensor

from learnscope.estimate import Estimate
from learnscope.kernels.components import kernel_pca
from learnscope.observables.kernel_modes import mode_residuals, residual
from learnscope.observables.label_components import (
    NEIGHBOURS,
    LabelComponents,
    component_information,
    label_components,
)
from learnscope.observables.observable import Need, State, Task, estimate_variables, variable

MOST_COMPONENTS = 10
PACCOLAT = "Paccolat, Petrini, Geiger, Tyloo, Wyart 2021 (arXiv:2007.11471)"


class KernelKnowledge:
    """Shares of the label in the leading components of the tangent kernel, and their information about the class.

    Missing where the kernels are not looked at. The residual along the modes of the initial kernel is measured at
    every step.
    """

    name = "kernel_components"
    needs: frozenset[Need] = frozenset({"kernel", "outputs"})

    def applies_to(self, task: Task | None) -> bool:
        """Return whether there are labels."""
        return task is not None

    def measure(self, state: State) -> xr.Dataset:
        """Measure on the kernels of one step."""
        kernels, task = state.kernels, state.task or "regression"
        y, outputs = state.y[kernels.examples], state.outputs[kernels.examples]
        k = min(MOST_COMPONENTS, len(kernels.examples))
        missing = torch.full((k,), torch.nan, dtype=torch.float64)
        found = _components(kernels.now, y, k)
        known = missing if found is None else torch.where(found.eigenvalues > 0, 0.0, torch.nan).double()
        variables = {
            "label_share": variable(
                missing if found is None else found.shares + known,
                ["kernel_component"],
                long_name="share of the label along the component of the tangent kernel, ω²",
                source=PACCOLAT,
            ),
            "label_share_cumulative": variable(
                missing if found is None else found.cumulative + known,
                ["kernel_component"],
                long_name="share of the label in this and the larger components of the tangent kernel",
                source=PACCOLAT,
            ),
            "mode_residual": variable(
                _residuals(kernels.initial, residual(outputs, y, task), k),
                ["kernel_component"],
                long_name="squared residual of the network along the component of the initial tangent kernel",
            ),
        }
        if task == "classification":
            variables |= estimate_variables(
                "component_information",
                _information(found, y, missing),
                ["kernel_component"],
                long_name="information between the component of the tangent kernel and the class",
                units="bits",
                source=PACCOLAT,
            )
        return xr.Dataset(variables)


def _components(kernels: Tensor | None, y: Tensor, k: int) -> LabelComponents | None:
    whole = None if kernels is None else kernels.sum(0)
    return label_components(whole, y, k) if whole is not None and bool(torch.isfinite(whole).all()) else None


def _residuals(initial: Tensor, residuals: Tensor, k: int) -> Tensor:
    whole = initial.sum(0)
    if not bool(torch.isfinite(whole).all()):
        return torch.full((k,), torch.nan, dtype=torch.float64)
    return mode_residuals(kernel_pca(whole, k, centred=False).components, residuals)


def _information(found: LabelComponents | None, y: Tensor, missing: Tensor) -> Estimate:
    """Return the information of each component, missing where a class has too few examples for it."""
    if found is None or int(y.bincount()[y].min()) <= NEIGHBOURS:
        doubtful = torch.zeros(missing.shape, dtype=torch.bool)
        return Estimate(missing, missing, torch.full(missing.shape, len(y)), doubtful, "not estimated")
    return component_information(found.components, y)
