"""What a neural network learns, and when it learns it.

Attach :class:`Scope` to a training loop, or hand checkpoints to :func:`replay`; read the record with :func:`open`.
Run a known result from the catalogue with ``laboratory.run(name)``.
Everything here is loaded when it is first used, so that importing the package is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learnscope import laboratory as laboratory
    from learnscope.errors import LearnscopeError as LearnscopeError
    from learnscope.estimate import Estimate as Estimate
    from learnscope.findings import Finding as Finding
    from learnscope.findings import find as find
    from learnscope.kernels.linearised import linearize as linearize
    from learnscope.kernels.operator import TangentOperator as TangentOperator
    from learnscope.kernels.tangent import tangent_kernel as tangent_kernel
    from learnscope.observables.alignment import alignment as alignment
    from learnscope.observables.canonical_correlation import principal_bases as principal_bases
    from learnscope.observables.canonical_correlation import principal_basis as principal_basis
    from learnscope.observables.canonical_correlation import pwcca as pwcca
    from learnscope.observables.canonical_correlation import svcca as svcca
    from learnscope.observables.information import explained_information as explained_information
    from learnscope.observables.intrinsic_dimension import intrinsic_dimension as intrinsic_dimension
    from learnscope.observables.margins import margins as margins
    from learnscope.observables.probes import knn_accuracy as knn_accuracy
    from learnscope.observables.probes import linear_probe_accuracy as linear_probe_accuracy
    from learnscope.observables.representation import class_variance_ratio as class_variance_ratio
    from learnscope.observables.representation import participation_ratio as participation_ratio
    from learnscope.observables.similarity import cka as cka
    from learnscope.observables.similarity import cka_matrix as cka_matrix
    from learnscope.observables.spectra import effective_rank as effective_rank
    from learnscope.observables.spectra import stable_rank as stable_rank
    from learnscope.scope import schedules as steps  # noqa: F401
    from learnscope.scope.derived import similarity as similarity
    from learnscope.scope.record import Record as Record
    from learnscope.scope.record import open as open
    from learnscope.scope.replay import replay as replay
    from learnscope.scope.scope import Scope as Scope
    from learnscope.scope.snapshot import Snapshot as Snapshot

_WHERE = {
    "Estimate": "learnscope.estimate",
    "Finding": "learnscope.findings",
    "LearnscopeError": "learnscope.errors",
    "Record": "learnscope.scope.record",
    "Scope": "learnscope.scope.scope",
    "Snapshot": "learnscope.scope.snapshot",
    "TangentOperator": "learnscope.kernels.operator",
    "alignment": "learnscope.observables.alignment",
    "cka": "learnscope.observables.similarity",
    "cka_matrix": "learnscope.observables.similarity",
    "class_variance_ratio": "learnscope.observables.representation",
    "effective_rank": "learnscope.observables.spectra",
    "explained_information": "learnscope.observables.information",
    "find": "learnscope.findings",
    "intrinsic_dimension": "learnscope.observables.intrinsic_dimension",
    "knn_accuracy": "learnscope.observables.probes",
    "laboratory": "learnscope.laboratory",
    "linear_probe_accuracy": "learnscope.observables.probes",
    "linearize": "learnscope.kernels.linearised",
    "margins": "learnscope.observables.margins",
    "open": "learnscope.scope.record",
    "participation_ratio": "learnscope.observables.representation",
    "principal_bases": "learnscope.observables.canonical_correlation",
    "principal_basis": "learnscope.observables.canonical_correlation",
    "pwcca": "learnscope.observables.canonical_correlation",
    "replay": "learnscope.scope.replay",
    "similarity": "learnscope.scope.derived",
    "stable_rank": "learnscope.observables.spectra",
    "steps": "learnscope.scope.schedules",
    "svcca": "learnscope.observables.canonical_correlation",
    "tangent_kernel": "learnscope.kernels.tangent",
}

# names that are also those of submodules reach the function or module that they stand for
_MODULES = frozenset({"laboratory", "steps"})

__all__ = sorted(_WHERE)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'learnscope' has no attribute {name!r}")
    module = importlib.import_module(_WHERE[name])
    value = module if name in _MODULES else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
