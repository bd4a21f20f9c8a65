"""Records made up from formulas, in the shape that a scope records, of any size and without training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import xarray as xr

XSS = "</script><img src=x onerror=alert(1)>"
STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
SOURCE = "Somebody 2020"


def variable(
    dims: Sequence[str], values: Any, long_name: str = "", units: str = "1", source: str = SOURCE
) -> xr.Variable:
    return xr.Variable(tuple(dims), np.asarray(values), {"long_name": long_name, "units": units, "source": source})


class Synthetic:
    """A record of a network whose layers move smoothly, with known numbers everywhere."""

    def __init__(
        self,
        steps: Sequence[int] = STEPS,
        layers: Sequence[str] = ("conv1", "conv2", "head"),
        classes: int = 3,
        examples: int = 30,
        image: tuple[int, ...] = (1, 8, 8),
        task: str | None = "classification",
    ) -> None:
        self.rng = np.random.default_rng(0)
        self.steps = np.asarray(steps)
        self.layers, self.classes, self.examples, self.image, self.task = list(layers), classes, examples, image, task
        self.progress = np.linspace(0, 1, len(self.steps))
        self.kernel_examples = np.arange(min(examples, 64))
        self.variables: dict[str, xr.Variable] = {}

    def data(self) -> xr.Dataset:
        self._representation()
        self._weights()
        self._kernels()
        if self.task:
            self._progress()
        if self.task == "classification":
            self._classification()
        self.variables["input"] = variable(
            ["example", *(f"input_{k}" for k in range(1, len(self.image) + 1))], self._inputs()
        )
        coords: dict[str, Any] = {
            "step": self.steps,
            "layer": self.layers,
            "weight": [f"{name}.weight" for name in self.layers],
            "parameter": [f"{name}.{kind}" for name in self.layers for kind in ("weight", "bias")],
            "kernel_layer": self.layers,
            "kernel_example": self.kernel_examples,
            "other_kernel_example": self.kernel_examples,
        }
        if self.task == "classification":
            coords |= {"quantile": [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99], "simple_model": ["linear"]}
        return xr.Dataset(self.variables, coords=coords, attrs=self._attrs())

    def _attrs(self) -> dict[str, Any]:
        return {
            "run": "synthetic",
            "task": self.task,
            "n_classes": self.classes,
            "positions": "mean",
            "identity": {"model": "Net, 1,234 parameters, abcdef", "probe": "p", "layers": "l"},
            "layer_layouts": dict.fromkeys(self.layers, "features"),
            "simple_models": {"linear": {"fitted_on": "100 training examples", "converged": False}},
        }

    def _inputs(self) -> np.ndarray:
        return self.rng.random((self.examples, *self.image)).astype(np.float32)

    def _estimate(self, name: str, dims: Sequence[str], values: np.ndarray, **attrs: str) -> None:
        self.variables[name] = variable(dims, values, **attrs)
        self.variables[f"{name}_standard_error"] = variable(dims, 0.1 * np.abs(values) + 0.01)
        converged = np.ones_like(values)
        converged.flat[0] = 0.0
        self.variables[f"{name}_converged"] = variable(dims, converged)

    def _by_layer(self, start: float, end: float) -> np.ndarray:
        depth = np.linspace(0.8, 1.2, len(self.layers))
        return np.outer(start + (end - start) * self.progress, depth)

    def _representation(self) -> None:
        dims = ["step", "layer"]
        for name in ("intrinsic_dimension", "intrinsic_dimension_likelihood", "intrinsic_dimension_levina_bickel"):
            self._estimate(name, dims, self._by_layer(12, 4))
        self.variables["participation_ratio"] = variable(dims, self._by_layer(20, 3))
        self.variables["activation_rms"] = variable(dims, self._by_layer(0.1, 5), "root mean square activation")
        self.variables["dead_share"] = variable(dims, 0.1 * self._by_layer(0, 1))
        self.variables["saturated_share"] = variable(dims, np.full((len(self.steps), len(self.layers)), np.nan))
        self.variables["nonfinite_share"] = variable(dims, 0 * self._by_layer(0, 1))
        for name in ("cka_to_final", "svcca_to_final", "pwcca_to_final"):
            self.variables[name] = variable(dims, np.minimum(self._by_layer(0.3, 1.0), 1.0))
        shape = (len(self.steps), len(self.layers), self.examples, 4)
        orthonormal = np.linalg.qr(self.rng.normal(size=shape))[0]
        scale = np.array([4.0, 3.0, 2.0, 1.0]) * (1 + self.progress[:, None, None])
        self.variables["basis"] = variable([*dims, "example", "component"], orthonormal.astype(np.float32))
        self.variables["basis_scale"] = variable([*dims, "component"], np.broadcast_to(scale, (*shape[:2], 4)).copy())
        self.variables["basis_explained"] = variable(dims, np.full(shape[:2], 0.8))

    def _weights(self) -> None:
        singular = np.sort(self.rng.random((len(self.steps), len(self.layers), 20)) + 0.1)[..., ::-1]
        self.variables["singular_value"] = variable(["step", "weight", "rank"], singular.copy())
        distance = np.repeat(self._by_layer(0, 1.5), 2, axis=1)
        self.variables["weight_distance"] = variable(["step", "parameter"], distance, "distance from initialisation")
        self.variables["weight_norm"] = variable(["step", "parameter"], 1 + distance)
        self.variables["weight_cosine"] = variable(["step", "parameter"], 1 / (1 + distance))

    def _kernels(self) -> None:
        """Kernels that are looked at on every other step, and turn towards the labels."""
        looked = np.where(np.arange(len(self.steps)) % 2 == (len(self.steps) - 1) % 2, 1.0, np.nan)
        looked[0] = 1.0
        m, grown = len(self.kernel_examples), looked * self.progress
        for name in ("distance", "change", "trace", "effective_rank", "alignment", "centred_alignment"):
            if "alignment" in name and not self.task:
                continue
            self.variables[f"kernel_{name}"] = variable(["step"], 0.2 + grown)
            values = looked[:, None] * self._by_layer(0.1, 0.9)
            self.variables[f"layer_kernel_{name}"] = variable(["step", "kernel_layer"], values)
        same = self.kernel_examples[:, None] % self.classes == self.kernel_examples % self.classes
        kernel = grown[:, None, None] * same + np.eye(m)
        dims = ["step", "kernel_example", "other_kernel_example"]
        self.variables["kernel"] = variable(dims, kernel.astype(np.float32))
        for name in ("linearisation_gap", "network_weight_distance", "network_regime", "output_change"):
            self.variables[name] = variable(["step"], 0.6 * grown)
        for name in ("weight_distance", "regime"):
            self.variables[f"layer_{name}"] = variable(
                ["step", "kernel_layer"], looked[:, None] * self._by_layer(0, 0.5)
            )
        if not self.task:
            return
        shares = (0.1 + 0.6 * grown)[:, None] * 0.5 ** np.arange(1, 11)
        self.variables["label_share"] = variable(["step", "kernel_component"], shares)
        self.variables["label_share_cumulative"] = variable(["step", "kernel_component"], shares.cumsum(axis=1))
        self.variables["mode_learning_speed"] = variable(["kernel_component"], 0.1 / np.arange(1, 11))
        if self.task == "classification":
            self._estimate("component_information", ["step", "kernel_component"], shares)

    def _progress(self) -> None:
        self._estimate("probe_loss", ["step"], 2.3 - 2 * self.progress, units="nats")
        self.variables["logged_loss"] = variable(["step"], 2.2 - 2 * self.progress)
        self.variables["logged_lr"] = variable(["step"], 0.1 * (1 - 0.5 * self.progress))
        if self.task == "regression":
            self.variables["label"] = variable(["example"], self.rng.normal(size=self.examples))

    def _classification(self) -> None:
        label = np.arange(self.examples) % self.classes
        learned = (np.arange(self.examples) * 7) % (len(self.steps) + 1)
        correct = np.arange(len(self.steps))[:, None] >= learned
        times = np.append(self.steps, np.inf)[learned]
        self.variables["label"] = variable(["example"], label)
        self.variables["correct"] = variable(["step", "example"], correct.astype(np.int8))
        self.variables["learning_time"] = variable(["example"], times, units="steps")
        self.variables["forgetting_events"] = variable(["example"], np.arange(self.examples) % 4)
        shares = np.stack([correct[:, label == k].mean(axis=1) for k in range(self.classes)])
        reached = [np.flatnonzero(share >= 0.9) for share in shares]
        class_times = [float(self.steps[r[0]]) if len(r) else np.inf for r in reached]
        self.variables["class_learning_time"] = variable(["class"], class_times, units="steps")
        self._estimate("probe_accuracy", ["step"], correct.mean(axis=1))
        self._estimate("linear_probe_accuracy", ["step", "layer"], np.minimum(self._by_layer(0.3, 0.8), 1))
        self._estimate("knn_accuracy", ["step", "layer"], np.minimum(self._by_layer(0.2, 0.7), 1))
        self.variables["class_variance_ratio"] = variable(["step", "layer"], self._by_layer(5, 0.1))
        quantiles = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0])
        self.variables["margin"] = variable(["step", "quantile"], np.outer(self.progress + 0.1, quantiles))
        self.variables["normalised_margin"] = variable(
            ["step", "quantile"], np.outer(self.progress + 0.1, quantiles / 50)
        )
        self._information()

    def _information(self) -> None:
        network = 1.5 * self.progress[:, None]
        parts = {
            "network_information": network,
            "explained_information": 0.8 * network,
            "conditional_information": 0.2 * network,
            "simple_information": np.full_like(network, 1.1),
        }
        for name, values in parts.items():
            dims = ["step"] if name == "network_information" else ["step", "simple_model"]
            values = values[:, 0] if len(dims) == 1 else values
            self.variables[name] = variable(dims, values, units="bits")
            self.variables[f"{name}_low"] = variable(dims, values - 0.1, units="bits")
            self.variables[f"{name}_high"] = variable(dims, values + 0.1, units="bits")
            self.variables[f"{name}_converged"] = variable(dims, np.ones_like(values))


@pytest.fixture
def record() -> Callable[..., xr.Dataset]:
    """Return a maker of records; its arguments are those of Synthetic."""
    return lambda **options: Synthetic(**options).data()
