"""The page of an experiment: claims with their verdicts, figures, settings, provenance, and what to cite."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from learnscope.laboratory.experiment import Experiment
from learnscope.laboratory.judge import ClaimVerdict, Judged
from learnscope.laboratory.provenance import FILE
from learnscope.laboratory.summary import band_text, control_text, measured_text, number
from learnscope.report.page import ClaimTable, CriterionRow, Item, Page

if TYPE_CHECKING:
    from learnscope.laboratory.run import Run

REMARKS = (
    "A claim is reproduced if the 95 % interval of every measured number, over seeds, lies in its band, and every "
    "negative control falls wholly outside; not reproduced if an interval lies outside; else inconclusive. Bands are "
    "fixed in the experiment's file before the run, with their reason.",
    "Intervals are bootstrapped over seeds; shares of seeds have Wilson's interval. Both speak of this set-up at these "
    "sizes only.",
    "Numbers in the downloads are rounded to five significant digits; the store holds them in full.",
)


def experiment_page(run: Run) -> Page:
    """Return the page of a run, with whatever results exist."""
    experiment = run.experiment
    figures = tuple(experiment.figures(run.data)) if run.stored else ()
    return Page(
        title=experiment.title,
        summary=_summary(experiment),
        items=tuple(Item(note, "warning") for note in run.notes) + tuple(_failures(run)),
        claims=tuple(_claim(verdict) for verdict in run.verdicts),
        figures=figures,
        facts=_facts(run),
        remarks=REMARKS,
    )


def _summary(experiment: Experiment) -> str:
    documentation = inspect.getdoc(sys.modules.get(experiment.simulate.__module__)) or ""
    return " ".join(documentation.partition("\n\n")[0].split())


def _failures(run: Run) -> list[Item]:
    kinds = Counter(failure.message for failure in run.failures)
    return [Item(f"{count} points raised {message}", "warning") for message, count in kinds.most_common(5)]


def _claim(verdict: ClaimVerdict) -> ClaimTable:
    claim = verdict.claim
    return ClaimTable(
        name=claim.name,
        statement=claim.statement,
        source=claim.source,
        verdict=verdict.verdict,
        correction=claim.correction,
        rows=tuple(_row(judged) for judged in verdict.criteria),
    )


def _row(judged: Judged) -> CriterionRow:
    return CriterionRow(
        name=judged.criterion.name,
        predicted=number(judged.predicted),
        measured=measured_text(judged.measured),
        band=band_text(judged.band),
        reason=judged.criterion.reason,
        verdict=judged.verdict,
        control=control_text(judged),
        control_name=judged.criterion.control_name,
        notes=judged.notes,
    )


def _facts(run: Run) -> tuple[tuple[str, str], ...]:
    experiment = run.experiment
    fields = type(run.settings).model_fields
    settings = [
        (name, f"{_value(getattr(run.settings, name))}{f': {field.description}' if field.description else ''}")
        for name, field in fields.items()
    ]
    seconds = sum(stored.facts.get("seconds", 0.0) for stored in run.stored.values())
    facts = [
        ("Experiment", experiment.name),
        ("Cite", experiment.source),
        *settings,
        ("Seeds", _seeds(run.seeds)),
        ("Computed", f"{len(run.stored):,} points in {seconds:,.1f} core-seconds"),
        *_provenance(run.folder.read_json(FILE)),
    ]
    return tuple(facts)


def _provenance(record: dict[str, Any] | None) -> list[tuple[str, str]]:
    if not record or not record.get("sessions"):
        return []
    last = record["sessions"][-1]
    versions = ", ".join(f"{name} {number}" for name, number in last["versions"].items())
    commit = f", commit {last['commit'][:12]}" if last.get("commit") else ""
    return [
        ("Last session", f"{last['started']}, {last['machine']}{commit}"),
        ("Versions", versions),
        ("Command", last["command"]),
    ]


def _value(value: Any) -> str:
    return ", ".join(str(each) for each in value) if isinstance(value, tuple) else str(value)


def _seeds(seeds: tuple[int, ...]) -> str:
    consecutive = seeds == tuple(range(seeds[0], seeds[0] + len(seeds))) if seeds else False
    return f"{seeds[0]} to {seeds[-1]}" if consecutive and len(seeds) > 1 else ", ".join(map(str, seeds))
