"""A forward pass and a backward pass for each scalar: inputs and output gradients of every module proven safe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from learnscope.kernels.tangent.layers import Factors, build_factors, is_known
from learnscope.kernels.tangent.selection import Parameters, Readout, evaluated

PROOF_EXAMPLES = 2
PROOF_TOLERANCE = 2e3  # in units of the dtype's rounding, relative to the largest gradient


@dataclass(slots=True)
class _Calls:
    """What one module was called with."""

    count: int = 0
    inputs: Tensor | None = None
    version: int = 0
    tap: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Structured:
    """The modules that take a structured path, and which of their parameters are in the kernel."""

    modules: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def parameters(self) -> set[str]:
        """Return the full names of the parameters that these modules cover."""
        return {f"{name}.{own}" if name else own for name, owned in self.modules.items() for own in owned}


def candidates(model: nn.Module, parameters: Parameters) -> Structured:
    """Return modules of a known class with parameters in the kernel, none of them registered under a second name."""
    uses = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    found = {}
    for name, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        prefix = f"{name}." if name else ""
        wanted = frozenset(each for each in own if prefix + each in parameters.names)
        alone = all(uses[id(p)] == 1 for p in own.values())
        plain = not module._forward_hooks and not module._forward_pre_hooks and not hasattr(module, "parametrizations")
        if wanted and is_known(module) and alone and plain:
            found[name] = wanted
    return Structured(found)


def factors_of(model: nn.Module, x: Tensor, readout: Readout, structured: Structured) -> dict[str, Factors]:
    """Return the factors of the structured modules on examples x; those that were not called once are left out.

    Cost: one forward pass and a backward pass for each scalar; memory for the inputs, and for the gradients of every
    scalar, of these modules.
    """
    with torch.enable_grad(), _tapped(model, structured) as calls:
        scalars = readout(evaluated(model, x))
    once = {name: call for name, call in calls.items() if _once(call, len(x))}
    taps = [call.tap for call in once.values() if call.tap is not None]
    if not taps:
        return {}
    gradients = [_gradients(scalars[:, k], taps, last=k == scalars.shape[1] - 1) for k in range(scalars.shape[1])]
    found = {}
    for place, (name, call) in enumerate(once.items()):
        assert call.inputs is not None
        stacked = torch.stack([each[place] for each in gradients], 1)
        found[name] = build_factors(model.get_submodule(name), structured.modules[name], call.inputs, stacked)
    return found


def proven(model: nn.Module, x: Tensor, readout: Readout, parameters: Parameters) -> Structured:
    """Return the modules whose factors give the gradients that autograd gives, on the first examples.

    A random combination of scalars is differentiated both ways. That also catches what no look at the modules shows:
    weights that are used outside of their module, recomputed activations, inputs that are overwritten.
    """
    tried = candidates(model, parameters)
    if not tried.modules:
        return tried
    few = x[:PROOF_EXAMPLES]
    found = factors_of(model, few, readout, tried)
    with torch.enable_grad():
        scalars = readout(evaluated(model, few))
        generator = torch.Generator().manual_seed(0)
        weights = torch.randn(scalars.shape, generator=generator, dtype=torch.float64).to(scalars)
        named = dict(model.named_parameters())
        wanted = sorted(tried.parameters())
        grads = torch.autograd.grad((scalars * weights).sum(), [named[n] for n in wanted], allow_unused=True)
    truth = {name: grad for name, grad in zip(wanted, grads, strict=True) if grad is not None}
    holds = {
        name: owned
        for name, owned in tried.modules.items()
        if name in found and _agrees(found[name], weights, name, owned, truth)
    }
    return Structured(holds)


def _agrees(factors: Factors, weights: Tensor, name: str, owned: frozenset[str], truth: Mapping[str, Tensor]) -> bool:
    combined = torch.einsum("nk,ngta,nkgtb->gba", weights, factors.inputs, factors.gradients)
    prefix = f"{name}." if name else ""
    if any(prefix + each not in truth for each in owned):
        return False
    rounding = PROOF_TOLERANCE * torch.finfo(combined.dtype).eps
    if "bias" in owned:
        if not _close(combined[..., -1].flatten(), truth[f"{prefix}bias"].flatten(), rounding):
            return False
        combined = combined[..., :-1]
    return "weight" not in owned or _close(combined.flatten(), truth[f"{prefix}weight"].flatten(), rounding)


def _close(ours: Tensor, theirs: Tensor, tolerance: float) -> bool:
    scale = float(theirs.abs().max())
    return bool(torch.isfinite(theirs).all()) and float((ours - theirs).abs().max()) <= tolerance * max(scale, 1e-30)


def _once(call: _Calls, n: int) -> bool:
    return (
        call.count == 1
        and call.inputs is not None
        and call.tap is not None
        and call.inputs._version == call.version  # nobody wrote over it afterwards
        and call.inputs.shape[:1] == call.tap.shape[:1] == (n,)
        and call.tap.requires_grad
    )


def _gradients(scalar: Tensor, taps: list[Tensor], *, last: bool) -> list[Tensor]:
    found = torch.autograd.grad(scalar.sum(), taps, retain_graph=not last, allow_unused=True)
    return [torch.zeros_like(tap) if each is None else each for tap, each in zip(taps, found, strict=True)]


@contextmanager
def _tapped(model: nn.Module, structured: Structured) -> Iterator[dict[str, _Calls]]:
    calls = {name: _Calls() for name in structured.modules}
    handles = []
    for name in structured.modules:
        module = model.get_submodule(name)
        handles.append(module.register_forward_hook(_hook(calls[name])))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _hook(call: _Calls):  # noqa: ANN202 - torch's own signature
    def tap(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        call.count += 1
        if call.count > 1 or len(inputs) != 1 or not isinstance(output, Tensor):
            call.count = 2
            return output
        call.inputs = inputs[0].detach()
        call.version = call.inputs._version
        call.tap = output
        return output.clone()  # an activation in place writes over the copy

    return tap
