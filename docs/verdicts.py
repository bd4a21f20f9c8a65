"""Write docs/verdicts.md from stored verdicts: ``learnscope verify --json | .venv/bin/python docs/verdicts.py``."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("verdicts.md")
HEAD = """# Verdicts

Every claim of the catalogue at quick scale, as `learnscope verify` judged it (Learnscope {version}). A claim is
reproduced if the 95 % interval over seeds of each measured number lies in its band, which was fixed beforehand, and
every negative control falls outside. This page is written by `learnscope verify --json | python docs/verdicts.py`.

{counts}
"""


def main() -> None:
    """Read verdicts from standard input, and write the page."""
    found = json.load(sys.stdin)
    claims = [claim for experiment in found.values() for claim in experiment["claims"]]
    kinds = ("reproduced", "not reproduced", "inconclusive")
    counts = ", ".join(f"{sum(claim['verdict'] == kind for claim in claims)} {kind}" for kind in kinds)
    sections = [HEAD.format(version=version("learnscope"), counts=f"**{len(claims)} claims: {counts}.**")]
    sections += [_experiment(name, experiment) for name, experiment in found.items()]
    PAGE.write_text("\n".join(sections), encoding="utf-8")


def _experiment(name: str, experiment: dict[str, Any]) -> str:
    parts = [f"## {name}\n", *(f"{note}\n" for note in experiment["notes"])]
    return "\n".join([*parts, *(_claim(claim) for claim in experiment["claims"])])


def _claim(claim: dict[str, Any]) -> str:
    lines = [f"### {claim['name']}: {claim['verdict']}\n", f"{claim['statement']} ({claim['source']})\n"]
    if claim["correction"]:
        lines.append(f"*Correction.* {claim['correction']}\n")
    lines += [
        "| measured | predicted | measured [95 %] | band | verdict | negative control |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(criterion) for criterion in claim["criteria"]]
    return "\n".join([*lines, ""])


def _row(criterion: dict[str, Any]) -> str:
    control = criterion["control"]
    against = f"{_measured(control)}, {'fails' if control['fails'] else 'passes'}: {control['name']}" if control else ""
    low, high = (_number(end) for end in criterion["band"])
    cells = (
        criterion["name"],
        _number(criterion["predicted"]),
        _measured(criterion),
        f"{low} to {high}",
        criterion["verdict"],
        against,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _measured(part: dict[str, Any]) -> str:
    low, high = part["interval"]
    return f"{_number(part['measured'])} [{_number(low)}, {_number(high)}]"


def _number(value: float | str | None) -> str:
    if value is None:
        return "–"
    return value.replace("inf", "∞") if isinstance(value, str) else f"{value:.4g}"


if __name__ == "__main__":
    main()
