"""Jacobians of whatever parameters no structured path covers, through torch.func, or one backward pass at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from learnscope.kernels.tangent.selection import Readout, evaluated, spread

# Examples on which transformed gradients are compared with those of autograd, and how near they must be, in units of
# the dtype's rounding, relative to the largest of the gradients that are combined.
COMPARED, TOLERANCE = 4, 2e3


def jacobians(
    model: nn.Module, x: Tensor, readout: Readout, names: Sequence[str], known: dict[torch.Size, bool] | None = None
) -> dict[str, Tensor]:
    """Return the Jacobian of each example's scalars with respect to each named parameter, [n, k, size of it].

    Through ``vmap(jacrev(...))``; models that it cannot transform (a fused recurrent network, control flow that looks
    at values) are differentiated by a backward pass for each example and scalar. So are those that it transforms
    wrongly, as PyTorch 2.13 does a ``PReLU`` at the end of as many outputs as there are examples: a random combination
    of the scalars of a few examples is differentiated both ways.

    Args:
        model: the network.
        x: [n, ...] inputs.
        readout: which scalars.
        names: of the parameters.
        known: whether inputs of a shape are transformed rightly, which is looked up and added.

    Cost: n k forward-and-backward passes in either case, and one on four examples if it is not known; memory n k Σ
        sizes.
    """
    if not names:
        return {}
    known = {} if known is None else known
    if known.get(x.shape, True):
        try:
            found = _transformed(model, x, readout, names)
        except (RuntimeError, ValueError, TypeError):
            return one_by_one(model, x, readout, names)
        right = known.get(x.shape) or _are_right(found, model, x, readout)
        if right is not None:  # gradients that are not finite tell nothing
            known[x.shape] = right
        if right is not False:
            return found
    return one_by_one(model, x, readout, names)


def one_by_one(model: nn.Module, x: Tensor, readout: Readout, names: Sequence[str]) -> dict[str, Tensor]:
    """Return the same as :func:`jacobians`, by the definition: a backward pass for each example and scalar."""
    named = dict(model.named_parameters())
    wanted = [named[name] for name in names]
    rows: list[list[Tensor]] = []
    for example in x.split(1):
        with torch.enable_grad():
            scalars = readout(evaluated(model, example))[0]
        for k, scalar in enumerate(scalars):
            found: Sequence[Tensor | None] = [None] * len(wanted)
            if scalar.requires_grad:
                found = torch.autograd.grad(scalar, wanted, retain_graph=k < len(scalars) - 1, allow_unused=True)
            rows.append([torch.zeros_like(p) if g is None else g for p, g in zip(wanted, found, strict=True)])
    columns = zip(*rows, strict=True)
    return {
        name: torch.stack([row.flatten() for row in column]).unflatten(0, (len(x), -1))
        for name, column in zip(names, columns, strict=True)
    }


def call_with(model: nn.Module, tensors: Mapping[str, Tensor], *arguments: Any) -> Any:
    """Call a model with other tensors in the place of its parameters and buffers, under all names that these have.

    That is ``torch.func.functional_call``, but for modules that are registered under several names: it would exchange
    their tensors as often, put back the wrong ones, and so leave the model with tensors that are lent.
    """
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    given = {id(own): tensors[name] for name, own in named if name in tensors}
    holders = {name: id(module) for name, module in model.named_modules(remove_duplicate=False)}
    lent: dict[tuple[int, str], tuple[str, Tensor]] = {}
    for name, own in named:
        holder, _, place = name.rpartition(".")
        if id(own) in given:
            lent.setdefault((holders[holder], place), (name, given[id(own)]))
    return functional_call(model, dict(lent.values()), arguments, tie_weights=False)


def _transformed(model: nn.Module, x: Tensor, readout: Readout, names: Sequence[str]) -> dict[str, Tensor]:
    named = dict(model.named_parameters())
    varied = {name: named[name].detach() for name in names}
    fixed = {name: p.detach() for name, p in named.items() if name not in varied}
    fixed |= dict(model.named_buffers())

    def scalars(parameters: dict[str, Tensor], example: Tensor) -> Tensor:
        return readout(call_with(model, parameters | fixed, example.clone()[None]))[0]

    with sdpa_kernel(SDPBackend.MATH):  # the fused attention cannot be transformed
        found = vmap(jacrev(scalars), (None, 0))(varied, x)
    return {name: each.flatten(2) for name, each in found.items()}


def _are_right(found: Mapping[str, Tensor], model: nn.Module, x: Tensor, readout: Readout) -> bool | None:
    """Return whether Jacobians [n, k, sizes] of some examples combine to the gradients of autograd.

    None where these are not finite.
    """
    places = spread(len(x), COMPARED)
    with torch.enable_grad():
        scalars = readout(evaluated(model, x[places]))
    weights = torch.randn(scalars.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(scalars)
    named = dict(model.named_parameters())
    wanted: Sequence[Tensor | None] = [None] * len(found)
    if scalars.requires_grad:
        wanted = torch.autograd.grad(scalars, [named[name] for name in found], weights, allow_unused=True)
    if not all(gradient is None or bool(torch.isfinite(gradient).all()) for gradient in wanted):
        return None
    return all(
        _combine_to(jacobian if len(x) == len(places) else jacobian[places], weights, gradient)
        for jacobian, gradient in zip(found.values(), wanted, strict=True)
        if jacobian.numel()
    )


def _combine_to(jacobian: Tensor, weights: Tensor, gradient: Tensor | None) -> bool:
    """Return whether Σ w_nk J_nk of [n, k] and [n, k, size] is a gradient up to rounding."""
    combined = torch.einsum("nk,nkp->p", weights, jacobian)
    gap = combined if gradient is None else combined.sub_(gradient.flatten())
    scale = float(weights.abs().sum()) * max(map(abs, map(float, torch.aminmax(jacobian))))
    return float(gap.abs().amax()) <= TOLERANCE * torch.finfo(jacobian.dtype).eps * scale
