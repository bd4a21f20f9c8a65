"""When layers reach their final representation, and in which order."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

from learnscope.findings.finding import Finding, first_lasting, listed

SETTLED = 0.9
LEAST_MEASUREMENTS = 6
LEAST_LAYERS = 4
ORDERED = 0.7
FIGURE = "settling"


def settling_steps(data: xr.Dataset) -> xr.DataArray:
    """Return the first step from which each layer's CKA to its final state stays at or above 0.9.

    NaN for a layer that gets there only in the second half of training: its final state is then merely where it
    happened to be when training ended.
    """
    steps = data["step"].values
    similarity = data["cka_to_final"].values
    settled = np.full(data.sizes["layer"], np.nan)
    for k in range(data.sizes["layer"]):
        index = first_lasting(similarity[:, k] >= SETTLED)
        if index is not None and steps[index] <= steps[-1] / 2:
            settled[k] = steps[index]
    return xr.DataArray(settled, dims="layer", coords={"layer": data["layer"].values})


def layers_settle(data: xr.Dataset) -> list[Finding]:
    """Say which layers had settled by half of the training, and which were still moving.

    Rule: settled at the first measured step from which CKA (debiased, linear) to the final state stays ≥ 0.9, if that
    step lies in the first half; otherwise still moving. Silent with fewer than 6 measurements.
    Source: Raghu et al. 2017 for the question, Kornblith et al. 2019 for the measure.
    """
    if "cka_to_final" not in data or data.sizes["step"] < LEAST_MEASUREMENTS:
        return []
    settled = settling_steps(data)
    last = int(data["step"][-1])
    known = np.isfinite(data["cka_to_final"].values).any(axis=0)
    moving = [
        str(name)
        for name, s, k in zip(settled["layer"].values, settled.values, known, strict=True)
        if k and np.isnan(s)
    ]
    done = [(str(name), int(s)) for name, s in zip(settled["layer"].values, settled.values, strict=True) if s == s]
    findings: list[Finding] = []
    from_start = [name for name, s in done if s == 0]
    later = sorted(((s, name) for name, s in done if s > 0))
    evidence: dict[str, float | str] = {name: float(s) for name, s in done}
    if later:
        first, slowest = later[0], later[-1]
        parts = (
            f"{first[1]} settled by step {first[0]:,}"
            if len(later) == 1
            else f"Layers settled between step {first[0]:,} ({first[1]}) and step {slowest[0]:,} ({slowest[1]})"
        )
        findings.append(
            Finding(
                "layers_settle",
                f"{parts}: from there each stays similar to its final state (CKA ≥ {SETTLED}).",
                evidence,
                slowest[0],
                FIGURE,
            )
        )
    if from_start:
        verb = "was" if len(from_start) == 1 else "were"
        findings.append(
            Finding(
                "layers_settle",
                f"{listed(from_start)} {verb} close to the final state from the start (CKA ≥ {SETTLED} at step 0): "
                "random features had almost the right geometry.",
                dict.fromkeys(from_start, 0.0),
                0,
                FIGURE,
            )
        )
    if moving:
        verb = "was" if len(moving) == 1 else "were"
        findings.append(
            Finding(
                "layers_settle",
                f"{listed(moving)} {verb} still moving in the second half of training (up to step {last:,}): "
                "the final state of training is not a resting place for it."
                if len(moving) == 1
                else f"{listed(moving)} {verb} still moving in the second half of training (up to step {last:,}).",
                {},
                last,
                FIGURE,
            )
        )
    return findings


def order_of_settling(data: xr.Dataset) -> list[Finding]:
    """Say whether layers converge from the input up or from the output down.

    Rule: at the measured step where the mean CKA to the final state, over layers, is nearest to 0.8, Spearman's rank
    correlation between depth and similarity; ≤ -0.7 is bottom-up, ≥ 0.7 top-down, otherwise silent. The same for the
    share of each layer's own way, (ρ(t) - ρ(0)) / (1 - ρ(0)), because layers near the input start nearer to their final
    state; where the two disagree the sentence says so. Needs 4 layers and 6 measurements.
    Source: Raghu et al. 2017, with the correction that normalised progress may show the opposite order.
    """
    if "cka_to_final" not in data or data.sizes["step"] < LEAST_MEASUREMENTS or data.sizes["layer"] < LEAST_LAYERS:
        return []
    similarity = data["cka_to_final"].values
    similarity = similarity[:, np.isfinite(similarity).all(axis=0)]
    if similarity.shape[1] < LEAST_LAYERS:
        return []
    index = int(np.abs(similarity[:-1].mean(axis=1) - 0.8).argmin())
    step = int(data["step"][index])
    raw = _rank_correlation(similarity[index])
    if step == 0 or abs(raw) < ORDERED:
        return []
    progress = (similarity[index] - similarity[0]) / np.maximum(1 - similarity[0], 1e-9)
    relative = _rank_correlation(progress)
    order = "from the input up" if raw < 0 else "from the output down"
    caveat = (
        ""
        if relative * raw > 0 and abs(relative) >= ORDERED
        else " Measured as the share of each layer's own way from its initial state, that order does not show: "
        "some layers simply had less far to go."
    )
    return [
        Finding(
            "order_of_settling",
            f"Layers come close to their final state {order} (rank correlation of depth and similarity {raw:.2f} at "
            f"step {step:,}).{caveat}",
            {"rank_correlation": raw, "rank_correlation_of_progress": relative},
            step,
            FIGURE,
        )
    ]


def _rank_correlation(values: np.ndarray) -> float:
    if np.ptp(values) == 0:
        return 0.0
    return float(spearmanr(np.arange(len(values)), values)[0])  # pyright: ignore[reportArgumentType]
