"""What we look at: pure functions from tensors to estimates, one subject a file, and their thin adapters."""

from __future__ import annotations

from learnscope.observables.geometry import IntrinsicDimension, PrincipalComponents, Separability
from learnscope.observables.kernel_geometry import KernelGeometry
from learnscope.observables.kernel_knowledge import KernelKnowledge
from learnscope.observables.margins import Margins
from learnscope.observables.movement import Movement
from learnscope.observables.observable import Observable, Occasional
from learnscope.observables.progress import Progress
from learnscope.observables.regime import Regime
from learnscope.observables.simplicity import PerformanceCorrelation
from learnscope.observables.spectra import WeightSpectra
from learnscope.observables.units import Units


def default(components: int, units: int) -> tuple[Observable, ...]:
    """Return the observables that a scope measures unless it is told otherwise.

    Those that rest on nearest neighbours or tangent kernels, or fit a classifier to every layer, are measured at close
    looks alone.

    Args:
        components: principal components to keep for each layer.
        units: number of units of the widest layer.
    """
    return (
        Progress(),
        Margins(),
        PerformanceCorrelation(),
        Movement(),
        WeightSpectra(),
        Units(),
        Occasional(IntrinsicDimension()),
        Occasional(Separability()),
        PrincipalComponents(components, units),
        Occasional(KernelGeometry()),
        KernelKnowledge(),
        Occasional(Regime()),
    )
