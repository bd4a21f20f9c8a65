"""Products of a network's Jacobian with vectors, without the Jacobian: J t and Jᵀ u."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from learnscope.kernels.tangent.functional import call_with
from learnscope.kernels.tangent.selection import Readout, evaluated

Tensors = dict[str, Tensor]
Function = Callable[[Tensors], Tensor]
Way = Literal["forward", "twice backward", "by rows"]

PROOF_EXAMPLES = 2
PROOF_TOLERANCE = 2e3  # in units of the dtype's rounding, relative to ‖Jᵀu‖ ‖t‖


def transposed_product(model: nn.Module, x: Tensor, readout: Readout, names: Sequence[str], u: Tensor) -> Tensors:
    """Return Jᵀ u for the examples x, by parameter: Σ_nk u_nk ∂f_k(x_n)/∂θ.

    Args:
        model: the network.
        x: [n, ...] inputs.
        readout: which scalars of each example.
        names: of the parameters.
        u: [n, scalars].

    Cost: one forward and one backward pass.
    """
    named = dict(model.named_parameters())
    wanted = [named[name] for name in names]
    with torch.enable_grad():
        total = (readout(evaluated(model, x.clone())) * u).sum()  # some models write over their inputs
    return dict(zip(names, _gradients(total, wanted), strict=True))


def product(model: nn.Module, x: Tensor, readout: Readout, t: Mapping[str, Tensor], way: Way) -> Tensor:
    """Return J t for the examples x, [n, scalars], for a tangent t of the parameters that are named in it.

    Cost: see :func:`directional_derivative`.
    """
    function, at = _as_function(model, x, readout, list(t))
    with torch.no_grad():
        return directional_derivative(function, at, t, way)[1].detach()


def directional_derivative(
    function: Function, at: Mapping[str, Tensor], along: Mapping[str, Tensor], way: Way
) -> tuple[Tensor, Tensor]:
    """Return a function's values and their derivative in a direction, by which that can be differentiated again.

    Args:
        function: of tensors by name; returns one tensor.
        at: where.
        along: the direction t, of the same names and shapes.
        way: "forward" differentiates along with the values. "twice backward" serves functions without forward mode:
            Jᵀ u is linear in u, and the derivative of ⟨Jᵀ u, t⟩ by u is J t. "by rows" takes a backward pass for each
            value, for functions that can be differentiated only once.

    Cost: in forward passes, 2 to 4 forward, 7 to 10 twice backward, 2 for each value by rows.
    """
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in along.values())
    with _differentiable_attention():
        if way == "forward":
            load_forward_mode()
            with _nothing_recomputed() if keep else nullcontext():
                found = jvp(function, (dict(at),), (dict(along),))
            return found[0], found[1]
        with torch.enable_grad():
            leaves = {name: tensor.detach().requires_grad_() for name, tensor in at.items()}
            values = function(leaves)
            if not values.requires_grad:
                return values, torch.zeros_like(values)
            derive = _twice_backward if way == "twice backward" else _by_rows
            return values.detach(), derive(values, list(leaves.values()), [along[name] for name in leaves], keep)


def proven_way(model: nn.Module, x: Tensor, readout: Readout, names: Sequence[str]) -> Way:
    """Return the quickest way to J t that :func:`agrees` with Jᵀ on the first examples."""
    function, at = _as_function(model, x[:PROOF_EXAMPLES], readout, names)
    ways: tuple[Way, ...] = ("forward", "twice backward")
    for way in ways:
        if agrees(function, at, way):
            return way
    return "by rows"


def agrees(function: Function, at: Tensors, way: Way) -> bool:
    """Return whether a way works and gives ⟨u, J t⟩ = ⟨Jᵀ u, t⟩ for random u and t.

    That finds operations that cannot be differentiated so, and those that it silently goes wrong for: false rules for
    forward mode, or functions that may be differentiated once only. What is not finite cannot be compared, and passes.
    """
    generator = torch.Generator().manual_seed(0)
    t = {name: _drawn(tensor, generator) for name, tensor in at.items()}
    with torch.enable_grad():
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in at.items()}
        values = function(leaves)
        u = _drawn(values.detach(), generator)
        transposed = _gradients((values * u).sum(), list(leaves.values()))
    truth = sum(float((g * t[name]).sum()) for name, g in zip(leaves, transposed, strict=True))
    size = sum(float(g.norm()) * float(t[name].norm()) for name, g in zip(leaves, transposed, strict=True))
    try:
        with torch.no_grad():
            ours = float((directional_derivative(function, at, t, way)[1] * u).sum())
    except RuntimeError:  # among them NotImplementedError, which forward mode raises
        return False
    return not abs(ours - truth) > PROOF_TOLERANCE * torch.finfo(u.dtype).eps * size


def _as_function(model: nn.Module, x: Tensor, readout: Readout, names: Sequence[str]) -> tuple[Function, Tensors]:
    """Return the scalars of examples x as a function of the named parameters, and what these are now."""
    named = dict(model.named_parameters())
    at = {name: named[name].detach() for name in names}
    fixed = {name: p.detach() for name, p in named.items() if name not in at} | dict(model.named_buffers())

    def scalars(parameters: Tensors) -> Tensor:
        return readout(call_with(model, parameters | fixed, x.clone()))

    return scalars, at


def _gradients(total: Tensor, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    if not total.requires_grad:  # nothing depends on them
        return [torch.zeros_like(each) for each in tensors]
    return torch.autograd.grad(total, tensors, allow_unused=True, materialize_grads=True)


def _twice_backward(values: Tensor, leaves: list[Tensor], along: list[Tensor], keep: bool) -> Tensor:
    u = torch.zeros_like(values, requires_grad=True)
    transposed = torch.autograd.grad(values, leaves, u, create_graph=True, allow_unused=True, materialize_grads=True)
    inner = torch.stack([(g * t).sum() for g, t in zip(transposed, along, strict=True)]).sum()
    return torch.autograd.grad(inner, u, create_graph=keep)[0]


def _by_rows(values: Tensor, leaves: list[Tensor], along: list[Tensor], keep: bool) -> Tensor:
    rows, flat = [], values.flatten().unbind()
    with torch.set_grad_enabled(keep):
        for value in flat:
            row = torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
            rows.append(torch.stack([(g * t).sum() for g, t in zip(row, along, strict=True)]).sum())
        return torch.stack(rows).reshape(values.shape)


def _drawn(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)


@contextmanager
def _differentiable_attention() -> Iterator[None]:
    """Compute attention step by step: its fused kernels and its fast path in eval mode lack such derivatives."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _nothing_recomputed() -> AbstractContextManager[None]:
    """Refuse gradient checkpoints, which cannot be computed again once forward mode is over."""
    return torch.autograd.graph.disable_saved_tensors_hooks("checkpoints are not computed again in forward mode")


@cache
def load_forward_mode() -> None:
    """Let torch load its rules for forward mode without its warning of its own deprecated functions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with forward_ad.dual_level():
            forward_ad.make_dual(torch.zeros(()), torch.zeros(()))
