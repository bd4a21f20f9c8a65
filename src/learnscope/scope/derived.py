"""What can be read off a whole record: learning times, and similarities between steps and between layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from learnscope.errors import InputError, nearest_names
from learnscope.observables.canonical_correlation import Basis, basis_cka, pwcca, svcca
from learnscope.observables.canonical_influence import pwcca_error, svcca_error
from learnscope.observables.influence import cka_error
from learnscope.observables.kernel_modes import mode_learning_speeds
from learnscope.observables.learning_time import class_learning_times, forgetting_events, learning_times
from learnscope.observables.observable import variable
from learnscope.scope.isolation import plainly
from learnscope.threads import alone_if_little

Measure = Literal["cka", "svcca", "pwcca"]
Comparison = Callable[[Basis, Basis], Tensor]
MEASURES: dict[str, tuple[Comparison, str, str]] = {
    "cka": (basis_cka, "debiased linear CKA", "Kornblith et al. 2019 (arXiv:1905.00414); Nguyen et al. 2021"),
    "svcca": (svcca, "SVCCA", "Raghu et al. 2017 (arXiv:1706.05806)"),
    "pwcca": (pwcca, "PWCCA", "Morcos et al. 2018 (arXiv:1806.05759)"),
}
ERRORS: dict[str, tuple[Comparison, str]] = {
    "cka": (cka_error, ""),
    "svcca": (svcca_error, ", the principal components being given"),
    "pwcca": (pwcca_error, ", the principal components being given"),
}


def with_derived(measured: xr.Dataset) -> xr.Dataset:
    """Return the measured quantities together with those that hang on the whole history.

    Added where their ingredients are there: ``learning_time`` and ``forgetting_events`` by example,
    ``class_learning_time`` by class, and ``<measure>_to_final`` by step and layer for CKA, SVCCA and PWCCA, with
    ``<measure>_to_final_standard_error``; ``mode_learning_speed`` by component of the initial tangent kernel.
    """
    with plainly(), alone_if_little(_multiplications(measured)):
        learned = measured.assign(_learning(measured)).assign(_learning_of_modes(measured))
        return learned.assign(_similarity_to_final(measured))


def _multiplications(data: xr.Dataset) -> int:
    """Return how many it takes to compare a layer's bases at all steps with one of them."""
    sizes = data.sizes
    return sizes["step"] * sizes.get("example", 0) * sizes.get("component", 0) ** 2


def _learning(data: xr.Dataset) -> dict[str, xr.Variable]:
    if "correct" not in data or not data.sizes["step"]:
        return {}
    looked = (data["correct"].values >= 0).all(axis=1)  # a measurement that is missing says nothing
    correct = torch.tensor(data["correct"].values[looked] == 1)
    steps = torch.tensor(data["step"].values[looked])
    y = torch.tensor(data["label"].values).long()
    n_classes = int(data.attrs.get("n_classes", int(y.max()) + 1))
    common = {"units": "steps"}
    return {
        "learning_time": variable(
            learning_times(correct, steps),
            ["example"],
            long_name="first measured step from which the example stays correct (infinite if it does not)",
            **common,
        ),
        "forgetting_events": variable(
            forgetting_events(correct),
            ["example"],
            long_name="times that the example turned from correct to wrong between measurements",
            source="Toneva et al. 2019 (arXiv:1812.05159)",
        ),
        "class_learning_time": variable(
            class_learning_times(correct, steps, y, n_classes),
            ["class"],
            long_name="first measured step from which 90 % of the class stay correct (infinite if not)",
            **common,
        ),
    }


def _learning_of_modes(data: xr.Dataset) -> dict[str, xr.Variable]:
    if "mode_residual" not in data or not data.sizes["step"]:
        return {}
    residuals, steps = (torch.tensor(data[name].values) for name in ("mode_residual", "step"))
    return {
        "mode_learning_speed": variable(
            mode_learning_speeds(residuals, steps),
            ["kernel_component"],
            long_name="1 over the first measured step from which the squared residual along the component of the "
            "initial tangent kernel stays at half or less (0 if it does not)",
            units="1/step",
        )
    }


def _similarity_to_final(data: xr.Dataset) -> dict[str, xr.Variable]:
    if "basis" not in data or not data.sizes["step"]:
        return {}
    shape = (data.sizes["step"], data.sizes["layer"])
    values, errors = ({name: np.full(shape, np.nan) for name in MEASURES} for _ in range(2))
    for k in range(data.sizes["layer"]):
        history = _bases(data.isel(layer=k))  # of one layer at a time, for memory's sake
        for name in MEASURES:
            values[name][:, k] = _against(MEASURES[name][0], history, -1)
            errors[name][:, k] = _against(ERRORS[name][0], history, -1)
    variables: dict[str, xr.Variable] = {}
    for name, (_, long_name, source) in MEASURES.items():
        variables[f"{name}_to_final"] = variable(
            values[name],
            ["step", "layer"],
            long_name=f"similarity to the layer's own last measured state ({long_name})",
            source=source,
        )
        variables[f"{name}_to_final_standard_error"] = variable(
            errors[name],
            ["step", "layer"],
            long_name=f"standard error of the similarity by {name.upper()}{ERRORS[name][1]}",
        )
    return variables


def _against(function: Comparison, stack: Basis, index: int) -> np.ndarray:
    """Compare every basis of a stack with one of them; NaN where activations were not finite."""
    finite = torch.isfinite(stack.singular_values).all(-1)
    values = torch.full(finite.shape, torch.nan, dtype=torch.float64)
    if finite[index] and finite.any():
        one = Basis(*(part[index] for part in _parts(stack)))
        values[finite] = function(Basis(*(part[finite] for part in _parts(stack))), one)
    return values.numpy()


def _parts(basis: Basis) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return basis.vectors, basis.singular_values, basis.loadings, basis.explained


def _bases(data: xr.Dataset) -> Basis:
    names = ("basis", "basis_scale", "loading", "basis_explained")
    return Basis(*(torch.tensor(data[name].values) for name in names))


def similarity(
    data: xr.Dataset, *, between: Literal["layers", "steps"] = "layers", measure: Measure = "cka"
) -> xr.DataArray:
    """Return the similarity of every layer to every other at each step, or of every step to every other.

    Args:
        data: a record's data with ``basis``, ``basis_scale`` and ``loading``.
        between: "layers" gives [step, layer, other_layer]; "steps" gives [layer, step, other_step].
        measure: "cka" (debiased, linear), "svcca", or "pwcca" (not symmetric: weighted by the first).

    Raises:
        InputError: if the record has no bases, or the measure is unknown.

    Cost: O(n r²) for each pair, r ≤ 128 components.
    """
    if measure not in MEASURES:
        raise InputError(f"measure is {measure!r}: choose among {nearest_names(measure, MEASURES)}.")
    if "basis" not in data:
        raise InputError("the record has no bases: measure with the observable PrincipalComponents.")
    function, long_name, source = MEASURES[measure]
    along, outer = ("layer", "step") if between == "layers" else ("step", "layer")
    size = data.sizes[along]
    values = np.full((data.sizes[outer], size, size), np.nan)
    with plainly(), alone_if_little(_multiplications(data)):
        for i in range(data.sizes[outer]):
            stack = _bases(data.isel({outer: i}))
            for j in range(size):
                values[i, :, j] = _against(function, stack, j)
    return xr.DataArray(
        values,
        dims=(outer, along, f"other_{along}"),
        coords={outer: data[outer].values, along: data[along].values, f"other_{along}": data[along].values},
        name=measure,
        attrs={"long_name": long_name, "units": "1", "source": source},
    )
