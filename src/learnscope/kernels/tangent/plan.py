"""How the kernel of a network is computed: which layers how, and how many examples at once."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from learnscope.errors import BudgetError, InputError
from learnscope.kernels.tangent.capture import (
    CalledDifferentlyError,
    Proof,
    Structured,
    candidates,
    factors_of,
    is_of_pytorch,
    proven,
)
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
SCRATCH = 2**28  # bytes of the temporaries of a contraction
PIECE, FEW = 2**26, 8  # bytes of what is differentiated at once; and examples, where these take more
PARAMETER = "\0"  # before the name of a parameter, so that it cannot be that of a layer; alone: all of these

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
class Part:
    """What a layer takes for each example; or all parameters that go through ``torch.func``, together.

    Attributes:
        held: bytes that a block keeps.
        working: bytes that differentiating takes, beyond what the network saves.
        scratch: numbers that the contraction takes at least, for a pair.
        passed: multiplications of a forward pass.
        formed: multiplications that form the Jacobian whenever two blocks meet.
    """

    held: int
    working: int
    scratch: int
    passed: int
    formed: int


@dataclass(frozen=True, slots=True)
class Turn:
    """Layers whose kernels are added up together, with how many examples at once; the others have their own turns."""

    parts: tuple[str, ...]
    sizes: Sizes


@dataclass(frozen=True, slots=True)
class Plan:
    """How the kernel of a network is computed.

    Attributes:
        number: bytes of a number in the dtype of the computation.
        readout: which scalars.
        parameters: of what.
        structured: the modules that are proven to have factors.
        ways: how each of them is contracted.
        early: those whose Jacobians are formed at once, and kept instead of the factors.
        scalars: number of scalars of an example.
        saved: bytes that a forward pass keeps of an example.
        parts: what layers take, in order.
        may_reorder: whether the model may hand examples to layers in another order: not if it is made of PyTorch's own
            modules alone.
    """

    number: int
    readout: Readout
    parameters: Parameters
    structured: Structured
    ways: dict[str, Way]
    early: frozenset[str]
    scalars: int
    saved: int
    parts: Mapping[str, Part]
    may_reorder: bool
    _turns: dict[tuple[int, int, int, bool], list[Turn]] = field(init=False, default_factory=dict, repr=False)
    _transformed: dict[torch.Size, bool] = field(init=False, default_factory=dict, repr=False)  # rightly, by inputs

    @property
    def held(self) -> int:
        """Bytes that a block of all layers keeps for an example."""
        return sum(part.held for part in self.parts.values())

    @property
    def working(self) -> int:
        """Bytes that differentiating an example takes."""
        return self.saved + sum(part.working for part in self.parts.values())

    @property
    def least_scratch(self) -> int:
        """Numbers that the contraction of any layer takes for a pair of examples."""
        return max((part.scratch for part in self.parts.values()), default=0)

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

    def block(self, model: nn.Module, x: Tensor, piece: int) -> Block:
        """Return what the kernel of a network needs of examples x, differentiating ``piece`` of them at once.

        Raises:
            CalledDifferentlyError: if a layer is called differently for them than for the first examples.
        """
        if len(x) <= piece:
            return self._differentiated(model, x)
        whole: Block = {}
        for start in range(0, len(x), piece):
            for name, part in self._differentiated(model, x[start : start + piece]).items():
                if name not in whole:
                    whole[name] = _room(part, len(x))
                _copy(part, whole[name], start)
        return whole

    def only(self, names: Sequence[str]) -> Plan:
        """Return the plan for some of the parts, as if the parameters of the others were not in the kernel."""
        if len(names) == len(self.parts):
            return self
        structured = Structured({name: owned for name, owned in self.structured.modules.items() if name in names})
        rest = self.rest if PARAMETER in names else []
        wanted = structured.parameters() | set(rest)
        chosen = Parameters(tuple(name for name in self.parameters.names if name in wanted), self.parameters.left_out)
        parts = {name: self.parts[name] for name in names}
        return replace(self, parameters=chosen, structured=structured, parts=parts)

    def turns(self, n: int, m: int, budget: int, *, symmetric: bool = False) -> list[Turn]:
        """Return which layers' kernels of n × m examples are added up together, and with how many examples at once.

        All at once, if all examples fit; otherwise as takes the fewest multiplications: the fewer the layers, the more
        examples fit, and the fewer are differentiated, or their Jacobians formed, again; but each turn has a forward
        pass of its own, and a backward pass as far as its first layer. Found out once for each size.

        Raises:
            BudgetError: if not even one pair fits for some layer alone, with the least that does.
        """
        sizes = n, m, budget, symmetric
        if sizes not in self._turns:
            self._turns[sizes] = self._quickest_turns(n, m, budget, symmetric=symmetric)
        return self._turns[sizes]

    def _quickest_turns(self, n: int, m: int, budget: int, *, symmetric: bool) -> list[Turn]:
        best, least = [], math.inf
        counts = _counts(len(self.parts))
        for groups in map(self._groups, counts):
            if max(map(self._least, groups)) > budget:
                continue
            found = [Turn(group, self.only(group).sizes(n, m, budget, symmetric=symmetric)) for group in groups]
            cost = sum(self._cost(turn, n, m, symmetric=symmetric) for turn in found)
            if cost < least:
                best, least = found, cost
            if all(turn.sizes.rows >= n for turn in found):  # more turns would not save anything
                break
        if not best:
            raise _too_small(budget, min(max(map(self._least, self._groups(count))) for count in counts))
        return best

    def sizes(self, n: int, m: int, budget: int, *, symmetric: bool = False) -> Sizes:
        """Return how many examples fit, for a kernel of n × m by all layers together.

        Rows are kept while columns are made afresh for each block of rows; so rows take three quarters, or all of a
        symmetric kernel if they fit, which then needs no columns.

        Raises:
            BudgetError: if not even one pair fits, with the least that does.
        """
        spare = budget - self._least(tuple(self.parts))
        if spare < 0:
            raise _too_small(budget, budget - spare)
        scratch = min(SCRATCH, spare // 8) // self.number
        piece = min(max(n, m) - 1, min(max(PIECE, FEW * self.working), spare // 4) // self.working)
        spare -= max(3 * self.number * scratch, piece * self.working)  # one after the other
        spare -= budget // 8  # what libraries and the allocator keep
        examples = 2 + max(0, spare) // self.held
        rows = n if symmetric and examples > n else min(n, max(1, examples - examples // 4))
        return Sizes(rows, min(m, max(1, examples - rows)), 1 + piece, self.least_scratch + scratch)

    def _groups(self, count: int) -> list[tuple[str, ...]]:
        """Return up to so many runs of neighbouring parts that keep about as much each."""
        groups: dict[int, list[str]] = {}
        before, whole = 0, self.held
        for name, part in self.parts.items():
            groups.setdefault(count * (2 * before + part.held) // (2 * whole + 1), []).append(name)
            before += part.held
        return [tuple(group) for group in groups.values()]

    def _least(self, names: tuple[str, ...]) -> int:
        """Return the bytes that some parts take for a pair of examples."""
        parts = [self.parts[name] for name in names]
        scratch = self.number * max(part.scratch for part in parts)
        return sum(2 * part.held + part.working for part in parts) + self.saved + scratch

    def _cost(self, turn: Turn, n: int, m: int, *, symmetric: bool) -> int:
        """Return the multiplications of a turn, without those for pairs of examples."""
        first = 0 if PARAMETER in turn.parts else list(self.parts).index(turn.parts[0])
        every = [part.passed for part in self.parts.values()]
        formed = sum(self.parts[name].formed for name in turn.parts)
        passes, forms = _repeats(n, m, turn.sizes, symmetric=symmetric)
        return passes * (sum(every) + self.scalars * sum(every[first:])) + forms * formed

    def _differentiated(self, model: nn.Module, x: Tensor) -> Block:
        found: Block = {}
        for name, factors in factors_of(model, x, self.readout, self.structured, may_reorder=self.may_reorder):
            found[name] = formed(factors) if name in self.early else factors
        if missing := self.structured.modules.keys() - found.keys():
            raise CalledDifferentlyError(missing)
        rest = jacobians(model, x, self.readout, self.rest, self._transformed)
        return found | {PARAMETER + name: jacobian for name, jacobian in rest.items()}


def make_plan(
    model: nn.Module,
    x: Tensor,
    readout: Readout,
    parameters: Selected,
    method: Method = "auto",
    general: Collection[str] = (),
) -> Plan:
    """Return how the kernel of a network is computed on about as many examples as x, found out on the first of them.

    Layers that are named in ``general`` go through ``torch.func``.

    Raises:
        InputError: as :func:`learnscope.kernels.tangent_kernel`.
    """
    if not len(x):
        raise InputError("there are no inputs: give at least one example.")
    refuse_coupled(model)
    chosen = selected_parameters(model, parameters)
    tried = Structured() if method == "functional" else candidates(model, chosen).without(general)
    proof = proven(model, x, readout, tried)
    trace = not readout.full
    ways: dict[str, Way] = {
        name: _way(each, method, min(MANY, len(x)), trace=trace) for name, each in proof.factors.items()
    }
    early = frozenset(name for name in ways if ways[name] == "jacobian" and smaller_formed(proof.factors[name]))
    covered = proof.structured.parameters() | set(_rest(chosen, proof.structured))
    assert covered == set(chosen.names), "every selected parameter is covered once"
    return Plan(
        number=next(model.parameters()).element_size(),
        readout=readout,
        parameters=chosen,
        structured=proof.structured,
        ways=ways,
        early=early,
        scalars=proof.scalars,
        saved=proof.saved // proof.examples,
        parts=_parts(model, chosen, proof, ways, early, trace=trace),
        may_reorder=not all(map(is_of_pytorch, model.modules())),
    )


def _parts(
    model: nn.Module, chosen: Parameters, proof: Proof, ways: Mapping[str, Way], early: frozenset[str], *, trace: bool
) -> dict[str, Part]:
    named = dict(model.named_parameters())
    number = next(iter(named.values())).element_size()
    parts = {}
    for name, factors in proof.factors.items():
        k, g, t, a, b = factors.sizes
        kept, jacobian = number * _numbers(factors) // proof.examples, number * k * g * a * b
        seen = number * g * t * a if factors.window is not None else 0
        working = 2 * kept + (jacobian + seen if name in early else 0)
        late = ways[name] == "jacobian" and name not in early
        passed = g * t * a * b
        scratch = least_scratch(factors, ways[name], trace=trace)
        parts[name] = Part(jacobian if name in early else kept, working, scratch, passed, k * passed if late else 0)
    if rest := _rest(chosen, proof.structured):
        general = number * proof.scalars * sum(named[name].numel() for name in rest)
        saved = proof.saved // proof.examples * proof.scalars
        parts[PARAMETER] = Part(general, general + saved, 0, 0, 0)
    return parts


def _counts(parts: int) -> list[int]:
    """Return in how many turns to try: few, and then ever fewer of the many."""
    counts = [1]
    while counts[-1] < parts:
        counts.append(min(parts, counts[-1] + 1 + counts[-1] // 4))
    return counts


def _repeats(n: int, m: int, sizes: Sizes, *, symmetric: bool) -> tuple[int, int]:
    """Return how many examples are differentiated, and how many Jacobians formed late, for blocks of some sizes."""
    passes = forms = 0
    for start in range(0, n, sizes.rows):
        rows = min(sizes.rows, n - start)
        others = n - start - rows if symmetric else m
        passes += rows + others
        forms += others + rows * (-(-others // sizes.columns) + symmetric)
    return passes, forms


def _too_small(budget: int, least: int) -> BudgetError:
    return BudgetError(f"budget={budget:,} bytes is too small for the kernel of one pair of examples: give {least:,}.")


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
        return part._replace(inputs=_like(part.inputs, n), gradients=_like(part.gradients, n))
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
