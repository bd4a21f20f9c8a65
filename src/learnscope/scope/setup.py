"""Checking and fitting together what a scope or a replay is given, before anything is measured."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from learnscope.errors import InputError, LayerError, LearnscopeError, StoreError
from learnscope.memory import keep_freed_memory
from learnscope.observables import default
from learnscope.observables.observable import Observable, Task
from learnscope.observables.simple_models import Classifier
from learnscope.scope.capture import chunk_size, layer_groups
from learnscope.scope.discovery import Selection, discover
from learnscope.scope.forward import fastest
from learnscope.scope.isolation import aside, original_module, undisturbed
from learnscope.scope.layers import checked_reduction
from learnscope.scope.order import in_order
from learnscope.scope.probe import Predict, Probe, as_probe, call, check_placement, tensors_of
from learnscope.scope.simpler import simple_predictions
from learnscope.scope.snapshot import MOST_COMPONENTS, Watched
from learnscope.scope.store import Store
from learnscope.scope.tangent import Tangent, look_at
from learnscope.threads import alone_if_little

DEFAULT_BUDGET = 2**30
LARGEST_KEPT_INPUT = 64 * 2**20  # bytes: inputs above this are not copied into the record


@dataclass(frozen=True)
class Setup:
    """Everything that is fixed before the first measurement."""

    watched: Watched
    observables: tuple[Observable, ...]
    initial_parameters: dict[str, Tensor]
    n_classes: int
    class_names: tuple[str, ...]
    left_out: dict[str, str]

    def attach(self, store: Store) -> int | None:
        """Make a new store this run's, or check that an old one is; return its last recorded step.

        A store that is continued hands over its initial parameters, so that movement is measured from where the run
        really began.

        Raises:
            StoreError: if the store belongs to another model, probe or choice of layers.
        """
        identity = self._identity()
        noted = store.attributes.get("identity")
        if noted is None:
            self._write_static(store)
            store.write_initial(self.initial_parameters)
            store.note(identity=identity, **self._description())
            return None
        for part in identity:
            if noted[part] != identity[part]:
                raise StoreError(
                    f"the record {store.name!r} was made with another choice of {part} ({noted[part]}, now "
                    f"{identity[part]}): choose another folder as store=, or remove this one to start again."
                )
        if self.watched.tangent is not None:
            self.watched.tangent.recall(store.attributes.get("tangent_kernel"), store.static("initial_kernel"))
        for name, value in (store.initial() or {}).items():
            self.initial_parameters[name] = value.to(self.initial_parameters[name].device)
        steps = store.steps()
        return int(steps[-1]) if len(steps) else None

    def fingerprint(self) -> float:
        """Return a number that tells the weights that the model has now from others."""
        return weights_fingerprint(dict(self.watched.model.named_parameters()))

    def _identity(self) -> dict[str, str]:
        shapes = [(name, list(value.shape), str(value.dtype)) for name, value in self.initial_parameters.items()]
        modules = dict(self.watched.model.named_modules())
        layers = [(layer.name, layer.units, type(modules[layer.module]).__name__) for layer in self.watched.layers]
        kind = type(self.watched.model).__name__
        return {
            "model": f"{kind}, {sum(v.numel() for v in self.initial_parameters.values()):,} parameters, "
            f"{_hash(shapes)}",
            "probe": f"{self.watched.probe.n} examples, {self.watched.probe.fingerprint()}",
            "layers": f"{len(layers)} layers, {_hash(layers)}",
            "simple models": ", ".join(p.name for p in self.watched.simple_predictions) or "none",
        }

    def _description(self) -> dict[str, Any]:
        watched = self.watched
        return {
            "task": watched.probe.task,
            "n_classes": self.n_classes,
            "class_names": list(self.class_names),
            "layer_layouts": {layer.name: layer.layout for layer in watched.layers},
            "left_out": self.left_out,
            "positions": watched.reduction,
            "tangent_kernel": watched.tangent and watched.tangent.remembered(),
            "simple_models": {
                p.name: {"fitted_on": p.fitted_on, "converged": p.converged} for p in watched.simple_predictions
            },
        }

    def _write_static(self, store: Store) -> None:
        probe = self.watched.probe
        if probe.y is not None:
            dims = ("example", "output")[: probe.y.ndim]
            store.write_static("label", dims, probe.y.cpu().numpy(), {"long_name": "label of the probe example"})
        if isinstance(probe.x, Tensor) and probe.x.numel() * probe.x.element_size() <= LARGEST_KEPT_INPUT:
            dims = ("example", *(f"input_{k}" for k in range(1, probe.x.ndim)))
            values = probe.x.float() if probe.x.dtype == torch.bfloat16 else probe.x
            store.write_static("input", dims, values.cpu().numpy(), {"long_name": "input of the probe example"})
        if self.watched.simple_predictions:
            classes = np.stack([p.classes.numpy() for p in self.watched.simple_predictions])
            names = {"long_name": "class predicted by the simpler model"}
            store.write_static("simple_prediction", ("simple_model", "example"), classes, names)
        if self.watched.tangent is not None:
            dims = ("kernel_layer", "kernel_example", "other_kernel_example")
            names = {"long_name": "tangent kernel at the start of training, by layer"}
            store.write_static("initial_kernel", dims, self.watched.tangent.initial.cpu().numpy(), names)


def weights_fingerprint(parameters: Mapping[str, Tensor]) -> float:
    """Return Σ k ‖W_k‖ over the parameters in order, in float64: equal for equal weights, hardly ever for others."""
    wide = (value.detach().to(torch.promote_types(value.dtype, torch.float64)) for value in parameters.values())
    norms = (float(torch.linalg.vector_norm(value)) for value in wide)
    return sum(k * norm for k, norm in enumerate(norms, 1))


def _hash(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12]


def prepare(
    model: nn.Module,
    probe: Any,
    *,
    train: Any,
    observables: Sequence[Observable] | None,
    layers: Selection,
    budget: int,
    predict: Predict | None,
    positions: str,
    simple_models: Mapping[str, Classifier | Tensor] | None,
    class_names: Sequence[str] | None,
    seed: int,
    task: Task | None = None,
) -> Setup:
    """Check everything, find the layers, and fit the simpler models."""
    keep_freed_memory()
    module = original_module(model)
    examples = as_probe(probe, task)
    check_placement(module, examples)
    watched, n_classes, left_out = _watched(module, examples, layers, budget, predict or call, positions, seed)
    chosen = tuple(observables) if observables is not None else default(*_largest(watched))
    _check_names(chosen)
    if any(o.name == "simplicity" for o in chosen) and examples.task == "classification":
        work = math.inf if train is not None else examples.n * sum(x.numel() for x in tensors_of(examples.x))
        with aside(), alone_if_little(work):
            predictions = simple_predictions(examples, train, simple_models, n_classes)
        watched = replace(watched, simple_predictions=predictions)
        if not watched.simple_predictions:
            chosen = tuple(o for o in chosen if o.name != "simplicity")
    if any("kernel" in o.needs for o in chosen):
        tangent, reason = _tangent(watched)
        watched = replace(watched, tangent=tangent)
        if tangent is None:
            chosen = tuple(o for o in chosen if "kernel" not in o.needs)
            left_out["the tangent kernel"] = reason
    initial = {name: value.detach().clone() for name, value in module.named_parameters()}
    return Setup(watched, chosen, initial, n_classes, _checked_names(class_names, n_classes), left_out)


def _tangent(watched: Watched) -> tuple[Tangent | None, str]:
    """Return how the tangent kernel is looked at, or None and why it is not."""
    try:
        with aside():
            return look_at(watched.forward, watched.budget, watched.seed), ""
    except Exception as error:  # noqa: BLE001 - whatever the model cannot do, the rest can be measured
        return None, (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")


def _checked_names(names: Sequence[str] | None, n_classes: int) -> tuple[str, ...]:
    names = tuple(map(str, names or ()))
    if names and len(names) != n_classes:
        raise InputError(f"there are {len(names)} class names for {n_classes} classes: give one for each.")
    return names


def _watched(
    module: nn.Module,
    probe: Probe,
    layers: Selection,
    budget: int,
    predict: Predict,
    positions: str,
    seed: int,
) -> tuple[Watched, int, dict[str, str]]:
    reduction = checked_reduction(positions)
    with _model_errors_explained():
        forward = fastest(module, probe, predict)
        with undisturbed(module):
            width = forward(0, 2).shape[1]
            found, left_out = discover(module, lambda examples: forward(0, examples), layers, reduction)
            found, moved = in_order(forward, found, reduction, chunk_size(found, budget, probe.n))
    if moved and layers is not None and not callable(layers):
        name, reason = next(iter(moved.items()))
        raise LayerError(f"layer {name!r} cannot be watched, for {reason}: leave it out of layers=.")
    left_out |= moved
    layer_groups(found, budget, probe.n)
    return Watched(forward, found, reduction, budget, seed), max(width, 2), left_out


@contextmanager
def _model_errors_explained() -> Iterator[None]:
    """Turn what the model itself raises into a sentence with the remedy."""
    try:
        yield
    except LearnscopeError:
        raise
    except Exception as error:
        reason = (str(error).strip().split("\n")[0] or "no reason given").rstrip(".")
        raise InputError(
            f"the model raised {type(error).__name__} on the first 2 or 3 examples of the probe ({reason}), but it is "
            "run on portions of any size: check the probe, or pass predict=, a function of (model, x) that calls the "
            "model as it wants to be called and clears what it keeps from its last batch."
        ) from error


def _largest(watched: Watched) -> tuple[int, int]:
    units = max(layer.units for layer in watched.layers)
    return min(MOST_COMPONENTS, units, watched.probe.n - 1), units


def _check_names(observables: Sequence[Observable]) -> None:
    names = [observable.name for observable in observables]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two observables are named {twice[0]!r}: give each its own name, for it names their results.")
