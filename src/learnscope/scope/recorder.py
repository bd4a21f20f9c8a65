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
from learnscope.observables.observable import Observable, variable
from learnscope.scope.isolation import aside
from learnscope.scope.setup import weights_fingerprint
from learnscope.scope.snapshot import Snapshot, Watched
from learnscope.scope.store import Store
from learnscope.scope.tangent import is_due
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
        self._kernel = self._kernel_on_record()
        self._kinds: dict[str, tuple[object, ...]] = {}
        self._sizes: dict[str, int] = {}

    def measure(self, step: int, scalars: Mapping[str, float | Tensor], *, final: bool = False) -> None:
        """Measure at a step and append the result to the store; the final state is looked at in every respect."""
        parameters = {name: value.detach() for name, value in self.watched.model.named_parameters()}
        looks = self.watched.tangent is not None and (final or is_due(step, self._kernel and self._kernel[0]))
        previous = (self._previous, looks, self._kernel)
        snapshot = Snapshot(self.watched, step, parameters, self.initial_parameters, *previous)
        measured: dict[str, xr.Dataset] = {}
        with aside():
            with self._surviving("forward", step):
                measured |= self._by_layer(snapshot)
            measured |= self._whole(snapshot)
        fingerprint = variable(
            weights_fingerprint(parameters), long_name="a number that tells these weights from others"
        )
        measured["weights"] = xr.Dataset({"weights_fingerprint": fingerprint})
        for name, value in scalars.items():
            long_name = f"{name} as logged by the training loop"
            number = variable(float(value), long_name=long_name, units="as logged")
            measured[f"logged.{name}"] = xr.Dataset({f"logged_{name}": number.astype("float64")})
        self._previous = {name: value.clone() for name, value in parameters.items()}
        if snapshot.kernels_now is not None:
            self._kernel = step, snapshot.kernels_now.sum(0).float()
        with self._surviving("store", step), self._timed("store"):
            self.store.append(step, measured)

    def _kernel_on_record(self) -> tuple[int, Tensor] | None:
        """Return the step of the last look at the tangent kernel, and that of the network as it was."""
        tangent, known = self.watched.tangent, self.store.last_known("kernel")
        if tangent is None or known is None:
            return None
        return known[0], torch.from_numpy(known[1]).to(tangent.examples.device)

    def _by_layer(self, snapshot: Snapshot) -> dict[str, xr.Dataset]:
        """Measure what needs activations, a few layers at a time, and join the parts along the layers."""
        waiting = [o for o in self.observables if "activations" in o.needs]
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

    def _whole(self, snapshot: Snapshot) -> dict[str, xr.Dataset]:
        measured: dict[str, xr.Dataset] = {}
        for observable in self.observables:
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
