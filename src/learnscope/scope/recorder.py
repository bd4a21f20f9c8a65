"""Measuring one state of a network and putting it on record."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import xarray as xr
from torch import Tensor

from learnscope.errors import InputError, StoreError
from learnscope.observables.observable import Observable, Occasional, variable
from learnscope.scope.isolation import aside
from learnscope.scope.looks import is_due, last_look
from learnscope.scope.setup import weights_fingerprint
from learnscope.scope.snapshot import Snapshot, Watched
from learnscope.scope.store import Store
from learnscope.threads import alone_if_little

logger = logging.getLogger("learnscope")


class Recorder:
    """Measures all observables on the model as it is now, and appends the results to a store.

    Whatever raises here, an observable, the model on the probe, or the disk, is reported once through the logger
    "learnscope" and noted in the record; its values at that step are missing, and training goes on.

    Attributes:
        seconds: time spent so far, by observable; "forward" is the pass over the probe and "store" the writing.
        failures: by what failed, the first error and its step.
    """

    def __init__(
        self,
        watched: Watched,
        observables: Sequence[Observable],
        store: Store,
        initial_parameters: Mapping[str, Tensor],
    ) -> None:
        self.watched = watched
        self.observables = [o for o in observables if o.applies_to(watched.probe.task)]
        self.store = store
        self.initial_parameters = initial_parameters
        self.seconds: dict[str, float] = {}
        self.failures: dict[str, str] = {}
        self._previous: dict[str, Tensor] | None = None
        self._looked = last_look(store.steps())
        self._glanced: tuple[int, float] | None = None
        self._kernel = self._kernel_on_record()
        self._kinds: dict[str, tuple[object, ...]] = {}
        self._sizes: dict[str, int] = {}

    def measure(self, step: int, scalars: Mapping[str, float | Tensor], *, final: bool = False) -> None:
        """Measure at a step and append the result to the store; the final state is looked at in every respect."""
        parameters = self._parameters()
        closely = final or is_due(step, self._looked)
        due = [o for o in self.observables if closely or not isinstance(o, Occasional)]
        measured = self._measured_all(step, parameters, self._previous, due, closely=closely)
        fingerprint = weights_fingerprint(parameters)
        measured["weights"] = xr.Dataset(
            {"weights_fingerprint": variable(fingerprint, long_name="a number that tells these weights from others")}
        )
        for name, value in scalars.items():
            long_name = f"{name} as logged by the training loop"
            number = variable(float(value), long_name=long_name, units="as logged")
            measured[f"logged.{name}"] = xr.Dataset({f"logged_{name}": number.astype("float64")})
        self._previous = {name: value.clone() for name, value in parameters.items()}
        self._glanced = None if closely else (step, fingerprint)
        with self._surviving("store", step), self._timed("store"):
            self.store.append(step, measured)

    def complete(self) -> None:
        """Look closely at the state that was measured last, if that was no close look and the weights are the same."""
        left = [o for o in self.observables if isinstance(o, Occasional) or "kernel" in o.needs]
        if self._glanced is None or not left:
            return
        (step, fingerprint), parameters = self._glanced, self._parameters()
        now = weights_fingerprint(parameters)
        if now != fingerprint and not (math.isnan(now) and math.isnan(fingerprint)):
            return
        self._glanced = None
        measured = self._measured_all(step, parameters, None, left, closely=True)
        with self._surviving("store", step), self._timed("store"):
            self.store.amend(step, measured)

    def _parameters(self) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in self.watched.model.named_parameters()}

    def _measured_all(
        self,
        step: int,
        parameters: Mapping[str, Tensor],
        previous: Mapping[str, Tensor] | None,
        observables: Sequence[Observable],
        *,
        closely: bool,
    ) -> dict[str, xr.Dataset]:
        """Return what some observables measure now, by observable."""
        kernels = closely and self.watched.tangent is not None
        snapshot = Snapshot(self.watched, step, parameters, self.initial_parameters, previous, kernels, self._kernel)
        measured: dict[str, xr.Dataset] = {}
        with aside():
            with self._surviving("forward", step):
                measured |= self._by_layer(snapshot, observables)
            measured |= self._whole(snapshot, observables)
        if closely:
            self._looked = step
        if snapshot.kernels_now is not None:
            self._kernel = step, snapshot.kernels_now.sum(0).float()
        return measured

    def _kernel_on_record(self) -> tuple[int, Tensor] | None:
        """Return the step of the last look at the tangent kernel, and that of the network as it was."""
        tangent, known = self.watched.tangent, self.store.last_known("kernel")
        if tangent is None or known is None:
            return None
        return known[0], torch.from_numpy(known[1]).to(tangent.examples.device)

    def _by_layer(self, snapshot: Snapshot, due: Sequence[Observable]) -> dict[str, xr.Dataset]:
        """Measure what needs activations, a few layers at a time, and join the parts along the layers."""
        waiting = [o for o in due if "activations" in o.needs]
        parts: dict[str, list[xr.Dataset]] = {o.name: [] for o in waiting}
        groups = snapshot.in_groups() if waiting else iter(())
        while True:
            with self._timed("forward"):
                if next(groups, None) is None:
                    break
            for observable in list(waiting):
                with self._surviving(observable.name, snapshot.step), self._timed(observable.name):
                    parts[observable.name].append(self._measured(observable, snapshot))
                    continue
                waiting.remove(observable)
        joined: dict[str, xr.Dataset] = {}
        for observable in waiting:
            with self._surviving(observable.name, snapshot.step):
                joined[observable.name] = self._checked(observable.name, _along_layers(parts[observable.name]))
        return joined

    def _whole(self, snapshot: Snapshot, due: Sequence[Observable]) -> dict[str, xr.Dataset]:
        measured: dict[str, xr.Dataset] = {}
        for observable in due:
            if "activations" not in observable.needs:
                with self._surviving(observable.name, snapshot.step), self._timed(observable.name):
                    measured[observable.name] = self._checked(observable.name, self._measured(observable, snapshot))
        return measured

    def _measured(self, observable: Observable, snapshot: Snapshot) -> xr.Dataset:
        # Distances between examples take the most, but for what runs the network again.
        work = self.watched.probe.n**2 * max(layer.units for layer in self.watched.layers)
        with alone_if_little(math.inf if "kernel" in observable.needs else work):
            return _dataset(observable.measure(snapshot))

    def _checked(self, observable: str, dataset: xr.Dataset) -> xr.Dataset:
        """Return a measurement that fits to the others and to those before, or raise.

        Raises:
            InputError: if it holds a quantity of another observable, or one of another kind than before, or a dimension
                of another size.
        """
        for name in dataset.data_vars:
            array = dataset.variables[name]  # without the coordinates, which take long to gather
            kind = (observable, array.dims, array.shape, array.dtype.kind)
            before = self._kinds.setdefault(str(name), kind)
            if before != kind:
                raise InputError(
                    f"{observable!r} measures {name!r} as {kind[1:]}, but {before[0]!r} measured it as {before[1:]}: "
                    "a name stands for one quantity with the same dimensions at every step."
                )
        for dim, size in dataset.sizes.items():
            if self._sizes.setdefault(str(dim), size) != size:
                raise InputError(
                    f"{observable!r} has {size} places along {dim!r}, but others have {self._sizes[str(dim)]}: give "
                    "the dimension a name of its own."
                )
        return dataset

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - start

    @contextmanager
    def _surviving(self, what: str, step: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not kill the user's training
            if what in self.failures:
                return
            self.failures[what] = f"step {step}: {type(error).__name__}: {error}"
            logger.warning("%s could not be measured and is missing in the record (%s)", what, self.failures[what])
            try:
                self.store.note(failures=self.failures)
            except StoreError as store_error:
                logger.warning("the failure could not be noted: %s", store_error)


def _dataset(measured: object) -> xr.Dataset:
    if not isinstance(measured, xr.Dataset):
        raise InputError(
            f"measure() returned a {type(measured).__name__}, but an observable returns an xarray.Dataset."
        )
    return measured


def _along_layers(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    return parts[0] if len(parts) == 1 else xr.concat(parts, "layer", data_vars="minimal", join="exact")
