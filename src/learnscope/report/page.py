"""One self-contained HTML page from a title, facts, findings and figures; it opens without a network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Literal

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from learnscope.report.chart import Figure
from learnscope.report.encoding import figure_json, script_json

SCRIPTS = ("look.js", "draw.js", "download.js", "page.js")


@dataclass(frozen=True, slots=True)
class Item:
    """One finding, as it stands on the page.

    Attributes:
        sentence: what a reader should know.
        kind: "warning" stands apart.
        figure: name of the figure that shows it; no link is made if the page has no such figure.
        evidence: numbers that it rests on, by name, as text.
    """

    sentence: str
    kind: Literal["warning", "result"] = "result"
    figure: str | None = None
    evidence: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CriterionRow:
    """One criterion of a claim, as texts: what was predicted, what was measured, and what that means."""

    name: str
    predicted: str
    measured: str
    band: str
    reason: str
    verdict: str
    control: str = ""
    control_name: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClaimTable:
    """A claim with its verdict, as it stands on the page."""

    name: str
    statement: str
    source: str
    verdict: str
    rows: tuple[CriterionRow, ...]
    correction: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """What a page shows, from top to bottom.

    Attributes:
        title: heading, and the browser's title.
        summary: one sentence under it.
        items: the findings.
        claims: claims with their verdicts.
        figures: numbered in order.
        facts: the set-up, as terms and what they are.
        remarks: caveats for the end of the page.
    """

    title: str
    summary: str = ""
    items: Sequence[Item] = ()
    claims: Sequence[ClaimTable] = ()
    figures: Sequence[Figure] = ()
    facts: Sequence[tuple[str, str]] = ()
    remarks: Sequence[str] = field(default=())


def render(page: Page) -> str:
    """Return the page as HTML; every name in it is escaped, and nothing is fetched from anywhere.

    Its policy allows no other scripts than its own and no requests, so that even an escaping error could do nothing.
    """
    numbers = {figure.name: k for k, figure in enumerate(page.figures, 1)}
    definitions = dict(pair for figure in page.figures for pair in figure.definitions)
    scripts = [_asset(name) for name in SCRIPTS] if page.figures else []
    plotly = _plotly() if page.figures else ""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_asset("page.html.jinja")).render(
        page=page,
        warnings=[item for item in page.items if item.kind == "warning"],
        results=[item for item in page.items if item.kind != "warning"],
        numbers=numbers,
        definitions=definitions,
        style=Markup(_asset("page.css")),  # noqa: S704 - our own file
        scripts=[Markup(script) for script in scripts],  # noqa: S704 - our own files
        plotly=Markup(plotly),  # noqa: S704 - Plotly's own file
        hashes=" ".join(f"'sha256-{_digest(script)}'" for script in (plotly, *scripts)) if scripts else "'none'",
        data=Markup(script_json([figure_json(figure) for figure in page.figures])),  # noqa: S704 - escaped for scripts
    )


@cache
def _asset(name: str) -> str:
    return (resources.files("learnscope.report") / "assets" / name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    script = (resources.files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
    return script.replace("</script", "<\\/script")


@cache
def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
