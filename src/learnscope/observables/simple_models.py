"""Simpler models of the same task, against which a network is measured."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from learnscope.errors import InputError
from learnscope.observables.observable import SimplePrediction

FOLDS = 5
ITERATIONS = 300


class Classifier(Protocol):
    """What a simpler model must offer: scikit-learn's ``fit`` and ``predict``."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> object:
        """Fit on inputs [n, features] and integer classes [n]."""
        ...

    def predict(self, X: np.ndarray) -> Any:
        """Return integer classes [n] as an array."""
        ...


def linear_classifier() -> Classifier:
    """Return the linear classifier: multinomial logistic regression on the flattened inputs.

    It carries the weak penalty ‖W‖² / 2 on the sum of the losses, so that a best classifier exists for separable
    data too. Inputs come centred and divided by one common standard deviation, which leaves the set of linear
    classifiers as it is.
    """
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1.0, max_iter=ITERATIONS, tol=1e-3)


def fit_and_predict(name: str, model: Classifier, train: tuple[Tensor, Tensor], probe_x: Tensor) -> SimplePrediction:
    """Fit a simpler model on training data and return its classes on the probe.

    Args:
        name: name of the simpler model.
        model: anything with scikit-learn's ``fit`` and ``predict``.
        train: inputs [m, ...] and integer classes [m].
        probe_x: [n, ...].
    """
    x, y = _flattened(train[0]), train[1].cpu().numpy()
    centre, scale = x.mean(0), max(float(x.std()), 1e-12)

    def fit() -> np.ndarray:
        model.fit((x - centre) / scale, y)
        return model.predict((_flattened(probe_x) - centre) / scale)

    classes, converged = _watched(fit)
    return SimplePrediction(name, classes, converged, f"{len(y)} training examples")


def cross_fit(name: str, model: Classifier, x: Tensor, y: Tensor) -> SimplePrediction:
    """Predict each probe example by a simpler model that was fitted on other parts of the probe.

    Args:
        name: name of the simpler model.
        model: a scikit-learn estimator; it is cloned for each fold.
        x: [n, ...] inputs of the probe.
        y: [n] integer classes.

    Raises:
        InputError: if no class has two examples, or the model cannot be fitted.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    inputs, labels = _flattened(x), y.cpu().numpy()
    number = min(FOLDS, int(np.bincount(labels).max()))
    if number < 2:
        raise InputError(
            f"no class has two examples in the probe, too few to fit a {name} model on a part of it: hand training "
            "data over as train=(x, y)."
        )
    inputs = (inputs - inputs.mean(0)) / max(float(inputs.std()), 1e-12)
    folds = StratifiedKFold(number, shuffle=True, random_state=0)
    classes, converged = _watched(lambda: cross_val_predict(model, inputs, labels, cv=folds))
    return SimplePrediction(name, classes, converged, f"{number} folds of the probe itself ({len(labels)} examples)")


def _flattened(x: Tensor) -> np.ndarray:
    return x.detach().flatten(1).float().cpu().numpy()


def _watched(fit: Callable[[], Any]) -> tuple[Tensor, bool]:
    """Run a fit; return its classes and whether scikit-learn raised no warning of slow convergence."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            classes = np.asarray(fit())
        except ValueError as error:
            reason = str(error).strip().split("\n")[0].rstrip(".")
            raise InputError(f"a simpler model could not be fitted ({reason}): check the inputs.") from error
    slow = any(issubclass(w.category, ConvergenceWarning) for w in caught)
    return torch.from_numpy(classes).long(), not slow
