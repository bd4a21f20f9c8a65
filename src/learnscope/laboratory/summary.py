"""Verdicts as plain values for claims.json, for ``--json``, and as short texts for tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from learnscope.estimate import Estimate
from learnscope.laboratory.judge import ClaimVerdict, Judged


def claims_json(verdicts: Sequence[ClaimVerdict], seeds: int, notes: Sequence[str]) -> dict[str, Any]:
    """Return verdicts as plain JSON values; what is not finite becomes a text."""
    return {"seeds": seeds, "notes": list(notes), "claims": [_claim(verdict) for verdict in verdicts]}


def number(value: float) -> str:
    """Return a number with four significant digits, as one would write it.

    Examples:
        >>> number(0.123456), number(1.0), number(1.5e-12), number(float("inf"))
        ('0.1235', '1', '1.5e-12', '∞')
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.4g}"


def measured_text(estimate: Estimate) -> str:
    """Return "0.91 [0.89, 0.93]"."""
    low, high = (float(end) for end in estimate.interval())
    return f"{number(float(estimate))} [{number(low)}, {number(high)}]"


def band_text(band: tuple[float, float]) -> str:
    """Return a band as "0.9 to 1.1", "≥ 0.85", or "≤ 0.1".

    Examples:
        >>> band_text((0.85, float("inf"))), band_text((-1.0, 1.0)), band_text((0.0, 0.0))
        ('≥ 0.85', '-1 to 1', 'exactly 0')
    """
    low, high = band
    if math.isinf(high):
        return f"≥ {number(low)}"
    if math.isinf(low):
        return f"≤ {number(high)}"
    return f"exactly {number(low)}" if low == high else f"{number(low)} to {number(high)}"


def control_text(judged: Judged) -> str:
    """Return the control's number and whether it failed, as it must."""
    if judged.control is None:
        return ""
    outcome = "fails, as it must" if judged.control.fails else judged.control.outcome
    return f"{measured_text(judged.control.measured)}, {outcome}"


def _claim(verdict: ClaimVerdict) -> dict[str, Any]:
    claim = verdict.claim
    return {
        "name": claim.name,
        "verdict": verdict.verdict,
        "statement": claim.statement,
        "source": claim.source,
        "correction": claim.correction,
        "criteria": [_criterion(judged) for judged in verdict.criteria],
    }


def _criterion(judged: Judged) -> dict[str, Any]:
    control = judged.control
    return {
        "name": judged.criterion.name,
        "predicted": _finite(judged.predicted),
        **_estimate(judged.measured),
        "band": [_finite(end) for end in judged.band],
        "reason": judged.criterion.reason,
        "verdict": judged.verdict,
        "notes": list(judged.notes),
        "control": control and {"name": control.name, **_estimate(control.measured), "fails": control.fails},
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    low, high = estimate.interval()
    return {
        "measured": _finite(float(estimate)),
        "interval": [_finite(float(low)), _finite(float(high))],
        "seeds": int(estimate.n),
        "estimator": estimate.estimator,
    }


def _finite(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)
