"""What an observable is, and what it may ask of the state of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from learnscope.errors import InputError
from learnscope.estimate import Estimate

if TYPE_CHECKING:
    from learnscope.observables.canonical_correlation import Basis
    from learnscope.observables.neighbours import Neighbours
    from learnscope.observables.units import UnitStatistics

Need = Literal["outputs", "activations", "parameters", "kernel"]
Task = Literal["classification", "regression"]


class SimplePrediction(NamedTuple):
    """What a simpler model answers on the probe.

    Attributes:
        name: the name of the simpler model, such as "linear".
        classes: [n] integers, its hard predictions.
        converged: whether its own fit converged.
        fitted_on: in words, the examples that it was fitted on.
    """

    name: str
    classes: Tensor
    converged: bool
    fitted_on: str


class Kernels(NamedTuple):
    """Tangent kernels on some examples of the probe, by layer; they sum to that of the network.

    They are looked at less often than the rest, for they cost more.

    Attributes:
        layers: by the name of a module, the names of its parameters in the kernel.
        examples: [m] indices into the probe, in the order of the labels.
        initial: [layers, m, m] at the start of training; NaN if unknown.
        now: the same now; None where nobody looks.
        previous: [m, m] that of the network at the look before, in float32; None at the first.
        pause: how many steps lie between the two.
    """

    layers: Mapping[str, tuple[str, ...]]
    examples: Tensor
    initial: Tensor
    now: Tensor | None
    previous: Tensor | None
    pause: int | None


class Linearisation(NamedTuple):
    """A network and its first-order expansion around its initial parameters, on some examples of the probe.

    Attributes:
        outputs: [m, outputs] of the network as it is now, in float32 at least.
        linearised: [m, outputs] of the expansion, at the parameters of now.
        initial: [m, outputs] of both at the initial parameters.
    """

    outputs: Tensor
    linearised: Tensor
    initial: Tensor


class State(Protocol):
    """A network at one step, together with its probe: everything an observable may look at.

    Costly ingredients are computed once, however many observables ask for them.
    """

    @property
    def step(self) -> int:
        """Number of optimiser steps taken."""
        ...

    @property
    def task(self) -> Task | None:
        """Whether labels are classes or real targets; None without labels."""
        ...

    @property
    def y(self) -> Tensor:
        """Labels of the probe: [n] integers, or [n, outputs] real targets."""
        ...

    @property
    def n_classes(self) -> int:
        """Number of classes (2 for a single logit)."""
        ...

    @property
    def outputs(self) -> Tensor:
        """[n, outputs] outputs of the network on the probe; one column stands for a single logit."""
        ...

    @property
    def layers(self) -> Sequence[str]:
        """Names of the layers in view, in the order in which they run."""
        ...

    def features(self, layer: str) -> Tensor:
        """[n, units] activations of a layer on the probe."""
        ...

    def is_finite(self, layer: str) -> bool:
        """Whether all activations of a layer, and its features, are finite."""
        ...

    def units(self, layer: str) -> UnitStatistics:
        """Statistics of each unit over examples and positions, taken before any pooling."""
        ...

    def neighbours(self, layer: str) -> Neighbours:
        """The nearest neighbours of each example in a layer."""
        ...

    def basis(self, layer: str) -> Basis:
        """The truncated principal basis of a layer's centred activations."""
        ...

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """The network's parameters by name."""
        ...

    @property
    def initial_parameters(self) -> Mapping[str, Tensor]:
        """The same at the start of training."""
        ...

    @property
    def previous_parameters(self) -> Mapping[str, Tensor] | None:
        """The same at the previous measurement; None at the first."""
        ...

    def singular_values(self, parameter: str) -> Tensor:
        """Singular values of a weight, as a matrix [out, everything else], in descending order."""
        ...

    @property
    def kernels(self) -> Kernels:
        """The tangent kernels now, at the start, and at the look before."""
        ...

    @property
    def linearisation(self) -> Linearisation | None:
        """The network's linearisation; None where nobody looks at the kernels, or where it has none."""
        ...

    @property
    def simple_predictions(self) -> Sequence[SimplePrediction]:
        """Predictions of simpler models on the probe, in order of complexity."""
        ...

    def generator(self, purpose: str) -> torch.Generator:
        """A random generator derived from the run's seed, the purpose and the step."""
        ...


@runtime_checkable
class Observable(Protocol):
    """Something to look at: a name, what it needs, and the measurement.

    ``measure`` returns the same variables with the same dimensions at every step, none of them ``step``;
    each has ``long_name``, ``units`` and ``source`` in its attributes. An observable that needs
    "activations" puts them along the dimension ``layer`` and may be given the layers a few at a time.
    """

    @property
    def name(self) -> str:
        """Short name, unique in a scope."""
        ...

    @property
    def needs(self) -> frozenset[Need]:
        """The costly ingredients that it will ask for."""
        ...

    def applies_to(self, task: Task | None) -> bool:
        """Whether the quantity exists for this kind of labels."""
        ...

    def measure(self, state: State) -> xr.Dataset:
        """Measure on one state."""
        ...


@dataclass(frozen=True)
class Occasional:
    """An observable that costs more than most, to be measured at close looks alone, and missing in between.

    A close look is due at the start, when the step has quadrupled since the last one or 1,000 have passed, and at
    the end. The tangent kernel is taken at close looks too.

    Attributes:
        observable: what to measure.
    """

    observable: Observable

    @property
    def name(self) -> str:
        """Its name."""
        return self.observable.name

    @property
    def needs(self) -> frozenset[Need]:
        """The costly ingredients that it will ask for."""
        return self.observable.needs

    def applies_to(self, task: Task | None) -> bool:
        """Whether the quantity exists for this kind of labels."""
        return self.observable.applies_to(task)

    def measure(self, state: State) -> xr.Dataset:
        """Measure on one state."""
        return self.observable.measure(state)


def current_parameters(state: State) -> dict[str, Tensor]:
    """Return the parameters that the network had at the start, as they are now; those that came later are left out.

    Raises:
        InputError: if one of them is gone or has another shape.
    """
    now = state.parameters
    for name, initial in state.initial_parameters.items():
        if name not in now or now[name].shape != initial.shape:
            fate = f"has shape {list(now[name].shape)} instead of {list(initial.shape)}" if name in now else "is gone"
            raise InputError(
                f"the parameter {name!r} that the model had when the record began {fate}: record the changed model "
                "with a new scope, in another folder."
            )
    return {name: now[name] for name in state.initial_parameters}


def variable(
    values: Tensor | np.ndarray | Sequence[float] | float,
    dims: Sequence[str] = (),
    *,
    long_name: str,
    units: str = "1",
    source: str = "",
    **attributes: str,
) -> xr.Variable:
    """Return a labelled array on the CPU, with the attributes that every quantity carries."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    attrs = {"long_name": long_name, "units": units, "source": source, **attributes}
    return xr.Variable(tuple(dims), np.asarray(values), attrs)


def estimate_variables(
    name: str,
    estimates: Sequence[Estimate] | Estimate,
    dims: Sequence[str] = (),
    *,
    long_name: str,
    units: str = "1",
    source: str = "",
) -> dict[str, xr.Variable]:
    """Return the variables ``name``, ``name_standard_error`` and ``name_converged`` of one or more estimates.

    Args:
        name: name of the quantity.
        estimates: one estimate, or one for each place along ``dims[0]``.
        dims: names of the dimensions.
        long_name: the quantity in words.
        units: its unit.
        source: author, year, equation.
    """
    if isinstance(estimates, Estimate):
        value, error, converged = estimates.value, estimates.standard_error, estimates.converged
        estimator = estimates.estimator
    else:
        value = torch.stack([e.value.cpu() for e in estimates])
        error = torch.stack([e.standard_error.cpu() for e in estimates])
        converged = torch.stack([e.converged.cpu() for e in estimates])
        estimator = estimates[0].estimator
    return {
        name: variable(value, dims, long_name=long_name, units=units, source=source, estimator=estimator),
        f"{name}_standard_error": variable(
            error, dims, long_name=f"standard error of the {long_name}", units=units, source=source
        ),
        f"{name}_converged": variable(
            converged.double(), dims, long_name=f"whether the {long_name} can be taken at its word"
        ),
    }
