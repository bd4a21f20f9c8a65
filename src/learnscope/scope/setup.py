"""Checking and fitting together what a scope or a replay is given, before anything is measured."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from learnscope.errors import InputError, StoreError
from learnscope.observables import default
from learnscope.observables.observable import Observable, SimplePrediction
from learnscope.observables.simple_models import Classifier, cross_fit, fit_and_predict, linear_classifier
from learnscope.scope.capture import chunk_size, layer_groups
from learnscope.scope.forward import fastest
from learnscope.scope.isolation import aside, original_module, undisturbed
from learnscope.scope.layers import Selection, checked_reduction, discover
from learnscope.scope.probe import Predict, Probe, as_probe, call, check_placement, tensors_of
from learnscope.scope.snapshot import MOST_COMPONENTS, Watched
from learnscope.scope.store import Store

logger = logging.getLogger("learnscope")
DEFAULT_BUDGET = 2**30
LARGEST_KEPT_INPUT = 64 * 2**20  # bytes: inputs above this are not copied into the record


@dataclass(frozen=True)
class Setup:
    """Everything that is fixed before the first measurement."""

    watched: Watched
    observables: tuple[Observable, ...]
    initial_parameters: dict[str, Tensor]
    n_classes: int
    class_names: tuple[str, ...] = ()

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
            "positions": watched.reduction,
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


def weights_fingerprint(parameters: Mapping[str, Tensor]) -> float:
    """Return Σ k ‖W_k‖ over the parameters in order, in float64: equal for equal weights, hardly ever for others."""
    norms = (float(torch.linalg.vector_norm(value.detach().double())) for value in parameters.values())
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
) -> Setup:
    """Check everything, find the layers, and fit the simpler models."""
    module = original_module(model)
    examples = as_probe(probe)
    check_placement(module, examples)
    watched, n_classes = _watched(module, examples, layers, budget, predict or call, positions, seed)
    chosen = tuple(observables) if observables is not None else default(*_largest(watched))
    _check_names(chosen)
    if any(o.name == "simplicity" for o in chosen) and examples.task == "classification":
        with aside():
            predictions = _simple_predictions(examples, train, simple_models, n_classes)
        watched = replace(watched, simple_predictions=predictions)
        if not watched.simple_predictions:
            chosen = tuple(o for o in chosen if o.name != "simplicity")
    initial = {name: value.detach().clone() for name, value in module.named_parameters()}
    return Setup(watched, chosen, initial, n_classes, _checked_names(class_names, n_classes))


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
) -> tuple[Watched, int]:
    reduction = checked_reduction(positions)
    forward = fastest(module, probe, predict)
    with undisturbed(module):
        width = forward(0, 2).shape[1]
        found = discover(module, lambda examples: forward(0, examples), layers, reduction)
    chunk_size(found, budget, probe.n)
    layer_groups(found, budget, probe.n)
    return Watched(forward, found, reduction, budget, seed), max(width, 2)


def _largest(watched: Watched) -> tuple[int, int]:
    units = max(layer.units for layer in watched.layers)
    return min(MOST_COMPONENTS, units, watched.probe.n - 1), units


def _check_names(observables: Sequence[Observable]) -> None:
    names = [observable.name for observable in observables]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two observables are named {twice[0]!r}: give each its own name, for it names their results.")


def _simple_predictions(
    probe: Probe, train: Any, simple_models: Mapping[str, Classifier | Tensor] | None, n_classes: int
) -> tuple[SimplePrediction, ...]:
    if simple_models is None:
        if not isinstance(probe.x, Tensor) or not probe.x.is_floating_point():
            return ()  # a linear model of several inputs, or of token numbers, means nothing
        simple_models = {"linear": linear_classifier()}
    training = _checked_training(train, probe, n_classes)
    predictions: list[SimplePrediction] = []
    for name, model in simple_models.items():
        if not isinstance(model, Tensor) and not _usable(probe, training):
            logger.warning(
                "%s could not be fitted, because inputs are not finite or too few of a class; left out", name
            )
            continue
        predictions.append(_simple_prediction(name, model, probe, training))
    return tuple(predictions)


def _usable(probe: Probe, train: tuple[Tensor, Tensor] | None) -> bool:
    assert probe.y is not None
    inputs = [*tensors_of(probe.x), *([] if train is None else [train[0]])]
    enough = train is not None or int(probe.y.bincount().max()) > 1
    return enough and all(bool(torch.isfinite(x).all()) for x in inputs if x.is_floating_point())


def _simple_prediction(
    name: str, model: Classifier | Tensor, probe: Probe, train: tuple[Tensor, Tensor] | None
) -> SimplePrediction:
    assert probe.y is not None
    if isinstance(model, Tensor):
        if model.shape != (probe.n,) or model.is_floating_point():
            raise InputError(
                f"the predictions of {name!r} are {model.dtype} with shape {list(model.shape)}: hand over integer "
                f"classes of the probe, [{probe.n}]."
            )
        return SimplePrediction(name, model.cpu().long(), True, "predictions that were handed over")
    if not isinstance(probe.x, Tensor):
        raise InputError(f"{name!r} cannot be fitted on several inputs: hand over its classes on the probe instead.")
    if train is None:
        return cross_fit(name, model, probe.x, probe.y)
    return fit_and_predict(name, model, train, probe.x)


def _checked_training(train: Any, probe: Probe, n_classes: int) -> tuple[Tensor, Tensor] | None:
    if train is None:
        return None
    if not isinstance(train, (tuple, list)) or len(train) != 2:
        raise InputError("train must be (x, y), the training inputs and their integer classes.")
    x, y = (torch.as_tensor(part) for part in train)
    if len(x) != len(y) or not len(x):
        raise InputError(f"train has {len(x)} inputs and {len(y)} labels: they must be equal and not zero.")
    if isinstance(probe.x, Tensor) and x.shape[1:] != probe.x.shape[1:]:
        raise InputError(
            f"train has inputs of shape {list(x.shape[1:])} but the probe {list(probe.x.shape[1:])}: prepare both "
            "alike."
        )
    if y.is_floating_point() or y.ndim != 1 or int(y.min()) < 0 or int(y.max()) >= n_classes:
        raise InputError(f"train's labels must be integer classes [n] in 0 to {n_classes - 1}, as the probe's are.")
    if (y == y[0]).all():
        raise InputError(f"train holds one class only ({int(y[0])}): hand over examples of every class.")
    return x, y
