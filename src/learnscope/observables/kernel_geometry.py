"""The tangent kernel through training: how far it moved, how it spreads, whether it turned towards the labels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import xarray as xr
from torch import Tensor

from learnscope.observables.alignment import alignment
from learnscope.observables.kernel_movement import kernel_change, kernel_distance, kernel_velocity
from learnscope.observables.observable import Kernels, Need, State, Task, variable
from learnscope.observables.spectra import effective_rank

MOST_EIGENVALUES = 10
FORT = "Fort et al. 2020 (arXiv:2010.15110)"
CORTES = "Cortes, Mohri, Rostamizadeh 2012"
CRISTIANINI = "Cristianini et al. 2002"
MOVEMENT = {
    "distance": ("1 − cosine between the tangent kernel and its initial one", FORT),
    "change": ("change of the tangent kernel, relative to its initial norm", "Chizat, Oyallon, Bach 2019"),
    "trace": ("mean squared gradient of an example's outputs, the kernel's trace over the examples", ""),
    "effective_rank": ("effective rank of the tangent kernel, exp(H(λ/Σλ))", "Roy, Vetterli 2007, definition 1"),
}
ALIGNMENT = {
    "alignment": ("alignment of the tangent kernel with the labels", CRISTIANINI),
    "centred_alignment": ("alignment of the centred tangent kernel with the centred labels", CORTES),
}


def eigenvalues(kernels: Tensor) -> Tensor:
    """Return the eigenvalues of Gram matrices over the number of examples, largest first: [..., n] float64.

    So they are those of the kernel as an operator on the distribution that the examples are from, and sum to the mean
    of K(x, x). NaN where a kernel is not finite.

    Examples:
        >>> eigenvalues(torch.diag(torch.tensor([2.0, 6.0]))).tolist()
        [3.0, 1.0]
    """
    finite = torch.isfinite(kernels).all(-1).all(-1)
    safe = torch.where(finite[..., None, None], kernels, 0.0).double()
    values = torch.linalg.eigvalsh(safe).clamp(min=0).flip(-1) / kernels.shape[-1]
    return torch.where(finite[..., None], values, torch.nan)


class KernelGeometry:
    """Movement, speed, spectrum and alignment of the tangent kernel, of the network and by layer.

    Missing but at close looks, when the step has quadrupled or 1,000 have passed, and at the end. The kernel is that
    of one fixed combination of the outputs, on a part of the probe that holds its classes in equal numbers.
    """

    name = "tangent_kernel"
    needs: frozenset[Need] = frozenset({"kernel"})

    def applies_to(self, task: Task | None) -> bool:
        """Return True: only alignments need labels, and are left out without."""
        return True

    def measure(self, state: State) -> xr.Dataset:
        """Measure on the kernels of one step."""
        kernels = state.kernels
        y = None if state.task is None else state.y[kernels.examples]
        values = {} if kernels.now is None else self._measured(kernels, kernels.now, y)
        described = MOVEMENT | (ALIGNMENT if y is not None else {})
        m, layers = len(kernels.examples), list(kernels.layers)
        places, top = kernels.examples.tolist(), min(MOST_EIGENVALUES, m)
        variables = {}
        for name, (long_name, source) in described.items():
            value = values.get(name, torch.full((1 + len(layers),), torch.nan, dtype=torch.float64))
            of_layer = f"{long_name}, of the layer's part"
            variables[f"kernel_{name}"] = variable(value[0], long_name=long_name, source=source)
            variables[f"layer_kernel_{name}"] = variable(value[1:], ["kernel_layer"], long_name=of_layer, source=source)
        variables["kernel_velocity"] = variable(
            values.get("velocity", torch.tensor(torch.nan)).double(),
            long_name="distance of the tangent kernel from that of the look before, for each step between",
            units="1/step",
            source=FORT,
        )
        variables["kernel_eigenvalue"] = variable(
            values.get("eigenvalues", torch.full((top,), torch.nan, dtype=torch.float64)),
            ["kernel_component"],
            long_name="eigenvalue of the tangent kernel over the number of examples",
        )
        variables["kernel"] = variable(
            values.get("kernel", torch.full((m, m), torch.nan)),
            ["kernel_example", "other_kernel_example"],
            long_name="tangent kernel of a fixed combination of outputs",
        )
        coords = {"kernel_layer": layers, "kernel_example": places, "other_kernel_example": places}
        return xr.Dataset(variables, coords=coords)

    def _measured(self, kernels: Kernels, now: Tensor, y: Tensor | None) -> Mapping[str, Tensor]:
        """Return quantities of the network first and then of each layer, [1 + layers], and those of the network."""
        both, start = (torch.cat([part.sum(0, keepdim=True), part]) for part in (now, kernels.initial))
        spectra = eigenvalues(both)
        values = {
            "distance": kernel_distance(both, start),
            "change": kernel_change(both, start),
            "trace": spectra.sum(-1),
            "effective_rank": effective_rank(spectra),
            "eigenvalues": spectra[0, :MOST_EIGENVALUES],
            "kernel": both[0].float(),
        }
        if y is not None:
            values |= {"alignment": alignment(both, y), "centred_alignment": alignment(both, y, centred=True)}
        if kernels.previous is not None and kernels.pause:
            values["velocity"] = kernel_velocity(values["kernel"], kernels.previous, kernels.pause)
        return values
