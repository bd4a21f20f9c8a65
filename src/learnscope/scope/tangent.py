"""The tangent kernel of the network under watch, on part of the probe and of one combination of its outputs.

The kernel of all outputs takes a backward pass for each. That of v · f, with signs v = ±1, takes one; over random signs
its mean is the trace kernel Σ_k Θ_kk, or, over signs of which half are −1, that of the outputs less their mean, which
is all that softmax sees. The signs are drawn once for a run, so what moves is the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from learnscope.errors import BudgetError, InputError
from learnscope.kernels.products import Function, Way, agrees, directional_derivative
from learnscope.kernels.tangent.functional import call_with
from learnscope.kernels.tangent.kernel import tangent_kernel
from learnscope.kernels.tangent.plan import make_plan
from learnscope.kernels.tangent.selection import Readout, selected_parameters
from learnscope.observables.features import all_finite
from learnscope.observables.observable import Linearisation, Task
from learnscope.randomness import generator
from learnscope.scope.forward import Forward
from learnscope.scope.isolation import as_the_caller, plainly, undisturbed
from learnscope.scope.probe import check_outputs, mapped

MOST_EXAMPLES = 64
LEAST_BLOCK = 16
PROOF_EXAMPLES = 2
MODEL = "model."
HALF = (torch.float16, torch.bfloat16)
WAYS: tuple[Way, ...] = ("forward", "twice backward")

Kind = TypeVar("Kind")


@dataclass
class Tangent:
    """How the tangent kernel is looked at, and what it was at the start.

    Attributes:
        forward: runs the module.
        examples: [m] indices into the probe, in the order of the labels.
        signs: [outputs] ±1, the combination of outputs.
        layers: by the name of a module, its parameters in the kernel.
        budget: bytes beyond the result.
        way: how the linearisation is differentiated; None where it cannot be.
        initial: [layers, m, m] the kernels at the start, by layer; NaN where the record lacks them.
    """

    forward: Forward
    examples: Tensor
    signs: Tensor
    layers: Mapping[str, tuple[str, ...]]
    budget: int
    way: Way | None
    initial: Tensor

    def kernels(self) -> Tensor:
        """Return the kernels of the model as it is, by layer: [layers, m, m].

        Raises:
            InputError: if other parameters are trained than at the start.
        """
        if not all(all_finite(p.detach()) for p in self.forward.model.parameters()):
            return torch.full_like(self.initial, torch.nan)

        def by_layer(on: _OnExamples) -> Any:
            places, outputs = on.places(), self._combined
            return tangent_kernel(
                on, places, outputs=outputs, by_layer=True, parameters=_is_trained, budget=self.budget
            )

        found = _with_own_copies(self.forward, self.examples, by_layer)
        names = [name.removeprefix(MODEL.rstrip(".")).removeprefix(".") for name in found]
        if names != list(self.layers):
            raise InputError(
                f"the parameters that are trained lie in {names} now, but at first in {list(self.layers)}: record the "
                "changed model with a new scope, in another folder."
            )
        return torch.stack([kernel.detach() for kernel in found.values()])

    def linearisation(self, initial: Mapping[str, Tensor]) -> Linearisation | None:
        """Return the outputs on every other example, of the model and its expansion; None if that has no way.

        Buffers, such as the statistics of BatchNorm, are those of now: only parameters are expanded in.
        """
        if self.way is None:
            return None
        with undisturbed(self.forward.model), plainly():
            examples = self.examples[::2]  # enough for a ratio of norms
            function, at, along = self._expansion(initial, examples)
            start, change = directional_derivative(function, at, along, self.way)
            now = function({name: tensor + along[name] for name, tensor in at.items()})
        return Linearisation(*(outputs.detach() for outputs in (now, start + change, start)))

    def remembered(self) -> dict[str, Any]:
        """Return what a record keeps, beside the initial kernels, so that they can be compared with later."""
        return {
            "examples": self.examples.tolist(),
            "signs": self.signs.tolist(),
            "layers": {name: list(parameters) for name, parameters in self.layers.items()},
        }

    def recall(self, remembered: Mapping[str, Any] | None, initial: np.ndarray | None) -> None:
        """Take up what a record has kept, if it has."""
        if remembered is None or initial is None:
            self.initial = torch.full_like(self.initial, torch.nan)
            return
        device = self.examples.device
        self.examples, self.signs = (torch.tensor(remembered[name], device=device) for name in ("examples", "signs"))
        self.layers = {name: tuple(parameters) for name, parameters in remembered["layers"].items()}
        self.initial = torch.from_numpy(initial).to(device)

    def _combined(self, outputs: Tensor) -> Tensor:
        return outputs @ self.signs.to(outputs)

    def _expansion(
        self, initial: Mapping[str, Tensor], examples: Tensor
    ) -> tuple[Function, dict[str, Tensor], dict[str, Tensor]]:
        """Return the outputs on examples as a function of parameters, the initial ones, and their change."""
        named = dict(self.forward.model.named_parameters())
        trained = [name for names in self.layers.values() for name in names]
        at = {name: _copied(initial[name], self.forward) for name in trained}
        along = {name: _copied(named[name], self.forward) - start for name, start in at.items()}
        fixed = {name: t for name, t in _tensors(self.forward).items() if name not in at}
        on = _OnExamples(self.forward, examples)

        def outputs(varied: dict[str, Tensor]) -> Tensor:
            lent = {MODEL + name: tensor for name, tensor in (fixed | varied).items()}
            return call_with(on, lent, on.places())

        return outputs, at, along


def _is_trained(name: str, parameter: nn.Parameter) -> bool:
    """Return whether a parameter is in the kernel; that others are not is nothing to warn of in a scope."""
    return parameter.requires_grad


def look_at(forward: Forward, budget: int, seed: int) -> Tangent:
    """Choose examples and signs, and take the kernels of the model as it is for the initial ones.

    Args:
        forward: runs the module.
        budget: bytes of memory.
        seed: of the run.

    Raises:
        InputError: if the model has no tangent kernel.
        BudgetError: if the budget is too small for the kernel of 16 examples at once.
    """
    model, probe = forward.model, forward.probe
    chosen = selected_parameters(model)
    if odd := [name for name, p in model.named_parameters() if name in chosen.names and not p.is_floating_point()]:
        raise InputError(f"the parameter {odd[0]!r} is not real, and the tangent kernel is that of real parameters.")
    layers: dict[str, tuple[str, ...]] = {}
    for name in chosen.names:
        layers[chosen.layer_of(name)] = (*layers.get(chosen.layer_of(name), ()), name)
    with undisturbed(model):
        outputs = forward(0, PROOF_EXAMPLES).shape[1]
    signs = _signs(outputs, probe.task, generator("scope", seed, "outputs of the tangent kernel"))
    device = next(model.parameters()).device
    few = torch.arange(min(PROOF_EXAMPLES, probe.n), device=device)
    tangent = Tangent(forward, few, signs, layers, budget, None, torch.empty(0))
    _check_affordable(tangent)
    tangent.examples = spread_over_labels(probe.y, probe.n, MOST_EXAMPLES).to(device)
    tangent.initial = torch.empty(len(layers), len(tangent.examples), len(tangent.examples), device=device)
    initial = {name: p.detach() for name, p in model.named_parameters()}
    with undisturbed(model), plainly():
        function, at, _ = tangent._expansion(initial, few)
        tangent.way = next((way for way in WAYS if agrees(function, at, way)), None)
    tangent.initial = tangent.kernels()
    return tangent


def spread_over_labels(y: Tensor | None, n: int, most: int) -> Tensor:
    """Return indices of at most so many examples, as many of each class as can be, in the order of the labels.

    The first examples of each class are taken. Without classes they are spread evenly over the probe; those with one
    real target each are ordered by it.

    Args:
        y: [n] classes, [n] or [n, outputs] real targets, or None.
        n: how many examples there are.
        most: how many to choose.

    Examples:
        >>> spread_over_labels(torch.tensor([0, 0, 0, 1, 0, 1]), 6, 4).tolist()
        [0, 1, 3, 5]
        >>> spread_over_labels(None, 9, 3).tolist()
        [0, 4, 8]
    """
    if y is None or y.is_floating_point():
        chosen = torch.linspace(0, n - 1, min(n, most), dtype=torch.float64).round().long()
        if y is None or y.numel() != n:
            return chosen
        return chosen[y.cpu().reshape(n)[chosen].argsort(stable=True)]
    y = y.cpu()
    place = torch.empty(n, dtype=torch.int64)
    for c in y.unique():
        place[y == c] = torch.arange(int((y == c).sum()))
    chosen = place.argsort(stable=True)[:most].sort().values
    return chosen[y[chosen].argsort(stable=True)]


def _signs(outputs: int, task: Task | None, draws: torch.Generator) -> Tensor:
    """Return signs ±1: all alike for one output; half of them −1, in random order, for classes; else independent."""
    if outputs == 1:
        return torch.ones(1, dtype=torch.int64)
    if task == "classification":
        return 1 - 2 * (torch.randperm(outputs, generator=draws) % 2)
    return 1 - 2 * torch.randint(2, (outputs,), generator=draws)


def _check_affordable(tangent: Tangent) -> None:
    """Refuse a budget for so few examples at once that each would be differentiated many times."""

    def rows(on: _OnExamples) -> int:
        plan = make_plan(on, on.places(), Readout(tangent._combined), None)
        return plan.sizes(LEAST_BLOCK, LEAST_BLOCK, tangent.budget).rows

    found = _with_own_copies(tangent.forward, tangent.examples, rows)
    if found < LEAST_BLOCK:
        raise BudgetError(
            f"the budget of {tangent.budget:,} bytes holds what the kernel needs of {found} examples at once, but that "
            f"of {LEAST_BLOCK} is wanted: raise it."
        )


class _OnExamples(nn.Module):
    """The model as a function of an example's place among some, whatever kind of input it takes."""

    def __init__(self, forward: Forward, examples: Tensor) -> None:
        super().__init__()
        self.model, self.passed, self.device = forward.model, forward, examples.device
        self.inputs = mapped(forward.probe.x, lambda x: _copied(x[examples.to(x.device)], forward))
        self.count = len(examples)
        self.training = False

    def places(self) -> Tensor:
        return torch.arange(self.count, device=self.device)

    def forward(self, places: Tensor) -> Tensor:
        x = mapped(self.inputs, lambda tensor: tensor[places])
        with as_the_caller():
            outputs = self.passed.predict(self.model, x)
        return check_outputs(outputs, self.passed.probe, len(places))


class _Work(nn.Module):
    """A model and work on it as one module, whose tensors can be lent for all of the work."""

    def __init__(self, on: _OnExamples, work: Callable[[_OnExamples], Any]) -> None:
        super().__init__()
        self.on, self.work = on, work

    def forward(self) -> Any:
        return self.work(self.on)


def _with_own_copies(forward: Forward, examples: Tensor, work: Callable[[_OnExamples], Kind]) -> Kind:
    """Work on the model with copies of its parameters, leaves of a graph of their own, and of its buffers."""
    trained = {name for name, p in forward.model.named_parameters() if p.requires_grad}
    with undisturbed(forward.model), plainly(), torch.enable_grad():
        lent = {name: tensor.requires_grad_(name in trained) for name, tensor in _tensors(forward).items()}
        around = _Work(_OnExamples(forward, examples), work)
        return call_with(around, {f"on.{MODEL}{name}": tensor for name, tensor in lent.items()})


def _tensors(forward: Forward) -> dict[str, Tensor]:
    named = [*forward.model.named_parameters(), *forward.model.named_buffers()]
    return {name: _copied(tensor, forward) for name, tensor in named}


def _copied(tensor: Tensor, forward: Forward) -> Tensor:
    """Return a copy with the channels innermost where the model runs that way, and half precision as float32."""
    tensor = tensor.detach().float() if tensor.dtype in HALF else tensor.detach()
    inner = forward.channels_last and tensor.ndim == 4
    return tensor.clone(memory_format=torch.channels_last if inner else torch.preserve_format)
