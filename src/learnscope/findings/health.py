"""What is probably wrong: dead layers, activations that explode, vanish or are not finite, weights that never moved."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.findings.finding import Finding, listed

DEAD = 0.5
GROWN = 100.0
MANY = 3
UNMOVED = 1e-6
FIGURE = "health"


def not_finite(data: xr.Dataset) -> list[Finding]:
    """Name the first layer, and the first measured step, with NaN or infinite activations.

    Rule: ``nonfinite_share`` > 0; the earliest step, and in it the layer nearest to the input.
    """
    if "nonfinite_share" not in data:
        return []
    steps, layers = np.nonzero(data["nonfinite_share"].values > 0)
    if not len(steps):
        return []
    first, layer = int(steps[0]), str(data["layer"].values[layers[0]])
    step, share = int(data["step"][first]), float(data["nonfinite_share"][first, int(layers[0])])
    return [
        Finding(
            "not_finite",
            f"Activations of {layer} were NaN or infinite at step {step:,} ({share:.0%} of them): what is measured "
            "from there on is missing for it; lower the learning rate or check the inputs.",
            {"share": share},
            step,
            FIGURE,
            "warning",
        )
    ]


def dead_layers(data: xr.Dataset) -> list[Finding]:
    """Name layers of which half or more of the units give one and the same output for every probe example.

    Rule: ``dead_share`` ≥ 0.5 at the last measurement.
    """
    if "dead_share" not in data or not data.sizes["step"]:
        return []
    last = data["dead_share"].isel(step=-1)
    dead = [(str(name), float(s)) for name, s in zip(data["layer"].values, last.values, strict=True) if s >= DEAD]
    if not dead:
        return []
    named = listed([f"{name} ({share:.0%})" for name, share in dead])
    return [
        Finding(
            "dead_layers",
            f"Many units are dead at the end, with one output for every probe example: {named}.",
            dict(dead),
            int(data["step"][-1]),
            FIGURE,
            "warning",
        )
    ]


def exploding_or_vanishing(data: xr.Dataset) -> list[Finding]:
    """Name layers whose activations grew or shrank a hundredfold.

    Rule: root mean square activation at the last measurement over that at the first, ≥ 100 or ≤ 1/100; or, at the first
    measurement, that of the last layer over that of the first, if three layers or more take it that way (a signal lost
    or blown up along the depth, rather than a single layer that rescales it).
    """
    if "activation_rms" not in data or not data.sizes["step"]:
        return []
    rms, layers = data["activation_rms"].values, [str(name) for name in data["layer"].values]
    findings: list[Finding] = []
    with np.errstate(divide="ignore", invalid="ignore"):
        through_time, through_depth = rms[-1] / rms[0], _along_the_depth(rms[0])
    for ratio, step, frame in (
        (through_depth, int(data["step"][0]), "compared with the first layer, at the first measurement"),
        (through_time, int(data["step"][-1]), "during training"),
    ):
        for word, hit in (("exploded", ratio >= GROWN), ("vanished", ratio <= 1 / GROWN)):
            names = [f"{layers[k]} (×{ratio[k]:.3g})" for k in np.flatnonzero(hit)]
            if names:
                evidence: dict[str, float | str] = {layers[k]: float(ratio[k]) for k in np.flatnonzero(hit)}
                sentence = f"Activations {word} {frame}: {listed(names)}."
                findings.append(Finding("exploding_or_vanishing", sentence, evidence, step, FIGURE, "warning"))
    return findings


def _along_the_depth(rms: np.ndarray) -> np.ndarray:
    """Return each layer's size over the first layer's; 1 unless three layers or more change it by a third that way."""
    ratio, steps = rms / rms[0], rms[1:] / rms[:-1]
    falling = np.concatenate([[0], np.cumsum(steps < 2 / 3)])
    rising = np.concatenate([[0], np.cumsum(steps > 3 / 2)])
    return np.where(np.where(ratio < 1, falling, rising) >= MANY, ratio, 1.0)


def never_moved(data: xr.Dataset) -> list[Finding]:
    """Name weights that are where they were at the start.

    Rule: ‖W - W₀‖ / ‖W₀‖ < 1e-6 at the last measurement after at least one step; a weight that stayed zero counts.
    """
    if "weight_distance" not in data or data.sizes["step"] < 2:
        return []
    distance = data["weight_distance"].isel(step=-1).values
    stayed_zero = data["weight_norm"].isel(step=-1).values == 0
    still = np.where(np.isnan(distance), stayed_zero, distance < UNMOVED)
    names = [str(name) for name, s in zip(data["parameter"].values, still, strict=True) if s]
    if not names:
        return []
    what = "None of the weights" if len(names) == len(still) else listed(names)
    verb = "moved" if len(names) == len(still) else "never moved"
    return [
        Finding(
            "never_moved",
            f"{what} {verb} during training: frozen, or cut off from the loss.",
            {name: float(d) for name, d in zip(data["parameter"].values, distance, strict=True) if str(name) in names},
            int(data["step"][-1]),
            "movement",
            "warning",
        )
    ]


def not_measured(data: xr.Dataset) -> list[Finding]:
    """Name observables that raised an error, with the first one."""
    return [
        Finding(
            "not_measured",
            f"{name} could not be measured everywhere: {str(error).rstrip('.')}.",
            {"error": str(error)},
            kind="warning",
        )
        for name, error in data.attrs.get("failures", {}).items()
    ]
