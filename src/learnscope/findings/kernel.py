"""Whether training was lazy, and whether the tangent kernel turned towards the labels."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.findings.finding import Finding, listed
from learnscope.observables.regime import FEATURE, LAZY

LEAST_CHANGE = 0.1
TURNED = 1.5
CLEAR = 0.1
HALF = 0.5


def regime(data: xr.Dataset) -> list[Finding]:
    """Say whether training was lazy or learned features, with the numbers, and which layers the change lies in.

    Rule: :func:`learnscope.observables.regime.regime` at the last look at the kernel. Silent if it is unknown, or if
    the outputs have changed by less than a tenth of their initial norm: nothing was learned then. Layers are named if
    some are in the feature regime and others lazy. Source: Chizat, Oyallon, Bach 2019.
    """
    last = _looks(data, "network_regime")
    if last is None or not float(last["output_change"][-1]) >= LEAST_CHANGE:
        return []
    end = last.isel(step=-1)
    change, gap, moved = (
        float(end[name]) for name in ("kernel_change", "linearisation_gap", "network_weight_distance")
    )
    step, value = int(end["step"]), float(end["network_regime"])
    if value == LAZY:
        says = "Training was lazy: the network stayed close to its linearisation"
    elif value == FEATURE:
        says = "The network learned features of its own: it left its linearisation"
    else:
        says = "Training was neither lazy nor clearly beyond the linearisation"
    sentence = (
        f"{says} (by step {step:,} the tangent kernel had changed by {change:.0%}, the weights by {moved:.0%}, and the "
        f"linearisation at the start was off by {gap:.0%} of the change of the outputs).{_where(end)}"
    )
    evidence: dict[str, float | str] = {
        "kernel_change": change,
        "kernel_distance": float(end["kernel_distance"]),
        "weight_distance": moved,
        "linearisation_gap": gap,
    }
    return [Finding("regime", sentence, evidence, step, "regime")]


def _where(end: xr.Dataset) -> str:
    names, values = [str(name) for name in end["kernel_layer"].values], end["layer_regime"].values
    changed = [name for name, value in zip(names, values, strict=True) if value == FEATURE]
    lazy = [name for name, value in zip(names, values, strict=True) if value == LAZY]
    if not changed or not lazy:
        return ""
    return f" By their parts of the kernel, {listed(changed)} changed most, while {listed(lazy)} stayed lazy."


def kernel_turned_to_labels(data: xr.Dataset) -> list[Finding]:
    """Say whether the tangent kernel turned towards the labels, or away from them.

    Rule: centred alignment (Cortes et al. 2012) at the last look against the first. Towards if it grew 1.5-fold or by
    0.1 and the plain alignment grew too; away if it fell by as much and so did the plain one; otherwise silent. Silent
    as well if the kernel as a whole changed by less than a tenth.
    """
    seen = _looks(data, "kernel_centred_alignment")
    if seen is None or not float(seen["kernel_change"][-1]) >= LEAST_CHANGE:
        return []
    centred, plain = seen["kernel_centred_alignment"].values, seen["kernel_alignment"].values
    grew = (centred[-1] >= TURNED * centred[0] or centred[-1] - centred[0] >= CLEAR) and plain[-1] > plain[0]
    fell = (centred[0] >= TURNED * centred[-1] or centred[0] - centred[-1] >= CLEAR) and plain[-1] < plain[0]
    if not grew and not fell:
        return []
    step = int(seen["step"][-1])
    where = "towards" if grew else "away from"
    return [
        Finding(
            "kernel_turned_to_labels",
            f"The tangent kernel turned {where} the labels: their centred alignment went from {centred[0]:.2f} to "
            f"{centred[-1]:.2f} by step {step:,}.",
            {
                "centred_alignment_at_start": float(centred[0]),
                "centred_alignment_at_end": float(centred[-1]),
                "alignment_at_start": float(plain[0]),
                "alignment_at_end": float(plain[-1]),
            },
            step,
            "kernel",
        )
    ]


def label_in_components(data: xr.Dataset) -> list[Finding]:
    """Say how many components of the tangent kernel hold half of the label at the start and at the end.

    Rule: the number of leading components whose shares ω² of the label sum to 0.5, among the 10 on record. Silent if
    neither the first nor the last look reaches it, or if both need the same number. Source: Paccolat et al. 2021.
    """
    seen = _looks(data, "kernel_trace")
    if seen is None or "label_share_cumulative" not in seen:
        return []
    cumulative = seen["label_share_cumulative"].values
    start, end = _needed(cumulative[0]), _needed(cumulative[-1])
    if start == end or not np.isfinite(cumulative[[0, -1], 0]).all():
        return []
    most, step = cumulative.shape[1], int(seen["step"][-1])
    ahead = "component" if end == 1 else f"{end or most} components"
    lies = "lies" if end else "does not lie"
    before = f"{start}" if start else f"more than {most}"
    return [
        Finding(
            "label_in_components",
            f"Half of the label {lies} in the first {ahead} of the tangent kernel at step {step:,}; at the start it "
            f"took {before}.",
            {
                f"share_in_{most}_components_at_start": float(cumulative[0, -1]),
                f"share_in_{most}_components_at_end": float(cumulative[-1, -1]),
            },
            step,
            "kernel_components",
        )
    ]


def _needed(cumulative: np.ndarray) -> int:
    """Return how many components reach the share; 0 if none of them does."""
    reached = np.flatnonzero(cumulative >= HALF)
    return int(reached[0]) + 1 if len(reached) else 0


def _looks(data: xr.Dataset, name: str) -> xr.Dataset | None:
    """Return the steps at which a quantity of the kernel is known, None for fewer than two looks at the kernel."""
    if name not in data or "kernel_trace" not in data or int(np.isfinite(data["kernel_trace"].values).sum()) < 2:
        return None
    known = data.isel(step=np.flatnonzero(np.isfinite(data[name].values)))
    return known if known.sizes["step"] else None
