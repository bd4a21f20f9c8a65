"""The state of a network at one step, with costly ingredients computed once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from learnscope.errors import InputError
from learnscope.observables.canonical_correlation import Basis, principal_bases
from learnscope.observables.features import all_finite
from learnscope.observables.neighbours import Neighbours, nearest_neighbours
from learnscope.observables.observable import Kernels, Linearisation, SimplePrediction, Task
from learnscope.observables.spectra import as_matrix, singular_values
from learnscope.observables.units import UnitStatistics
from learnscope.randomness import generator
from learnscope.scope.capture import Captured, capture, chunk_size, layer_groups
from learnscope.scope.forward import Forward
from learnscope.scope.isolation import undisturbed
from learnscope.scope.layers import Layer, Reduction
from learnscope.scope.probe import Probe, tensors_of
from learnscope.scope.tangent import Tangent

NEIGHBOURS = 10
EXPLAINED_VARIANCE = 0.99
MOST_COMPONENTS = 128


@dataclass(frozen=True)
class Watched:
    """What stays the same over all snapshots of one run.

    Attributes:
        forward: runs the module, without any compiled wrapper, on the probe.
        layers: the layers in view.
        reduction: how positions of an activation are reduced.
        budget: bytes for activations at any one time.
        seed: seed of the run's own randomness (bootstrap resamples).
        simple_predictions: what simpler models answer on the probe.
        tangent: how the tangent kernel is looked at, if it is.
    """

    forward: Forward
    layers: tuple[Layer, ...]
    reduction: Reduction
    budget: int
    seed: int = 0
    simple_predictions: tuple[SimplePrediction, ...] = ()
    tangent: Tangent | None = None

    @property
    def model(self) -> nn.Module:
        """The module."""
        return self.forward.model

    @property
    def probe(self) -> Probe:
        """The examples."""
        return self.forward.probe


@dataclass
class Snapshot:
    """A network at one step, as observables see it (:class:`learnscope.observables.observable.State`).

    Features, neighbours and bases are those of the layers in view; ``in_groups`` walks through all layers with no
    more in memory than the budget allows. Everything is computed at most once for each layer and step.

    Memory: at most ``budget`` bytes of activations and features, and beyond that what neighbours and bases of the
    layers in view take, n·(8·20 + 4·(128 + units)) bytes for each layer.
    """

    watched: Watched
    step: int
    parameters: Mapping[str, Tensor]
    initial_parameters: Mapping[str, Tensor]
    previous_parameters: Mapping[str, Tensor] | None
    looks_at_kernels: bool = False
    previous_kernel: tuple[int, Tensor] | None = None
    layers: Sequence[str] = ()
    _captured: Captured | None = None
    _finite: dict[str, bool] = field(default_factory=dict)
    _neighbours: dict[str, Neighbours] = field(default_factory=dict)
    _bases: dict[str, Basis] = field(default_factory=dict)
    _spectra: dict[str, Tensor] = field(default_factory=dict)
    kernels_now: Tensor | None = None

    @property
    def task(self) -> Task | None:
        """Whether labels are classes or real targets; None without labels."""
        return self.watched.probe.task

    @property
    def y(self) -> Tensor:
        """Labels of the probe."""
        if self.watched.probe.y is None:
            raise InputError("this needs labels, but the probe has none: pass probe=(x, y).")
        return self.watched.probe.y

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return max(self.outputs.shape[1], 2)

    @property
    def simple_predictions(self) -> Sequence[SimplePrediction]:
        """Predictions of simpler models on the probe."""
        return self.watched.simple_predictions

    @property
    def outputs(self) -> Tensor:
        """[n, outputs] on the probe; computed by a pass of its own unless activations were captured before."""
        if self._captured is None:
            self._captured = self._pass_over([])
        return self._captured.outputs

    def features(self, layer: str) -> Tensor:
        """[n, units] activations of a layer in view."""
        return self._view(layer).features[layer]

    def is_finite(self, layer: str) -> bool:
        """Whether all activations of a layer in view, and its features, are finite."""
        if layer not in self._finite:
            self._finite[layer] = self.units(layer).nonfinite == 0 and all_finite(self.features(layer))
        return self._finite[layer]

    def units(self, layer: str) -> UnitStatistics:
        """Statistics of each unit of a layer in view, before positions were reduced."""
        return self._view(layer).units[layer]

    def neighbours(self, layer: str) -> Neighbours:
        """The 10 nearest neighbours of each example (fewer in a small probe) in a layer in view."""
        if layer not in self._neighbours:
            features = self.features(layer)
            self._neighbours[layer] = nearest_neighbours(features, min(NEIGHBOURS, len(features) - 1))
        return self._neighbours[layer]

    def basis(self, layer: str) -> Basis:
        """Principal basis of a finite layer in view: 99 % of the variance, at most 128 components."""
        if layer not in self._bases:
            # All at once, which threads share where the probe is large.
            names = [name for name in self.layers if self.is_finite(name)]
            features = [self.features(name).float() for name in names]
            bases = principal_bases(features, variance=EXPLAINED_VARIANCE, most=MOST_COMPONENTS)
            self._bases.update(zip(names, bases, strict=True))
        return self._bases[layer]

    def singular_values(self, parameter: str) -> Tensor:
        """Singular values of a parameter as a matrix, in descending order."""
        if parameter not in self._spectra:
            self._spectra[parameter] = singular_values(as_matrix(self.parameters[parameter]))
        return self._spectra[parameter]

    @property
    def kernels(self) -> Kernels:
        """The tangent kernels now, at the start, and at the look before."""
        tangent = self._tangent
        step, previous = self.previous_kernel or (None, None)
        if self.looks_at_kernels and self.kernels_now is None:
            self.kernels_now = tangent.initial if self._is_first_look() else tangent.kernels()
        pause = None if step is None else self.step - step
        return Kernels(tangent.layers, tangent.examples, tangent.initial, self.kernels_now, previous, pause)

    @property
    def linearisation(self) -> Linearisation | None:
        """The network's linearisation at the initial parameters; None where nobody looks, or where it has none."""
        return self._tangent.linearisation(self.initial_parameters) if self.looks_at_kernels else None

    @property
    def _tangent(self) -> Tangent:
        if self.watched.tangent is None:
            raise InputError("there is no tangent kernel in view: measure with an observable that needs 'kernel'.")
        return self.watched.tangent

    def _is_first_look(self) -> bool:
        """Return whether the network is where the initial kernels were taken."""
        start, now = self.initial_parameters, self.parameters
        return self.previous_kernel is None and all(torch.equal(start[name], now[name]) for name in start)

    def generator(self, purpose: str) -> torch.Generator:
        """A generator derived from the run's seed, the purpose and the step."""
        return generator("scope", self.watched.seed, purpose, self.step)

    def in_groups(self) -> Iterator[Snapshot]:
        """Yield this snapshot again and again with a few layers in view, until each was in view once."""
        watched = self.watched
        for group in layer_groups(watched.layers, watched.budget, watched.probe.n):
            with self._in_view(group):
                yield self

    @contextmanager
    def _in_view(self, group: list[Layer]) -> Iterator[None]:
        self._captured = self._pass_over(group)
        self.layers = [layer.name for layer in group]
        try:
            yield
        finally:
            self._captured = Captured(self._captured.outputs)
            self._finite.clear()
            self._neighbours.clear()
            self._bases.clear()
            self.layers = ()

    def _view(self, layer: str) -> Captured:
        if self._captured is None or layer not in self._captured.features:
            raise InputError(
                f"layer {layer!r} is not in view: ask inside Snapshot.in_groups(), for one of state.layers."
            )
        return self._captured

    def _pass_over(self, group: list[Layer]) -> Captured:
        watched = self.watched
        device = tensors_of(watched.probe.x)[0].device.type
        rows = chunk_size(watched.layers, watched.budget, watched.probe.n, device)
        with undisturbed(watched.model):
            return capture(watched.forward, group, watched.reduction, rows)
