"""Where the representation's dimension peaks and falls."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.findings.finding import Finding

COMPRESSED = 0.6
CLEAR = 2.0
LEAST_LAYERS = 3
FIGURE = "dimension"


def dimension_by_depth(data: xr.Dataset) -> list[Finding]:
    """Say where along the depth the intrinsic dimension peaks at the end of training, and where it ends.

    Rule: the layer of largest TwoNN dimension (maximum likelihood) against the last layer; named only if they differ
    by more than two standard errors of the difference; a peak inside the network only if it also exceeds the first
    layer by as much. Where an estimate has not converged the sentence says that such dimensions read low. Needs 3
    layers. Source: Ansuini et al. 2019.
    """
    data = _looks(data)
    if "intrinsic_dimension_likelihood" not in data or not data.sizes["step"]:
        return []
    last = data.isel(step=-1)
    value, error = (
        last["intrinsic_dimension_likelihood"].values,
        last["intrinsic_dimension_likelihood_standard_error"].values,
    )
    known = np.isfinite(value) & np.isfinite(error)
    converged = last["intrinsic_dimension_likelihood_converged"].values[known] == 1
    names, value, error = data["layer"].values[known], value[known], error[known]
    if len(value) < LEAST_LAYERS:
        return []
    peak = int(value.argmax())
    if peak == len(value) - 1 or not _exceeds(value, error, peak, len(value) - 1):
        return []
    inside = peak > 0 and _exceeds(value, error, peak, 0)
    doubt = "" if converged[[peak, -1]].all() else " Dimensions this large read low on so few examples."
    how = "peaks at" if inside else "is largest near the input, at"
    return [
        Finding(
            "dimension_by_depth",
            f"The representation's intrinsic dimension {how} {names[peak]} ({value[peak]:.1f} ± {error[peak]:.1f}) and "
            f"falls to {value[-1]:.1f} ± {error[-1]:.1f} at {names[-1]}.{doubt}",
            {str(name): float(v) for name, v in zip(names, value, strict=True)},
            int(last["step"]),
            FIGURE,
        )
    ]


def dimension_through_training(data: xr.Dataset) -> list[Finding]:
    """Say whether a layer near the output was compressed by training.

    Rule: among the last half of the layers, the one whose dimension at the end is the smallest share of that at the
    start; named if the share is ≤ 0.6 and the difference exceeds two standard errors. Source: Ansuini et al. 2019.
    """
    name, data = "intrinsic_dimension_likelihood", _looks(data)
    if name not in data or data.sizes["step"] < 2 or data.sizes["layer"] < LEAST_LAYERS:
        return []
    half = data.isel(layer=slice(data.sizes["layer"] // 2, None))
    start, end = half[name].values[0], half[name].values[-1]
    error = np.hypot(half[f"{name}_standard_error"].values[0], half[f"{name}_standard_error"].values[-1])
    share = np.where(np.isfinite(start) & np.isfinite(end), end / start, np.inf)
    k = int(share.argmin())
    if share[k] > COMPRESSED or start[k] - end[k] <= CLEAR * error[k]:
        return []
    layer = str(half["layer"].values[k])
    return [
        Finding(
            "dimension_through_training",
            f"Training compressed {layer}: its intrinsic dimension fell from {start[k]:.1f} to {end[k]:.1f}.",
            {"start": float(start[k]), "end": float(end[k])},
            int(data["step"][-1]),
            FIGURE,
        )
    ]


def _looks(data: xr.Dataset) -> xr.Dataset:
    """Return the steps at which the dimension was looked at, also in vain."""
    count = data.get("distinct_examples")
    return data if count is None else data.isel(step=np.flatnonzero(np.isfinite(count.values).any(axis=1)))


def _exceeds(value: np.ndarray, error: np.ndarray, a: int, b: int) -> bool:
    return bool(value[a] - value[b] > CLEAR * np.hypot(error[a], error[b]))
