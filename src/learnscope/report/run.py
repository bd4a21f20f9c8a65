"""The page of one run: its findings, its figures, and how it was set up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from learnscope.findings import Finding
from learnscope.report.figures import figures_of
from learnscope.report.page import Item, Page

REMARKS = (
    "Everything here was measured on the probe, a fixed set of examples; what holds on it need not hold elsewhere.",
    "Hollow markers, and findings that say so, mark estimates that have not converged: too few examples for so many "
    "classes (information), or too few distinct ones (dimension). Their size is rough, their direction may still be "
    "right.",
    "Steps are those that were measured: whatever happened between two of them is not seen.",
    "Findings are made by fixed rules and are silent where the evidence is weak; that nothing is said about something "
    "does not mean that all is well with it.",
    "Numbers in the downloads are rounded to five significant digits (places of points to one part in 30,000); the "
    "record holds them in full.",
)


def run_page(data: xr.Dataset, findings: Sequence[Finding]) -> Page:
    """Return the page of a run."""
    name = str(data.attrs.get("run", "in memory"))
    title = "What the network learned" if name == "in memory" else name
    return Page(
        title=title,
        summary=_summary(data),
        items=tuple(_item(finding) for finding in findings),
        figures=figures_of(data),
        facts=_facts(data),
        remarks=REMARKS,
    )


def _item(finding: Finding) -> Item:
    evidence = tuple((name.replace("_", " "), _said(value)) for name, value in finding.evidence.items())
    return Item(finding.sentence, finding.kind, finding.figure, evidence)


def _said(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _summary(data: xr.Dataset) -> str:
    steps = data["step"].values if data.sizes.get("step") else ()
    if not len(steps):
        return "Nothing was measured."
    network = _without_hash(_identity(data, "model")).replace(", ", " with ", 1) or "A network"
    looks = f"{len(steps):,} times from step {steps[0]:,} to step {steps[-1]:,}" if len(steps) > 1 else "once"
    probe = f" on {data.sizes['example']:,} examples" if "example" in data.sizes else ""
    return f"{network}, measured {looks}{probe}: what it learned, and when."


def _facts(data: xr.Dataset) -> tuple[tuple[str, str], ...]:
    attrs = data.attrs
    facts = [("Run", str(attrs.get("run", ""))), ("Network", _without_hash(_identity(data, "model")))]
    if data.sizes.get("step"):
        steps = data["step"].values
        facts.append(("Measured", f"{len(steps):,} times, from step {steps[0]:,} to step {steps[-1]:,}"))
    if "example" in data.sizes:
        facts.append(("Probe", f"{data.sizes['example']:,} examples{_task(attrs)}"))
    if "layer" in data.sizes:
        facts.append(("Layers in view", f"{data.sizes['layer']:,}{_positions(attrs)}"))
    facts.append(("Left out", "; ".join(f"{name}: {reason}" for name, reason in attrs.get("left_out", {}).items())))
    facts += [(f"Simpler model “{name}”", _fit(fit)) for name, fit in attrs.get("simple_models", {}).items()]
    facts += [(f"Could not measure “{name}”", str(error)) for name, error in attrs.get("failures", {}).items()]
    return tuple((term, text) for term, text in facts if text)


def _identity(data: xr.Dataset, part: str) -> str:
    return str(data.attrs.get("identity", {}).get(part, ""))


def _without_hash(identity: str) -> str:
    return identity.rpartition(", ")[0] or identity


def _task(attrs: Mapping[Any, Any]) -> str:
    if attrs.get("task") == "classification":
        return f", {attrs.get('n_classes', '?')} classes"
    return ", real targets" if attrs.get("task") == "regression" else ", without labels"


def _positions(attrs: Mapping[Any, Any]) -> str:
    layouts = attrs.get("layer_layouts", {})
    reduced = sum(layout != "features" for layout in layouts.values())
    if not reduced:
        return ""
    how = "averaged over" if attrs.get("positions", "mean") == "mean" else "taken one by one at"
    return f"; in {reduced} of them activations are {how} all positions (pixels or tokens)"


def _fit(fit: Mapping[str, Any]) -> str:
    doubt = "" if fit.get("converged", True) else "; its fit did not converge, so it may be better than it looks here"
    return f"fitted on {fit.get('fitted_on', 'unknown data')}{doubt}"
