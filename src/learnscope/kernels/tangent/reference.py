"""The slow twin of the tangent kernel: its definition, one backward pass for each example and output, in float64."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from learnscope.kernels.tangent.functional import one_by_one
from learnscope.kernels.tangent.selection import Outputs, Readout, Selected, selected_parameters


def tangent_kernel(
    model: nn.Module, x1: Tensor, x2: Tensor | None = None, *, outputs: Outputs = "all", parameters: Selected = None
) -> Tensor:
    """Return what :func:`learnscope.kernels.tangent_kernel` does, by the definition, in float64."""
    model = copy.deepcopy(model).double()
    names, readout = selected_parameters(model, parameters).names, Readout(outputs)
    rows = [_rows(model, x, readout, names) for x in (x1, x1 if x2 is None else x2)]
    return torch.einsum("ikp,jlp->ijkl" if readout.full else "ikp,jkp->ij", *rows)


def _rows(model: nn.Module, x: Tensor, readout: Readout, names: tuple[str, ...]) -> Tensor:
    x = x.double() if x.is_floating_point() else x
    return torch.cat(list(one_by_one(model, x, readout, names).values()), -1)
