"""Norms of the gradient of each example: the diagonal of the tangent kernel, without the kernel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from learnscope.errors import BudgetError
from learnscope.kernels.tangent.capture import CalledDifferentlyError
from learnscope.kernels.tangent.contraction import Held, formed
from learnscope.kernels.tangent.layers import Factors
from learnscope.kernels.tangent.plan import Plan, make_plan
from learnscope.kernels.tangent.selection import Readout, Selected


def squared_gradient_norms(model: nn.Module, x: Tensor, readout: Readout, parameters: Selected, budget: int) -> Tensor:
    """Return Σ_k ‖∂f_k(x_n)/∂θ‖² of every example over its scalars, [n].

    Layers that are proven to be sums of products of inputs X and output gradients G contribute
    Σ_k ‖Σ_t X_t ⊗ G_kt‖²; that is Σ_ts (X_t · X_s)(Σ_k G_kt · G_ks), unless forming the sum over positions t first is
    less work. All other parameters go through ``torch.func``.

    Args:
        model: the network, in the dtype of the computation.
        x: [n, ...] inputs.
        readout: which scalars.
        parameters: of which parameters.
        budget: bytes of memory.

    Raises:
        InputError: as :func:`learnscope.kernels.tangent_kernel`.
        BudgetError: if the budget is too small for one example, with the least that works.

    Cost: scalars forward-and-backward passes, and for each layer of a × b weights at t positions the smaller of
        t² (a + scalars b) and scalars t a b multiplications an example.
    """
    general: frozenset[str] = frozenset()
    while True:
        try:
            return _by_plan(make_plan(model, x, readout, parameters, "layerwise", general), model, x, budget)
        except CalledDifferentlyError as found:
            general |= found.layers


def _by_plan(plan: Plan, model: nn.Module, x: Tensor, budget: int) -> Tensor:
    factors = [each for each in plan.block(model, x[:1], 1).values() if isinstance(each, Factors)]
    itemsize = next(model.parameters()).element_size()
    least = plan.working + itemsize * max((_temporary(each) for each in factors), default=0)
    if least > budget:
        raise BudgetError(f"budget={budget:,} bytes is too small for the gradients of one example: give {least:,}.")
    return torch.cat([_norms_of(plan, model, few) for few in x.split(min(len(x), budget // least))])


def _norms_of(plan: Plan, model: nn.Module, x: Tensor) -> Tensor:
    return torch.stack([_squares(each) for each in plan.block(model, x, len(x)).values()]).sum(0)


def _squares(held: Held) -> Tensor:
    """Return Σ_k ‖J_k‖² of one layer, [n]."""
    if isinstance(held, Tensor):
        return held.flatten(1).square().sum(1)
    if held.vocabulary or not _by_positions(held):
        return formed(held).square().sum((1, 2))
    seen = held.dense_inputs()
    inputs = torch.einsum("ngta,ngsa->ngts", seen, seen)
    gradients = torch.einsum("nkgtb,nkgsb->ngts", held.gradients, held.gradients)
    return (inputs * gradients).sum((1, 2, 3))


def _by_positions(factors: Factors) -> bool:
    k, _, positions, a, b = factors.sizes
    return positions * (a + k * b) <= k * a * b


def _temporary(factors: Factors) -> int:
    """Return how many numbers the way through a layer holds at once for one example."""
    k, groups, positions, a, b = factors.sizes
    seen = groups * positions * a if factors.window is not None else 0
    return seen + (3 * groups * positions**2 if _by_positions(factors) else 2 * groups * k * a * b)
