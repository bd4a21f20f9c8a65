"""The scope: attach it to a training loop, and it records what the network learns and when."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import xarray as xr
from torch import Tensor, nn

from learnscope.errors import InputError, StoreError
from learnscope.findings import Finding
from learnscope.observables.observable import Observable, Task
from learnscope.observables.simple_models import Classifier
from learnscope.scope import schedules
from learnscope.scope.discovery import Selection
from learnscope.scope.probe import Predict
from learnscope.scope.record import Record
from learnscope.scope.recorder import Recorder
from learnscope.scope.schedules import Schedule
from learnscope.scope.setup import DEFAULT_BUDGET, Setup, prepare
from learnscope.scope.store import Store


class Scope:
    """Watch a network while it trains, without changing its training.

    A first measurement is made at once, before any step; then call :meth:`step` after every optimiser step. The
    scope measures when its schedule says so, and once more at the end of the ``with`` block. Training with a scope
    is bit-identical to training without it; forward hooks that you registered yourself do run on the probe too.

    Args:
        model: any module, compiled or not, in any mode; it is measured in evaluation mode and left as it was.
        probe: (x, y), or x alone: the fixed examples on which the network is watched, from a few hundred to a few
            thousand. ``x`` is a tensor, a tuple (called as model(*x)) or a dict (model(**x)); ``y`` holds integer
            classes [n] or real targets [n] or [n, outputs], see ``task``. Parts may be NumPy arrays.
        train: (x, y) on which simpler models are fitted; without it they are cross-fitted on the probe.
        observables: what to measure; by default everything in :func:`learnscope.observables.default`.
        at: a schedule, see ``learnscope.steps``; by default log-spaced from step 10 on with 4 measurements a decade.
        store: folder of the record. One that exists is continued after its last recorded step, or refused if it
            belongs to another model, probe or choice of layers, or ends with other weights than the model has. Until
            :meth:`close` no other scope can record there. By default the record stays in memory.
        layers: names, patterns ("block*"), or a predicate of (name, module); by default all leaf modules that change
            the representation. Those whose output has no row for each example are named in the record as left out.
        budget: bytes for activations at any one time, 1 GiB by default.
        predict: ``predict(model, x)`` returning the outputs [n, outputs], for models that return something else.
        positions: "mean" or "flatten": how the positions of convolutional and token activations are reduced.
        simple_models: by name, scikit-learn classifiers to compare the network with, or classes [n] that some
            model predicted on the probe, from simple to complex; by default {"linear": logistic regression}.
        class_names: names of the classes, for findings and reports.
        start: the step at which this process takes up training; by default the last one on record, whose weights the
            model must then have. Steps that are on record already are not measured again.
        seed: seed of the bootstrap resamples.
        task: "classification" or "regression"; by default integer labels are classes and real ones are targets. Real
            labels of zeros and ones could be either and need it.

    Raises:
        InputError: if probe, model, layers or schedule do not fit together; each message says what to do.
        StoreError: if the folder cannot be written or holds another run's record.

    Cost: for each measurement one forward pass over the probe, and m n min(m, n) multiplications for the singular
    values of each m × n weight. When the step has quadrupled or 1,000 have passed, and at the end, a close look too:
    n² d for the neighbours in each layer; and the tangent kernel, of one combination of the outputs on 64 examples
    with as many of each class as can be, and the linearisation on half of them, which take two or three steps on
    batches of 64. Observables that you name yourself are measured every time, but for those of the tangent kernel.

    Examples:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> x, y = torch.randn(60, 5), torch.arange(60) % 3
        >>> model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))
        >>> optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with Scope(model, probe=(x, y), at=schedules.every(2)) as scope:
        ...     for _ in range(4):
        ...         loss = nn.functional.cross_entropy(model(x), y)
        ...         optimiser.zero_grad()
        ...         loss.backward()
        ...         optimiser.step()
        ...         scope.step(loss=loss)
        >>> scope.data["step"].values.tolist(), scope.data["layer"].values.tolist()
        ([0, 2, 4], ['0', '1', '2'])
    """

    def __init__(
        self,
        model: nn.Module,
        probe: Any,
        train: Any = None,
        observables: Sequence[Observable] | None = None,
        at: Schedule | None = None,
        store: str | Path | None = None,
        layers: Selection = None,
        budget: int | None = None,
        *,
        predict: Predict | None = None,
        positions: str = "mean",
        simple_models: Mapping[str, Classifier | Tensor] | None = None,
        class_names: Sequence[str] | None = None,
        start: int | None = None,
        seed: int = 0,
        task: Task | None = None,
    ) -> None:
        setup = prepare(
            model,
            probe,
            train=train,
            observables=observables,
            layers=layers,
            budget=DEFAULT_BUDGET if budget is None else budget,
            predict=predict,
            positions=positions,
            simple_models=simple_models,
            class_names=class_names,
            seed=seed,
            task=task,
        )
        self.schedule = schedules.checked(at)
        self._scalars: dict[str, float | Tensor] = {}
        self._store = Store.in_memory() if store is None else Store.at(store)
        try:
            self._begin(setup, start)
        except BaseException:
            self._store.release()
            raise

    def _begin(self, setup: Setup, start: int | None) -> None:
        recorded = setup.attach(self._store)
        self._recorder = Recorder(setup.watched, setup.observables, self._store, setup.initial_parameters)
        self._record = Record(self._store)
        self._last_recorded = recorded if recorded is not None else -1
        self._step = start if start is not None else max(self._last_recorded, 0)
        if recorded is not None:
            self._check_weights(setup, start)
        if recorded is None and self.schedule(self._step, {}):
            self._measure()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # after an exception the weights may be half updated, so they are not measured
        self.close(measure=kind is None)

    @property
    def current_step(self) -> int:
        """Number of optimiser steps that the scope was told of, earlier processes included."""
        return self._step

    def step(self, **scalars: float | Tensor) -> None:
        """Tell the scope that the optimiser has made a step; measure if the schedule says so.

        Args:
            scalars: numbers to put on record beside the measurement, such as ``loss=loss`` or ``lr=lr``.
        """
        self._step += 1
        self._scalars = {name: _scalar(name, value) for name, value in scalars.items()}
        wanted = self.schedule(self._step, self._scalars)  # pyright: ignore[reportArgumentType]
        if wanted and self._step > self._last_recorded:
            self._measure()

    def measure(self) -> None:
        """Measure now, whatever the schedule says, unless this step is on record already."""
        if self._step > self._last_recorded:
            self._measure()

    def close(self, *, measure: bool = True) -> None:
        """End the watch, with a close look at the final state unless ``measure`` is False.

        The store may then be recorded into by another scope, or by this one if it measures again.
        """
        if measure and self._step > self._last_recorded:
            self._measure(final=True)
        elif measure:
            self._recorder.complete()
        self._store.release()

    def _measure(self, *, final: bool = False) -> None:
        self._recorder.measure(self._step, self._scalars, final=final)
        self._last_recorded = self._step

    def _check_weights(self, setup: Setup, start: int | None) -> None:
        """Refuse to count on from a record whose last weights are not those that the model has now."""
        fingerprint = self._store.last("weights_fingerprint")
        if (
            start is None
            and fingerprint is not None
            and not math.isclose(fingerprint, setup.fingerprint(), rel_tol=1e-6)
        ):
            raise StoreError(
                f"the record {self._store.name!r} ends at step {self._last_recorded} with other weights than the "
                "model has now: load the checkpoint that belongs to it and pass start=its step, or choose another "
                "folder as store=."
            )

    @property
    def record(self) -> Record:
        """The record so far."""
        return self._record

    @property
    def data(self) -> xr.Dataset:
        """Everything measured so far, as one Dataset; see :attr:`Record.data`."""
        return self._record.data

    @property
    def seconds(self) -> dict[str, float]:
        """Time spent measuring so far, by observable."""
        return dict(self._recorder.seconds)

    @property
    def failures(self) -> dict[str, str]:
        """What could not be measured, by observable, with the first error."""
        return dict(self._recorder.failures)

    def findings(self) -> list[Finding]:
        """Return what the record shows, as sentences with their evidence."""
        return self._record.findings()

    def report(self, path: str | Path | None = None) -> Path:
        """Write one self-contained HTML page and return where it is; see :meth:`Record.report`."""
        return self._record.report(path)


def _scalar(name: str, value: Any) -> float | Tensor:
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.detach()
    if isinstance(value, (int, float, np.number)) or (isinstance(value, np.ndarray) and value.size == 1):
        return float(value) if not isinstance(value, np.ndarray) else float(value.reshape(()))
    raise InputError(
        f"step() was given {name}={value!r}, but scalars are single numbers: pass {name}=loss.mean(), say."
    )
