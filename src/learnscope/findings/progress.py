"""Which classes were learned last, and when training could have stopped."""

from __future__ import annotations

import numpy as np
import xarray as xr

from learnscope.findings.finding import Finding, first_lasting, listed

LATE = 2.0
LEAST_MEASUREMENTS = 6
STOP_BEFORE = 0.7
FIGURE = "learning_times"


def accuracy_reached(data: xr.Dataset) -> list[Finding]:
    """State the accuracy, or the loss, that was reached on the probe, with its standard error."""
    if not data.sizes["step"] or "probe_loss" not in data:
        return []
    last = data.isel(step=-1)
    step, loss = int(last["step"]), float(last["probe_loss"])
    if "probe_accuracy" not in data:
        first = float(data["probe_loss"][0])
        sentence = f"The loss on the probe went from {first:.3g} to {loss:.3g} in {step:,} steps."
        return [Finding("accuracy_reached", sentence, {"probe_loss": loss}, step, "progress")]
    accuracy, error = float(last["probe_accuracy"]), float(last["probe_accuracy_standard_error"])
    return [
        Finding(
            "accuracy_reached",
            f"After {step:,} steps the network answers {accuracy:.1%} ± {error:.1%} of the probe correctly.",
            {"probe_accuracy": accuracy, "standard_error": error, "probe_loss": loss},
            step,
            "progress",
        )
    ]


def classes_learned_last(data: xr.Dataset) -> list[Finding]:
    """Name the classes that were learned last.

    Rule: a class is learned from the first measured step from which 90 % of its examples stay correct. Named are the
    classes that were not learned by the end, and those that took at least twice the median step of the learned ones.
    Silent with fewer than 3 classes or 6 measurements, or if no class was learned.
    """
    if "class_learning_time" not in data or data.sizes["class"] < 3 or data.sizes["step"] < LEAST_MEASUREMENTS:
        return []
    times = data["class_learning_time"].values
    names = class_names(data)
    learned = times[np.isfinite(times)]
    if not len(learned):
        return []
    median = float(np.median(learned))
    never = [names[k] for k in np.flatnonzero(np.isinf(times))]
    late = [k for k in np.argsort(times) if np.isfinite(times[k]) and median > 0 and times[k] >= LATE * median]
    parts = []
    if late:
        parts.append(
            "Learned last: "
            + listed([f"{names[k]} (step {times[k]:,.0f})" for k in late[::-1]])
            + f"; half of the learned classes were there by step {median:,.0f}."
        )
    if never:
        parts.append(f"Not learned for good (90% correct to the end): {listed(never)}.")
    if not parts:
        return []
    evidence: dict[str, float | str] = {names[k]: float(t) for k, t in enumerate(times)}
    return [Finding("classes_learned_last", " ".join(parts), evidence, None, FIGURE)]


def class_names(data: xr.Dataset) -> list[str]:
    """Return the names of the classes, as given or as "class 0", "class 1", ..."""
    given = data.attrs.get("class_names")
    return [str(n) for n in given] if given else [f"class {k}" for k in range(data.sizes["class"])]


def could_have_stopped(data: xr.Dataset) -> list[Finding]:
    """Say when training could have stopped, as far as the probe can tell.

    Rule: with classes, the first measured step from which accuracy stays within one standard error of its best;
    without, the same for the loss. Named if it lies before 70 % of the training. If the loss at the end exceeds its
    least value by two standard errors of the difference, that rise is named too. Needs 6 measurements.
    """
    if "probe_loss" not in data or data.sizes["step"] < LEAST_MEASUREMENTS:
        return []
    steps, loss, loss_error = (data[name].values for name in ("step", "probe_loss", "probe_loss_standard_error"))
    if not np.isfinite(loss).all():
        return []
    findings: list[Finding] = []
    quality, error = -loss, loss_error
    if "probe_accuracy" in data:
        quality, error = data["probe_accuracy"].values, data["probe_accuracy_standard_error"].values
    best = int(quality.argmax())
    index = first_lasting(quality >= quality[best] - error[best])
    if index is not None and 0 < steps[index] <= STOP_BEFORE * steps[-1]:
        what = "accuracy" if "probe_accuracy" in data else "loss"
        findings.append(
            Finding(
                "could_have_stopped",
                f"Training could have stopped at step {steps[index]:,} of {steps[-1]:,}: from there the probe's "
                f"{what} stays within one standard error of its best.",
                {"value": float(quality[index]), "best": float(quality[best]), "standard_error": float(error[best])},
                int(steps[index]),
                "progress",
            )
        )
    least = int(loss.argmin())
    if loss[-1] - loss[least] > 2 * np.hypot(loss_error[-1], loss_error[least]):
        findings.append(
            Finding(
                "could_have_stopped",
                f"The probe's loss was least at step {steps[least]:,} ({loss[least]:.3g}) and rose to {loss[-1]:.3g}"
                f"{_why_it_rose(data, least)}",
                {"least": float(loss[least]), "last": float(loss[-1])},
                int(steps[least]),
                "progress",
            )
        )
    return findings


def _why_it_rose(data: xr.Dataset, least: int) -> str:
    """Return the end of the sentence: if accuracy did not fall meanwhile, mistakes became more confident."""
    if "probe_accuracy" not in data:
        return "."
    accuracy, error = data["probe_accuracy"].values, float(data["probe_accuracy_standard_error"][-1])
    if accuracy[-1] < accuracy[least] - error or accuracy[-1] < 2 * accuracy[0]:
        return "."
    return " while accuracy did not fall: the network grows more confident about its mistakes."
