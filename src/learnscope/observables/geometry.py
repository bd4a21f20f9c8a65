"""Observables of a layer's representation: its dimension, how it separates classes, its principal components."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import xarray as xr
from torch import Tensor

from learnscope.estimate import Estimate
from learnscope.observables.canonical_correlation import padded
from learnscope.observables.influence import class_variance_ratio_and_error, participation_ratio_and_error
from learnscope.observables.intrinsic_dimension import intrinsic_dimensions
from learnscope.observables.observable import Need, State, Task, estimate_variables, variable
from learnscope.observables.probes import knn_accuracy, linear_probe_accuracy

VOTES = 5
DIMENSION_NAMES = {
    "two-nn": ("intrinsic_dimension", "intrinsic dimension (TwoNN, fit)", "Facco et al. 2017"),
    "two-nn-likelihood": (
        "intrinsic_dimension_likelihood",
        "intrinsic dimension (TwoNN, maximum likelihood)",
        "Facco et al. 2017",
    ),
    "levina-bickel": (
        "intrinsic_dimension_levina_bickel",
        "intrinsic dimension (Levina-Bickel)",
        "Levina, Bickel 2004; MacKay, Ghahramani 2005",
    ),
}


def unknown(reason: str) -> Estimate:
    """Return the estimate of something that could not be computed: NaN, with the reason."""
    nan = torch.tensor(torch.nan, dtype=torch.float64)
    return Estimate(nan, nan, torch.tensor(0), torch.tensor(False), estimator="not computed", notes=(reason,))


class IntrinsicDimension:
    """Intrinsic dimension of every layer, by three estimators from one search for neighbours."""

    name = "intrinsic_dimension"
    needs: frozenset[Need] = frozenset({"activations"})

    def applies_to(self, task: Task | None) -> bool:
        """Return True: no labels are used."""
        return True

    def measure(self, state: State) -> xr.Dataset:
        """Measure every layer in view; NaN where activations are not finite or too few examples differ."""
        measured = [self._layer(state, layer) for layer in state.layers]
        variables: dict[str, xr.Variable] = {}
        for method, (name, long_name, source) in DIMENSION_NAMES.items():
            estimates = [by_method[method] for by_method in measured]
            variables |= estimate_variables(name, estimates, ["layer"], long_name=long_name, source=source)
        variables["distinct_examples"] = variable(
            [float(by_method["two-nn-likelihood"].n) for by_method in measured],
            ["layer"],
            long_name="examples with distinct activations, on which the intrinsic dimension rests",
        )
        return xr.Dataset(variables, coords={"layer": list(state.layers)})

    def _layer(self, state: State, layer: str) -> dict[str, Estimate]:
        if not state.is_finite(layer):
            return dict.fromkeys(DIMENSION_NAMES, unknown("activations are not finite"))
        return intrinsic_dimensions(state.features(layer), neighbours=state.neighbours(layer))


class Separability:
    """How well a layer separates the classes: linear probe, nearest neighbours, variance within over between."""

    name = "separability"
    needs: frozenset[Need] = frozenset({"activations"})

    def applies_to(self, task: Task | None) -> bool:
        """Return whether labels are classes."""
        return task == "classification"

    def measure(self, state: State) -> xr.Dataset:
        """Measure every layer in view; NaN where activations are not finite."""
        layers = list(state.layers)
        linear = [self._estimate(state, layer, self._linear) for layer in layers]
        knn = [self._estimate(state, layer, self._knn) for layer in layers]
        ratios, errors = zip(*(self._ratio(state, layer) for layer in layers), strict=True)
        variables = estimate_variables(
            "linear_probe_accuracy",
            linear,
            ["layer"],
            long_name="accuracy of a linear probe, leave-one-out",
            source="Alain, Bengio 2016 (arXiv:1610.01644)",
        )
        variables |= estimate_variables(
            "knn_accuracy", knn, ["layer"], long_name="accuracy of 5 nearest neighbours, leave-one-out"
        )
        long_name = "variance within classes over variance between classes"
        variables["class_variance_ratio"] = variable(
            ratios, ["layer"], long_name=long_name, source="Papyan, Han, Donoho 2020 (arXiv:2008.08186)"
        )
        variables["class_variance_ratio_standard_error"] = variable(
            errors, ["layer"], long_name=f"standard error of the {long_name}"
        )
        return xr.Dataset(variables, coords={"layer": layers})

    @staticmethod
    def _linear(state: State, layer: str) -> Estimate:
        return linear_probe_accuracy(state.features(layer), state.y)

    @staticmethod
    def _knn(state: State, layer: str) -> Estimate:
        neighbours = state.neighbours(layer)
        votes = min(VOTES, neighbours.indices.shape[1])
        return knn_accuracy(state.features(layer), state.y, votes, neighbours)

    @staticmethod
    def _ratio(state: State, layer: str) -> tuple[float, float]:
        if not state.is_finite(layer):
            return torch.nan, torch.nan
        ratio, error = class_variance_ratio_and_error(state.features(layer), state.y)
        return float(ratio), float(error)

    @staticmethod
    def _estimate(state: State, layer: str, measure: Callable[[State, str], Estimate]) -> Estimate:
        return measure(state, layer) if state.is_finite(layer) else unknown("activations are not finite")


class PrincipalComponents:
    """The truncated principal basis of every layer, from which similarities are read off afterwards.

    A layer's centred activations are X ≈ U S Vᵀ; kept are U (``basis``), S (``basis_scale``) and S Vᵀ
    (``loading``), zero-padded to common sizes, with the share of the variance that they explain.
    """

    name = "principal_components"
    needs: frozenset[Need] = frozenset({"activations"})

    def __init__(self, components: int, units: int) -> None:
        self.components = components
        self.units = units

    def applies_to(self, task: Task | None) -> bool:
        """Return True: no labels are used."""
        return True

    def measure(self, state: State) -> xr.Dataset:
        """Measure every layer in view; NaN where activations are not finite."""
        layers = list(state.layers)
        parts = [self._layer(state, layer) for layer in layers]
        vectors, scales, loadings, explained, ratios, errors = (torch.stack(part) for part in zip(*parts, strict=True))
        return xr.Dataset(
            {
                "basis": variable(
                    vectors.float(),
                    ["layer", "example", "component"],
                    long_name="orthonormal basis of the centred activations (left singular vectors)",
                ),
                "basis_scale": variable(scales, ["layer", "component"], long_name="singular value of the activations"),
                "loading": variable(
                    loadings.float(),
                    ["layer", "component", "unit"],
                    long_name="singular value times right singular vector of the activations",
                ),
                "basis_explained": variable(
                    explained, ["layer"], long_name="share of the variance that the stored basis explains"
                ),
                "participation_ratio": variable(
                    ratios,
                    ["layer"],
                    long_name="participation ratio (tr C)² / tr C² of the covariance C",
                    source="Gao et al. 2017",
                ),
                "participation_ratio_standard_error": variable(
                    errors, ["layer"], long_name="standard error of the participation ratio"
                ),
            },
            coords={"layer": layers},
        )

    def _layer(self, state: State, layer: str) -> Sequence[Tensor]:
        n = len(state.features(layer))
        if not state.is_finite(layer):
            shapes = [(n, self.components), (self.components,), (self.components, self.units), (), (), ()]
            return [torch.full(shape, torch.nan) for shape in shapes]
        basis = padded(state.basis(layer), self.components, self.units)
        ratio, error = participation_ratio_and_error(state.features(layer))
        parts = (basis.vectors, basis.singular_values, basis.loadings, basis.explained, ratio, error)
        return [part.double().cpu() if part.ndim < 2 else part.float().cpu() for part in parts]
