"""When layers reach their final representation, and in which order."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.findings.finding import Finding, first_lasting, listed

SETTLED = 0.9
LEAST_MEASUREMENTS = 6
LEAST_LAYERS = 4
ORDERED = 0.7
TELLING = 0.8
FIGURE = "settling"


def settling_steps(data: xr.Dataset) -> xr.DataArray:
    """Return the first step from which each layer's CKA to its final state stays at or above 0.9.

    Infinite for a layer that gets there only in the second half of training: its final state is then merely where it
    happened to be when training ended. NaN where the similarity is unknown.
    """
    steps, similarity = data["step"].values, data["cka_to_final"].values
    settled = np.full(data.sizes["layer"], np.inf)
    for k in range(data.sizes["layer"]):
        index = first_lasting(similarity[:, k] >= SETTLED)
        if np.isnan(similarity[:, k]).all():
            settled[k] = np.nan
        elif index is not None and steps[index] <= steps[-1] / 2:
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
    times = {str(name): float(s) for name, s in zip(settled["layer"].values, settled.values, strict=True)}
    later = {name: int(s) for name, s in times.items() if 0 < s < np.inf}
    from_start = [name for name, s in times.items() if s == 0]
    moving = [name for name, s in times.items() if s == np.inf]
    last = int(data["step"][-1])
    sentences = [
        (_settled_between(later), max(later.values(), default=0)),
        (_from_the_start(from_start), 0),
        (_still_moving(moving, last), last),
    ]
    evidence: dict[str, float | str] = dict(times)
    return [Finding("layers_settle", sentence, evidence, step, FIGURE) for sentence, step in sentences if sentence]


def _settled_between(later: dict[str, int]) -> str:
    if not later:
        return ""
    first, last = min(later, key=lambda name: later[name]), max(later, key=lambda name: later[name])
    if later[first] == later[last]:
        start = f"{listed(list(later))} settled by step {later[first]:,}"
    else:
        start = f"{len(later)} layers settled between step {later[first]:,} ({first}) and step {later[last]:,} ({last})"
    return f"{start}: from there they stay similar to their final state (CKA ≥ {SETTLED})."


def _from_the_start(names: list[str]) -> str:
    if not names:
        return ""
    verb = "was" if len(names) == 1 else "were"
    return (
        f"{listed(names)} {verb} close to the final state from the start (CKA ≥ {SETTLED} at step 0): training changed "
        "the geometry there little."
    )


def _still_moving(names: list[str], last: int) -> str:
    if not names:
        return ""
    verb = "was" if len(names) == 1 else "were"
    return f"{listed(names)} {verb} still moving in the second half of training, which ended at step {last:,}."


def order_of_settling(data: xr.Dataset) -> list[Finding]:
    """Say whether layers converge from the input up or from the output down.

    Rule: at the measured step where the mean CKA to the final state, over layers, is nearest to 0.8, Spearman's rank
    correlation between depth and similarity; ≤ -0.7 is bottom-up, ≥ 0.7 top-down, otherwise silent. The same for the
    share of each layer's own way, (ρ(t) - ρ(0)) / (1 - ρ(0)), because layers near the input start nearer to their final
    state; where the two disagree the sentence says so. Needs 4 layers and 6 measurements.
    Source: Raghu et al. 2017, with the correction that normalised progress may show the opposite order.
    """
    if "cka_to_final" not in data or data.sizes["step"] < LEAST_MEASUREMENTS:
        return []
    similarity = data["cka_to_final"].values
    similarity = similarity[:, np.isfinite(similarity).all(axis=0)]
    if similarity.shape[1] < LEAST_LAYERS:
        return []
    index = int(np.abs(similarity[:-1].mean(axis=1) - TELLING).argmin())
    step, raw = int(data["step"][index]), _rank_correlation(similarity[index])
    if step == 0 or abs(raw) < ORDERED:
        return []
    relative = _rank_correlation((similarity[index] - similarity[0]) / np.maximum(1 - similarity[0], 1e-9))
    order = "from the input up" if raw < 0 else "from the output down"
    agrees = relative * raw > 0 and abs(relative) >= ORDERED
    caveat = (
        ""
        if agrees
        else " Measured as the share of each layer's own way from its initial state, that order does not show: some "
        "layers simply had less far to go."
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
    from scipy.stats import spearmanr  # slow to import, and only a finding needs it

    if np.ptp(values) == 0:
        return 0.0
    return float(spearmanr(np.arange(len(values)), values)[0])  # pyright: ignore[reportArgumentType]
