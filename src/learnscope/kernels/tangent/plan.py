"""How the kernel of a network is computed: which layers how, and how many examples at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from learnscope.errors import BudgetError, InputError
from learnscope.kernels.tangent.capture import Structured, candidates, factors_of, proven
from learnscope.kernels.tangent.contraction import Held, Way, cheapest, formed, least_scratch, smaller_formed
from learnscope.kernels.tangent.functional import jacobians
from learnscope.kernels.tangent.layers import Factors
from learnscope.kernels.tangent.selection import (
    Parameters,
    Readout,
    Selected,
    refuse_coupled,
    selected_parameters,
)

Method = Literal["auto", "layerwise", "jacobian", "positions", "functional"]
METHODS = ("auto", "layerwise", "jacobian", "positions", "functional")
MANY = 512  # examples beyond which no other way becomes the cheapest
SCRATCH = 2**24  # bytes of one temporary: what caches hold
PIECE = 2**26  # bytes of what is differentiated at once
PARAMETER = "\0"  # before the name of a parameter, so that it cannot be that of a layer

Block = dict[str, Held]  # what the kernel needs of some examples


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many examples are in memory at once.

    Attributes:
        rows: in a block of rows.
        columns: in a block of columns.
        piece: differentiated together.
        scratch: numbers that the contraction of a layer may hold.
    """

    rows: int
    columns: int
    piece: int
    scratch: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How the kernel of a network is computed.

    Attributes:
        model: the network, in the dtype of the computation.
        readout: which scalars.
        parameters: of what.
        structured: the modules that are proven to have factors.
        ways: how each of them is contracted.
        early: those whose Jacobians are formed at once, and kept instead of the factors.
        scalars: number of scalars of an example.
        held: bytes that a block keeps for an example.
        working: bytes that differentiating an example takes.
        least_scratch: numbers that the contraction of any layer takes for a pair of examples.
    """

    model: nn.Module
    readout: Readout
    parameters: Parameters
    structured: Structured
    ways: dict[str, Way]
    early: frozenset[str]
    scalars: int
    held: int
    working: int
    least_scratch: int

    @property
    def rest(self) -> list[str]:
        """Parameters that go through ``torch.func``."""
        return _rest(self.parameters, self.structured)

    def layers(self) -> list[str]:
        """Return the names of the layers, in the order of their parameters."""
        return list(dict.fromkeys(self.parameters.layer_of(name) for name in self.parameters.names))

    def layer_of(self, part: str) -> str:
        """Return the name of the layer that a part of a block belongs to."""
        return self.parameters.layer_of(part[len(PARAMETER) :]) if part.startswith(PARAMETER) else part

    def block(self, x: Tensor, piece: int) -> Block:
        """Return what the kernel needs of examples x, differentiating ``piece`` of them at once.

        Raises:
            InputError: if a layer is called differently for them than for the first examples.
        """
        if len(x) <= piece:
            return self._differentiated(x)
        whole: Block = {}
        for start in range(0, len(x), piece):
            for name, part in self._differentiated(x[start : start + piece]).items():
                if name not in whole:
                    whole[name] = _room(part, len(x))
                _copy(part, whole[name], start)
        return whole

    def sizes(self, n: int, m: int, budget: int) -> Sizes:
        """Return how many examples fit, for a kernel of n × m.

        Rows are kept while columns are made afresh for each block of rows; so rows take three quarters.

        Raises:
            BudgetError: if not even one pair fits, with the least that does.
        """
        number = next(self.model.parameters()).element_size()
        spare = budget - 2 * self.held - self.working - number * self.least_scratch
        if spare < 0:
            raise BudgetError(
                f"budget={budget:,} bytes is too small for the kernel of one pair of examples: give {budget - spare:,}."
            )
        scratch = min(SCRATCH, spare // 8) // number
        piece = min(max(n, m) - 1, min(PIECE, spare // 4) // self.working)
        spare -= 3 * number * scratch + piece * self.working + budget // 8  # what libraries and the allocator keep
        examples = 2 + max(0, spare) // self.held
        rows = min(n, max(1, examples - examples // 4))
        return Sizes(rows, min(m, max(1, examples - rows)), 1 + piece, self.least_scratch + scratch)

    def _differentiated(self, x: Tensor) -> Block:
        found: Block = {}
        for name, factors in factors_of(self.model, x, self.readout, self.structured):
            found[name] = formed(factors) if name in self.early else factors
        if missing := self.structured.modules.keys() - found.keys():
            raise InputError(
                f"layers {sorted(missing)} were called differently for these inputs: use method='functional'."
            )
        rest = jacobians(self.model, x, self.readout, self.rest)
        return found | {PARAMETER + name: jacobian for name, jacobian in rest.items()}


def make_plan(model: nn.Module, x: Tensor, readout: Readout, parameters: Selected, method: Method = "auto") -> Plan:
    """Return how the kernel of a network is computed on about as many examples as x, found out on the first of them.

    Raises:
        InputError: as :func:`learnscope.kernels.tangent_kernel`.
    """
    if not len(x):
        raise InputError("there are no inputs: give at least one example.")
    refuse_coupled(model)
    chosen = selected_parameters(model, parameters)
    proof = proven(model, x, readout, Structured() if method == "functional" else candidates(model, chosen))
    trace = not readout.full
    ways: dict[str, Way] = {
        name: _way(each, method, min(MANY, len(x)), trace=trace) for name, each in proof.factors.items()
    }
    early = frozenset(name for name in ways if ways[name] == "jacobian" and smaller_formed(proof.factors[name]))
    rest = _rest(chosen, proof.structured)
    assert proof.structured.parameters() | set(rest) == set(chosen.names), "every selected parameter is covered once"
    named = dict(model.named_parameters())
    number = next(iter(named.values())).element_size()
    general = number * proof.scalars * sum(named[name].numel() for name in rest)
    factors = {name: number * _numbers(each) // proof.examples for name, each in proof.factors.items()}
    jacobian = {name: number * math.prod(proof.factors[name].sizes) // proof.factors[name].sizes[2] for name in early}
    saved = proof.saved // proof.examples * (1 + (proof.scalars if rest else 0))
    scratch = [least_scratch(each, ways[name], trace=trace) for name, each in proof.factors.items()]
    return Plan(
        model=model,
        readout=readout,
        parameters=chosen,
        structured=proof.structured,
        ways=ways,
        early=early,
        scalars=proof.scalars,
        held=general + sum((factors | jacobian).values()),
        working=general + saved + 2 * sum(factors.values()) + sum(jacobian.values()),
        least_scratch=max(scratch, default=0),
    )


def _way(factors: Factors, method: Method, n: int, *, trace: bool) -> Way:
    if method == "auto":
        return cheapest(factors, n, trace=trace)
    if method == "jacobian":
        return "jacobian"
    return "layerwise" if factors.sizes[2] == 1 else "positions"


def _rest(parameters: Parameters, structured: Structured) -> list[str]:
    covered = structured.parameters()
    return [name for name in parameters.names if name not in covered]


def _numbers(factors: Factors) -> int:
    return factors.inputs.numel() + factors.gradients.numel()


def _room(part: Held, n: int) -> Held:
    """Return uninitialised memory for n examples, laid out like a part of some of them."""
    if isinstance(part, Factors):
        return Factors(_like(part.inputs, n), _like(part.gradients, n), part.vocabulary)
    return _like(part, n)


def _like(tensor: Tensor, n: int) -> Tensor:
    order = sorted(range(tensor.ndim), key=lambda dim: (dim > 0, -tensor.stride(dim), dim))
    shape = [n if dim == 0 else tensor.shape[dim] for dim in order]
    return tensor.new_empty(shape).permute([order.index(dim) for dim in range(tensor.ndim)])


def _copy(part: Held, whole: Held, start: int) -> None:
    for source, target in zip(_tensors(part), _tensors(whole), strict=True):
        target[start : start + len(source)] = source


def _tensors(held: Held) -> tuple[Tensor, ...]:
    return (held.inputs, held.gradients) if isinstance(held, Factors) else (held,)
