"""What simpler models answer on the probe: fitted on training data, cross-fitted on the probe, or handed over."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from learnscope.errors import InputError
from learnscope.observables.observable import SimplePrediction
from learnscope.observables.simple_models import Classifier, cross_fit, fit_and_predict, linear_classifier
from learnscope.scope.probe import Probe, tensors_of

logger = logging.getLogger("learnscope")


def simple_predictions(
    probe: Probe, train: Any, simple_models: Mapping[str, Classifier | Tensor] | None, n_classes: int
) -> tuple[SimplePrediction, ...]:
    """Fit simpler models, or take over their predictions; one that cannot be fitted is left out with a warning.

    Raises:
        InputError: if training data or predictions do not fit the probe.
    """
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
