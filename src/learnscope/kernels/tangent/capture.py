"""A forward pass and a backward pass for each scalar: inputs and output gradients of every module proven safe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from learnscope.errors import InputError
from learnscope.kernels.tangent.layers import Factors, build_factors, is_known
from learnscope.kernels.tangent.selection import Parameters, Readout, evaluated, spread
from learnscope.kernels.tangent.taps import Tap, tapped

PROOF_EXAMPLES = 2
ORDER_EXAMPLES = 4  # of each block, that a layer has to see in their places
PROOF_TOLERANCE = 2e3  # in units of the dtype's rounding, relative to the largest gradient


class CalledDifferentlyError(InputError):
    """Layers were not called once, with all of the examples, as they were for the first examples.

    Attributes:
        layers: their names.
    """

    def __init__(self, layers: Collection[str]) -> None:
        super().__init__(
            f"layers {sorted(layers)} were called differently for these inputs than for the first ones: evaluate "
            "examples for which the model does something else apart from each other."
        )
        self.layers = frozenset(layers)


@dataclass(frozen=True, slots=True)
class Structured:
    """The modules that take a structured path, and which of their parameters are in the kernel."""

    modules: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def parameters(self) -> set[str]:
        """Return the full names of the parameters that these modules cover."""
        return {f"{name}.{own}" if name else own for name, owned in self.modules.items() for own in owned}

    def without(self, names: Collection[str]) -> Structured:
        """Return all but some of the modules."""
        return Structured({name: owned for name, owned in self.modules.items() if name not in names})


def candidates(model: nn.Module, parameters: Parameters) -> Structured:
    """Return modules of a known class with parameters in the kernel, none of them registered under a second name."""
    every = list(model.named_parameters(remove_duplicate=False))
    uses, modules = Counter(id(p) for _, p in every), dict(model.named_modules())
    owned: dict[str, list[tuple[str, nn.Parameter]]] = {}
    for full, parameter in every:
        name, _, own = full.rpartition(".")
        owned.setdefault(name, []).append((own, parameter))
    found = {}
    for name, own in owned.items():
        prefix = f"{name}." if name else ""
        wanted = frozenset(each for each, _ in own if prefix + each in parameters.names)
        alone = all(uses[id(p)] == 1 for _, p in own)
        if wanted and alone and name in modules and _is_plain(modules[name]):
            found[name] = wanted
    return Structured(found)


def is_of_pytorch(module: nn.Module) -> bool:
    """Return whether a module is of one of PyTorch's own classes, and no other ``forward`` or hook is on it."""
    hooked = module._forward_hooks or module._forward_pre_hooks
    return getattr(nn, type(module).__name__, None) is type(module) and "forward" not in vars(module) and not hooked


def _is_plain(module: nn.Module) -> bool:
    """Return whether a module is of a known class and does what that does, and nothing else."""
    hooked = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return is_known(module) and not hooked and not hasattr(module, "parametrizations")


def factors_of(
    model: nn.Module, x: Tensor, readout: Readout, structured: Structured, *, may_reorder: bool = False
) -> Iterator[tuple[str, Factors]]:
    """Yield names and factors of the structured modules on examples x; those that were not called once are left out.

    Args:
        model: the network.
        x: [n, ...] inputs.
        readout: which scalars.
        structured: the modules.
        may_reorder: whether the model may hand its examples to a module in another order, such as that of their
            lengths; modules that get them in another are left out.

    Cost: one forward pass and a backward pass for each scalar; memory for the inputs of these modules, and for the
    gradients of every scalar until they are yielded.
    """
    layers = {name: model.get_submodule(name) for name in structured.modules}
    with tapped(layers) as taps:
        with torch.enable_grad():
            scalars = readout(evaluated(model, x))
        once = {name: tap for name, tap in taps.items() if tap.saw_once(len(x))}
        if may_reorder and len(x) > 1:
            once = _in_order(model, x, layers, once)
        gradients = _gradients(scalars, list(once.values()))
        del scalars
    for name, tap in once.items():
        assert tap.inputs is not None
        yield name, build_factors(layers[name], structured.modules[name], tap.inputs, gradients.pop(0))


def _in_order(model: nn.Module, x: Tensor, layers: Mapping[str, nn.Module], taps: Mapping[str, Tap]) -> dict[str, Tap]:
    """Return the taps of layers to which some examples, evaluated apart and backwards, are what they are among all."""
    places = spread(len(x), ORDER_EXAMPLES)[::-1]
    own = {name: tap.inputs[places] for name, tap in taps.items() if tap.inputs is not None}
    with torch.no_grad(), tapped({name: layers[name] for name in own}) as apart:
        evaluated(model, x[places])
    return {name: taps[name] for name, seen in own.items() if _is_same(seen, apart[name].inputs)}


def _is_same(ours: Tensor, theirs: Tensor | None) -> bool:
    """Return whether two inputs are equal up to rounding, NaN to NaN."""
    if theirs is None or ours.shape != theirs.shape:
        return False
    if not ours.is_floating_point():
        return torch.equal(ours, theirs)
    rounding = PROOF_TOLERANCE * torch.finfo(ours.dtype).eps * _largest(ours)
    return not _largest(ours - theirs) > rounding


@dataclass(frozen=True, slots=True)
class Proof:
    """What the first examples show of a network.

    Attributes:
        structured: the modules whose factors give the gradients that autograd gives.
        factors: their factors on the first examples.
        scalars: number of scalars of an example.
        examples: number of first examples.
        saved: bytes that a forward pass keeps for the backward pass.
    """

    structured: Structured
    factors: Mapping[str, Factors]
    scalars: int
    examples: int
    saved: int


def proven(model: nn.Module, x: Tensor, readout: Readout, tried: Structured) -> Proof:
    """Return which of some modules have factors that give the gradients of autograd, on the first examples.

    A random combination of scalars is differentiated both ways. That also catches what no look at the modules shows:
    weights that are used outside of their module, recomputed activations, inputs that are overwritten.

    Raises:
        InputError: if the first example alone has other outputs than among them.
    """
    few, saved = x[:PROOF_EXAMPLES], Saved(model)
    with torch.enable_grad(), saved.watched():
        scalars = readout(evaluated(model, few))
    shape = scalars.shape
    refuse_mixed(scalars.detach(), model, few[:1], readout)
    if not tried.modules:
        return Proof(tried, {}, shape[1], len(few), saved.bytes)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(shape, generator=generator, dtype=torch.float64).to(scalars)
    named, wanted = dict(model.named_parameters()), sorted(tried.parameters())
    truth: dict[str, Tensor] = {}
    if scalars.requires_grad:
        grads = torch.autograd.grad((scalars * weights).sum(), [named[n] for n in wanted], allow_unused=True)
        truth = {name: grad for name, grad in zip(wanted, grads, strict=True) if grad is not None}
    del scalars
    found = factors_of(model, few, readout, tried)
    holds = {name: each for name, each in found if _agrees(each, weights, name, tried.modules[name], truth)}
    kept = Structured({name: tried.modules[name] for name in holds})
    return Proof(kept, holds, shape[1], len(few), saved.bytes)


class Saved:
    """Counts the bytes that forward passes keep for the backward pass, beyond the parameters."""

    def __init__(self, model: nn.Module) -> None:
        self._own = {p.data_ptr() for p in model.parameters()}
        self._sizes: dict[int, int] = {}

    def watched(self) -> AbstractContextManager[None]:
        """Return a context in which forward passes are counted."""
        return torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor)

    @property
    def bytes(self) -> int:
        """What has been kept."""
        return sum(self._sizes.values())

    def _keep(self, tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in self._own:
            self._sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor


def refuse_mixed(scalars: Tensor, model: nn.Module, one: Tensor, readout: Readout) -> None:
    """Refuse a model whose outputs for an example are others when it is evaluated alone, and again.

    Raises:
        InputError: if they differ by more than rounding.
    """
    with torch.no_grad():
        gap = float((readout(evaluated(model, one)) - scalars[:1]).abs().max())
    # Outputs that cancel, as those of mirrored networks do, are rounding themselves: they are compared with one.
    if gap > PROOF_TOLERANCE * torch.finfo(scalars.dtype).eps * max(1.0, float(scalars.abs().max())):
        raise InputError(
            f"the outputs for the first example differ by {gap:.1g} when it is evaluated again, alone, so there is no "
            "kernel of pairs: switch off what is random in the model, or mixes the examples of a batch."
        )


def _agrees(factors: Factors, weights: Tensor, name: str, owned: frozenset[str], truth: Mapping[str, Tensor]) -> bool:
    combined = _combined(factors, weights)
    prefix = f"{name}." if name else ""
    if any(prefix + each not in truth for each in owned):
        return False
    rounding = PROOF_TOLERANCE * torch.finfo(combined.dtype).eps
    if "bias" in owned:
        if not _close(combined[..., -1], truth[f"{prefix}bias"], rounding):
            return False
        combined = combined[..., :-1]
    return "weight" not in owned or _close(combined, truth[f"{prefix}weight"], rounding)


def _combined(factors: Factors, weights: Tensor) -> Tensor:
    """Return the gradient Σ_nk w_nk J_nk of all weights, [groups, b, a]."""
    gradients = torch.einsum("nk,nkgtb->ngtb", weights, factors.gradients)
    if not factors.vocabulary:
        return torch.einsum("ngta,ngtb->gba", factors.dense_inputs(), gradients)
    rows = gradients.new_zeros(factors.vocabulary + 1, gradients.shape[-1])
    rows.index_add_(0, factors.inputs.flatten() + 1, gradients.flatten(0, 2))  # what stands for nothing comes first
    return rows[1:][None]  # an embedding's weights are [a, b]


def _close(ours: Tensor, theirs: Tensor, tolerance: float) -> bool:
    """Return whether two gradients are equal up to rounding, which those that are not finite are not; ours is lost."""
    scale = max(_largest(theirs), torch.finfo(theirs.dtype).tiny)
    return _largest(ours.sub_(theirs.reshape(ours.shape))) <= tolerance * scale


def _largest(values: Tensor) -> float:
    """Return the largest absolute value, in a single pass; NaN if there is one."""
    low, high = torch.aminmax(values)
    return float(torch.maximum(-low, high))


def _gradients(scalars: Tensor, taps: list[Tap]) -> list[Tensor]:
    """Return the gradients of all scalars at each tap, [n, k, ...]."""
    if not taps:
        return []
    n, k = scalars.shape
    if k == 1:
        return [each[:, None] for each in _derived(scalars, taps)]
    stacked: list[Tensor] = []
    for i in range(k):
        found = _derived(scalars[:, i], taps, again=i < k - 1)
        stacked = stacked or [each.new_empty(n, k, *each.shape[1:]) for each in found]
        for whole, each in zip(stacked, found, strict=True):
            whole[:, i] = each
    return stacked


def _derived(scalars: Tensor, taps: list[Tap], *, again: bool = False) -> list[Tensor]:
    """Return the gradients of the sum of some scalars at each tap; zeros where it does not hang on it."""
    edges = [tap.edge for tap in taps if tap.edge is not None]
    found = torch.autograd.grad(scalars, edges, torch.ones_like(scalars), retain_graph=again, allow_unused=True)
    return [scalars.new_zeros(tap.shape) if each is None else each for tap, each in zip(taps, found, strict=True)]
