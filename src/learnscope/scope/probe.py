"""The probe: the fixed examples on which a network is watched."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from learnscope.errors import InputError
from learnscope.observables.observable import Task

Inputs = Tensor | tuple[Tensor, ...] | dict[str, Tensor]
Predict = Callable[[nn.Module, Any], Tensor]

LEAST_EXAMPLES = 4


@dataclass(frozen=True, slots=True)
class Probe:
    """Inputs and labels, all with the examples along the first dimension.

    Attributes:
        x: a tensor, a tuple of tensors (called as model(*x)) or a dict of tensors (called as model(**x)).
        y: [n] integer classes, [n] or [n, outputs] real targets, or None.
    """

    x: Inputs
    y: Tensor | None

    @property
    def n(self) -> int:
        """Number of examples."""
        return len(tensors_of(self.x)[0])

    @property
    def task(self) -> Task | None:
        """Classes, real targets, or nothing, told by the dtype of the labels."""
        if self.y is None:
            return None
        return "regression" if self.y.is_floating_point() else "classification"

    def rows(self, start: int, stop: int) -> Inputs:
        """Return the inputs of the examples from ``start`` to ``stop``."""
        return mapped(self.x, lambda tensor: tensor[start:stop])

    def fingerprint(self) -> str:
        """Return a hash of all inputs and labels."""
        digest = hashlib.sha256()
        for tensor in [*tensors_of(self.x), *([] if self.y is None else [self.y])]:
            digest.update(f"{tuple(tensor.shape)}{tensor.dtype}".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]


def tensors_of(x: Inputs) -> list[Tensor]:
    """Return the tensors in the inputs."""
    if isinstance(x, Tensor):
        return [x]
    return list(x.values()) if isinstance(x, Mapping) else list(x)


def mapped(x: Inputs, function: Callable[[Tensor], Tensor]) -> Inputs:
    """Return the inputs with ``function`` applied to each tensor."""
    if isinstance(x, Tensor):
        return function(x)
    if isinstance(x, Mapping):
        return {name: function(tensor) for name, tensor in x.items()}
    return tuple(function(tensor) for tensor in x)


def portions(start: int, stop: int, rows: int) -> Iterator[tuple[int, int]]:
    """Return the bounds of portions of at most ``rows`` examples, as equal as can be.

    With ``rows`` from 3 none holds a single example, whose dimension a model that squeezes would drop.

    Examples:
        >>> list(portions(0, 9, 4))
        [(0, 3), (3, 6), (6, 9)]
    """
    count = -(-(stop - start) // rows)
    bounds = [start + (stop - start) * k // count for k in range(count + 1)]
    return itertools.pairwise(bounds)


def call(model: nn.Module, x: Inputs) -> Any:
    """Return model(x), model(*x) or model(**x), by the type of ``x``."""
    if isinstance(x, Tensor):
        return model(x)
    return model(**x) if isinstance(x, Mapping) else model(*x)


def as_probe(probe: Any, task: Task | None = None) -> Probe:
    """Check and convert what a user handed over as the probe.

    Args:
        probe: (x, y) with tensors or arrays, or x alone as a tensor, array or dict.
        task: what the labels are; by default integers and booleans are classes and real numbers are targets, except
            that real labels which are all 0 or 1 could be either and are refused.

    Raises:
        InputError: if it is empty, of unequal lengths, or has labels of one class only, or that do not fit the task.
    """
    if task not in (None, "classification", "regression"):
        raise InputError(f"task is {task!r}, but there are 'classification' and 'regression'.")
    x, y = probe if isinstance(probe, (tuple, list)) and len(probe) == 2 else (probe, None)
    inputs = _as_inputs(x)
    labels = None if y is None else _as_tensor(y)
    lengths = [len(t) if t.ndim else 0 for t in tensors_of(inputs)]
    if not lengths or min(lengths) == 0:
        raise InputError("the probe is empty: hand over at least a few hundred examples as probe=(x, y).")
    if labels is not None:
        lengths.append(len(labels) if labels.ndim else 0)
    if len(set(lengths)) != 1:
        raise InputError(
            f"the parts of the probe have {lengths} examples: the first dimension of every input and of the labels "
            "must be the same."
        )
    if lengths[0] < LEAST_EXAMPLES:
        raise InputError(
            f"the probe has {lengths[0]} examples, but neighbours and similarities need at least {LEAST_EXAMPLES}, and "
            "good estimates several hundred."
        )
    if labels is not None:
        labels = _checked_labels(labels, task)
    return Probe(inputs, labels)


def _checked_labels(y: Tensor, task: Task | None) -> Tensor:
    if y.is_complex():
        raise InputError(f"the probe's labels are {y.dtype}: pass integer classes, or real targets.")
    y = _of_task(y, task)
    return y if y.is_floating_point() else _checked_classes(y)


def _of_task(y: Tensor, task: Task | None) -> Tensor:
    """Return real targets or integer classes, as the task says or, without one, as the dtype does."""
    if not y.is_floating_point():
        return y.to(torch.get_default_dtype()) if task == "regression" else y
    if not torch.isfinite(y).all():
        raise InputError("the probe's targets hold NaN or infinite values: remove those examples.")
    if task == "classification":
        if not (y == y.round()).all():
            raise InputError("task is 'classification', but the probe's labels are not whole numbers: pass classes.")
        return y.long()
    if task is None and ((y == 0) | (y == 1)).all() and y.unique().numel() == 2:
        raise InputError(
            f"the probe's labels are zeros and ones of {y.dtype}, which may be classes or real targets: pass "
            "task='classification' or task='regression'."
        )
    return y


def _checked_classes(y: Tensor) -> Tensor:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise InputError(
            f"the probe's integer labels have shape {list(y.shape)}, but classes must be [n]: for one-hot labels pass "
            "y.argmax(1)."
        )
    y = y.long()
    if (y == y[0]).all():
        raise InputError(
            f"the probe holds one class only ({int(y[0])}): margins, information and probes need at least two; draw "
            "examples of every class."
        )
    return y


def _as_inputs(x: Any) -> Inputs:
    if isinstance(x, Mapping):
        return {str(name): _as_tensor(value) for name, value in x.items()}
    if isinstance(x, (tuple, list)):
        return tuple(_as_tensor(value) for value in x)
    return _as_tensor(x)


def _as_tensor(value: Any) -> Tensor:
    # copies, so that the probe stays what it is whatever the caller does to it later
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.from_numpy(np.array(value))
    raise InputError(
        f"the probe holds a {type(value).__name__}: hand over tensors or NumPy arrays, as probe=(x, y) with the "
        "examples along the first dimension."
    )


def check_placement(model: nn.Module, probe: Probe) -> None:
    """Raise unless the probe lies on the model's device and its real inputs have the model's dtype."""
    parameters = [p for p in model.parameters() if not isinstance(p, nn.UninitializedParameter)]
    if len(parameters) < len(list(model.parameters())):
        raise InputError(
            "the model has lazy parameters without a shape yet, and measuring would initialise them: run one batch "
            "through the model before the scope is made."
        )
    if not parameters:
        return
    device = parameters[0].device
    floating = {p.dtype for p in parameters if p.is_floating_point()}
    for tensor in [*tensors_of(probe.x), *([] if probe.y is None else [probe.y])]:
        if tensor.device != device:
            raise InputError(
                f"the probe is on {tensor.device} but the model on {device}: move it with x.to('{device}')."
            )
    for tensor in tensors_of(probe.x):
        if tensor.is_floating_point() and len(floating) == 1 and tensor.dtype not in floating:
            dtype = next(iter(floating))
            raise InputError(
                f"the probe's inputs are {tensor.dtype} but the model's parameters {dtype}: convert them with "
                f"x.to({dtype})."
            )


def check_outputs(outputs: Any, probe: Probe, rows: int) -> Tensor:
    """Return the model's outputs as [n, outputs] after checking them against the labels.

    Raises:
        InputError: if they are no tensor, have another shape, or do not fit the labels.
    """
    if not isinstance(outputs, Tensor):
        raise InputError(
            f"the model returned a {type(outputs).__name__}, not a tensor: pass predict=lambda model, x: ..., a "
            "function that returns the tensor of outputs [n, outputs]."
        )
    if outputs.is_complex():
        raise InputError(
            f"the model returned {outputs.dtype}, but outputs must be real: pass predict=, a function of (model, x) "
            "that returns, say, their absolute values."
        )
    if outputs.ndim < 2:
        # a model that squeezes its outputs drops the dimension of a single example as well
        outputs = outputs.reshape(1, -1) if rows == 1 else outputs.reshape(-1, 1)
    if outputs.ndim != 2 or len(outputs) != rows:
        raise InputError(
            f"the model returned shape {list(outputs.shape)} for {rows} examples, but [n, outputs] is needed: pass "
            "predict=, a function of (model, x) that returns one row for each example."
        )
    if probe.task == "classification":
        _check_classes(outputs, probe)
    elif probe.task == "regression":
        _check_targets(outputs, probe)
    return outputs


def _check_classes(outputs: Tensor, probe: Probe) -> None:
    assert probe.y is not None
    n_classes = max(outputs.shape[1], 2)
    low, high = int(probe.y.min()), int(probe.y.max())
    if low < 0 or high >= n_classes:
        raise InputError(
            f"the probe's labels run from {low} to {high}, but the model has {outputs.shape[1]} outputs, so classes "
            f"must lie in 0 to {n_classes - 1}: relabel them or check the model's last layer."
        )


def _check_targets(outputs: Tensor, probe: Probe) -> None:
    assert probe.y is not None
    columns = 1 if probe.y.ndim == 1 else probe.y[0].numel()
    if columns != outputs.shape[1]:
        raise InputError(
            f"the probe's labels are {probe.y.dtype} with shape {list(probe.y.shape)}, but the model returns "
            f"{outputs.shape[1]} outputs: pass integer classes (y.long()) for a classifier, or targets of shape "
            f"[n, {outputs.shape[1]}]."
        )
