"""The empirical tangent kernel of any network: Θ(x, x') = J(x) J(x')ᵀ."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from learnscope.errors import BudgetError, InputError
from learnscope.kernels.tangent.capture import Structured, factors_of, proven
from learnscope.kernels.tangent.contraction import Way, cheapest, formed, from_jacobians, layer_kernel
from learnscope.kernels.tangent.functional import jacobians
from learnscope.kernels.tangent.layers import Factors
from learnscope.kernels.tangent.selection import (
    Outputs,
    Parameters,
    Readout,
    Selected,
    evaluated,
    half,
    refuse_coupled,
    selected_parameters,
)

Method = Literal["auto", "layerwise", "jacobian", "positions", "functional"]
METHODS = ("auto", "layerwise", "jacobian", "positions", "functional")
DEFAULT_BUDGET = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Block:
    """What a kernel needs of some examples: factors or Jacobians of the structured layers, Jacobians of the rest."""

    factors: dict[str, Factors]
    jacobians: dict[str, Tensor]
    size: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How the kernel of a network is computed.

    Attributes:
        model: the network, in the dtype of the computation.
        readout: which scalars.
        parameters: of what.
        structured: the modules that are proven to have factors.
        ways: how each of them is contracted.
        scalars: number of scalars of an example.
        bytes_each: memory for each example of a block.
    """

    model: nn.Module
    readout: Readout
    parameters: Parameters
    structured: Structured
    ways: dict[str, Way]
    scalars: int
    bytes_each: int

    @property
    def rest(self) -> list[str]:
        """Parameters that go through ``torch.func``."""
        covered = self.structured.parameters()
        return [name for name in self.parameters.names if name not in covered]

    def layers(self) -> list[str]:
        """Return the names of the layers, in the order of their parameters."""
        return list(dict.fromkeys(self.parameters.layer_of(name) for name in self.parameters.names))

    def block(self, x: Tensor) -> Block:
        """Return what the kernel needs of examples x."""
        factors = factors_of(self.model, x, self.readout, self.structured) if self.structured.modules else {}
        if missing := self.structured.modules.keys() - factors.keys():
            raise InputError(
                f"layers {sorted(missing)} were called differently for these inputs: use method='functional'."
            )
        ready = {name: formed(each) for name, each in factors.items() if self.ways[name] == "jacobian"}
        rest = jacobians(self.model, x, self.readout, self.rest)
        return Block(
            {name: each for name, each in factors.items() if name not in ready}, ready | _prefixed(rest), len(x)
        )

    def between(self, first: Block, second: Block) -> Iterator[tuple[str, Tensor]]:
        """Yield the name of a layer and its kernel between two blocks, part by part."""
        trace = not self.readout.full
        for name, factors in first.factors.items():
            yield name, layer_kernel(factors, second.factors[name], self.ways[name], trace=trace)
        for name, jacobian in first.jacobians.items():
            kernel = from_jacobians(jacobian, second.jacobians[name], trace=trace)
            yield self.parameters.layer_of(name[1:]) if name.startswith(PARAMETER) else name, kernel


PARAMETER = "\0"  # before the name of a parameter, so that it cannot be that of a layer


def tangent_kernel(
    model: nn.Module,
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    outputs: Outputs = "all",
    by_layer: bool = False,
    parameters: Selected = None,
    method: Method = "auto",
    budget: int | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor | dict[str, Tensor]:
    """Return the exact empirical tangent kernel of a network, Θ[i, j, o, p] = ⟨∂f_o(x_i)/∂θ, ∂f_p(x_j)/∂θ⟩.

    Args:
        model: any module that maps [n, ...] to one tensor [n, ...]; several output dimensions are flattened. Modules
            that couple examples or draw random numbers must be in eval mode.
        x1: [n, ...] inputs.
        x2: [n', ...] inputs, ``x1`` by default.
        outputs: "all" keeps both output dimensions; "trace" sums Θ[..., o, o] over outputs; "sum" is the kernel of the
            sum of outputs (called pseudo-kernel, an approximation of the trace over their number); an index or a
            function from outputs to [n] is the kernel of one scalar.
        by_layer: return a dictionary from each layer's name to its part; the parts sum to the whole.
        parameters: names or patterns, or a predicate of (name, parameter); all by default. Those that do not require
            gradients are left out (:func:`selected_parameters` lists them).
        method: how layers are contracted. "layerwise" multiplies the Gram matrices of a layer's inputs and of its
            output gradients; at several positions this is a sum over pairs of them, "positions". "jacobian" forms each
            layer's Jacobian. "functional" leaves all to ``torch.func``. "auto" takes the cheapest for each layer.
            Layers that are not proven to be sums of such products are left to ``torch.func`` by every method: other
            classes, tied weights, modules called twice, weights that are used elsewhere.
        budget: bytes of memory beyond the result; 2 GiB by default.
        dtype: of the computation and the result; by default that of the model, but float32 for half precision.

    Returns:
        [n, n', o, o] for "all", else [n, n']; on the device of the model.

    Raises:
        InputError: for modules in training mode that couple examples, outputs that are not a tensor, or a selection
            that matches nothing or is out of range.
        BudgetError: if the budget is too small for one pair of examples, with the least that works.

    Cost: with [FP] a forward pass, o outputs and a layer of a × b weights at t positions: o [FP] an example, and for
        each pair o² b + a layerwise, o² a b by Jacobians, t² (a + o² b) by positions. Nothing of size n · parameters is
        held beyond a block of examples.

    Source: Jacot, Gabriel, Hongler 2018; the structured contractions follow Novak, Sohl-Dickstein, Schoenholz 2022.

    Examples:
        >>> layer = nn.Linear(3, 2, bias=False)
        >>> x = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])
        >>> kernel = tangent_kernel(layer, x)  # (x · x') times the identity of the outputs
        >>> kernel[0, 1].tolist()
        [[2.0, 0.0], [0.0, 2.0]]
    """
    if method not in METHODS:
        raise InputError(f"method {method!r} is not known: choose one of {', '.join(METHODS)}.")
    model, x1, x2 = in_dtype(model, x1, x2, dtype)
    budget = DEFAULT_BUDGET if budget is None else budget
    plan = make_plan(model, x1, Readout(outputs), parameters, method)
    step = block_size(plan, budget)
    others = x1 if x2 is None else x2
    total = _Sum(plan, len(x1), len(others), by_layer)
    for i in range(0, len(x1), step):
        rows = plan.block(x1[i : i + step])
        for j in range(i if x2 is None else 0, len(others), step):
            columns = rows if x2 is None and j == i else plan.block(others[j : j + step])
            for layer, kernel in plan.between(rows, columns):
                total.add(layer, kernel, i, j)
                if x2 is None and j > i:
                    total.add(layer, kernel.transpose(0, 1).transpose(2, 3) if kernel.ndim == 4 else kernel.T, j, i)
    return total.result()


def make_plan(model: nn.Module, x: Tensor, readout: Readout, parameters: Selected, method: Method = "auto") -> Plan:
    """Return how the kernel of a network is computed, found out on its first examples.

    Raises:
        InputError: as :func:`tangent_kernel`.
    """
    if not len(x):
        raise InputError("there are no inputs: give at least one example.")
    refuse_coupled(model)
    chosen = selected_parameters(model, parameters)
    structured = Structured() if method == "functional" else proven(model, x, readout, chosen)
    one = x[:1]
    factors = factors_of(model, one, readout, structured) if structured.modules else {}
    with torch.no_grad():
        scalars = readout(evaluated(model, one)).shape[1]
    ways: dict[str, Way] = {name: _way(each, method, trace=not readout.full) for name, each in factors.items()}
    plan = Plan(model, readout, chosen, structured, ways, scalars, 0)
    covered = structured.parameters() | set(plan.rest)
    assert covered == set(chosen.names), "every selected parameter is covered once"
    named = dict(model.named_parameters())
    size = sum(_elements(each) for each in factors.values()) + scalars * sum(named[name].numel() for name in plan.rest)
    return Plan(model, readout, chosen, structured, ways, scalars, 2 * size * next(iter(named.values())).element_size())


def block_size(plan: Plan, budget: int) -> int:
    """Return how many examples a block may hold so that two of them and their kernel stay under the budget.

    Raises:
        BudgetError: if not even one fits, with the least that does.
    """
    pair = (plan.scalars**2 if plan.readout.full else 1) * 8
    for size in (2**k for k in range(14, -1, -1)):
        if 2 * size * plan.bytes_each + 3 * size * size * pair <= budget:
            return size
    least = 2 * plan.bytes_each + 3 * pair
    raise BudgetError(f"budget={budget:,} bytes is too small for the kernel of one pair of examples: give {least:,}.")


class _Sum:
    """Adds parts of the kernel up, by layer if wanted."""

    def __init__(self, plan: Plan, n: int, m: int, by_layer: bool) -> None:
        parameter = next(plan.model.parameters())
        shape = (n, m, plan.scalars, plan.scalars) if plan.readout.full else (n, m)
        names = plan.layers() if by_layer else [""]
        self.by_layer = by_layer
        self.parts = {name: torch.zeros(shape, dtype=parameter.dtype, device=parameter.device) for name in names}

    def add(self, layer: str, kernel: Tensor, i: int, j: int) -> None:
        part = self.parts[layer if self.by_layer else ""]
        part[i : i + kernel.shape[0], j : j + kernel.shape[1]] += kernel

    def result(self) -> Tensor | dict[str, Tensor]:
        return self.parts if self.by_layer else self.parts[""]


def _way(factors: Factors, method: str, *, trace: bool) -> Way:
    single = factors.inputs.shape[2] == 1
    if method == "auto":
        return cheapest(factors, 64, 64, trace=trace)
    if method == "jacobian":
        return "jacobian"
    return "layerwise" if single else "positions"


def _elements(factors: Factors) -> int:
    return factors.inputs.numel() + factors.gradients.numel()


def _prefixed(named: dict[str, Tensor]) -> dict[str, Tensor]:
    return {PARAMETER + name: each for name, each in named.items()}


def in_dtype(
    model: nn.Module, x1: Tensor, x2: Tensor | None, dtype: torch.dtype | None
) -> tuple[nn.Module, Tensor, Tensor | None]:
    """Return a copy of the model, and inputs, in the dtype of the computation; the model itself if it is in it."""
    own = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    if dtype is None and half(own):
        warnings.warn(f"the model is in {own}: its tangent kernel is computed in float32", UserWarning, stacklevel=3)
        dtype = torch.float32
    if dtype is None or dtype == own:
        return model, x1, x2
    return copy.deepcopy(model).to(dtype), _converted(x1, dtype), None if x2 is None else _converted(x2, dtype)


def _converted(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype) if x.is_floating_point() else x
