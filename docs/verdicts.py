"""Write a page of stored verdicts, docs/verdicts.md: ``learnscope verify --json | .venv/bin/python docs/verdicts.py``.

With ``--seeds 40``, docs/verdicts-40-seeds.md, of the experiments that ``verify`` was asked for. With ``--runs``,
docs/verdicts-paper.md, of the folders that ``learnscope run`` has written to at the scale of the papers.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

HEAD = """# Verdicts{title}

{which}, as `learnscope {by}` judged {them} (Learnscope {version}). A claim is
reproduced if the 95 % interval over seeds of each measured number lies in its band, which was fixed beforehand, and
every negative control falls outside. This page is written by `{command}`.

{counts}
"""
QUICK = {
    "title": "",
    "which": "Every claim of the catalogue at quick scale",
    "by": "verify",
    "them": "it",
    "command": "learnscope verify --json | python docs/verdicts.py",
}


def main() -> None:
    """Read verdicts from standard input, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", nargs="+", type=Path, help="folders of runs at the scale of the papers")
    parser.add_argument("--device", default="", help="what computed these")
    parser.add_argument("--seeds", type=int, help="more than the experiments' own, as verify was told")
    options = parser.parse_args()
    found = _of_runs(options.runs) if options.runs else json.load(sys.stdin)
    claims = [claim for experiment in found.values() for claim in experiment["claims"]]
    kinds = ("reproduced", "not reproduced", "inconclusive")
    counts = ", ".join(f"{sum(claim['verdict'] == kind for claim in claims)} {kind}" for kind in kinds)
    words, page = QUICK, "verdicts.md"
    if options.runs:
        words, page = _of_paper(options.device), "verdicts-paper.md"
    elif options.seeds:
        words, page = _of_more_seeds(list(found), options.seeds), f"verdicts-{options.seeds}-seeds.md"
    head = HEAD.format(version=version("learnscope"), counts=f"**{len(claims)} claims: {counts}.**", **words)
    sections = [head, *(_experiment(name, experiment) for name, experiment in found.items())]
    Path(__file__).with_name(page).write_text("\n".join(sections), encoding="utf-8")


def _of_runs(folders: list[Path]) -> dict[str, Any]:
    """Return the verdicts in some folders by experiment, with a note of the command that made each and the seeds.

    An experiment that has run twice has the second run under another heading.
    """
    found: dict[str, Any] = {}
    for folder in folders:
        name = json.loads((folder / "settings.json").read_text())["experiment"]
        judged = json.loads((folder / "claims.json").read_text())
        told = shlex.split(json.loads((folder / "provenance.json").read_text())["sessions"][-1]["command"])[1:]
        command = shlex.join(_without(_without(told, "--store"), "--workers"))
        notes = [f"`learnscope {command}`, {judged['seeds']} seeds.", *judged["notes"]]
        measured = [claim for claim in judged["claims"] if any(c["measured"] is not None for c in claim["criteria"])]
        if others := [claim["name"] for claim in judged["claims"] if claim not in measured]:
            notes.append(f"These settings leave out what {', '.join(others)} is judged by.")
        heading = f"{name}, with other settings" if name in found else name
        found[heading] = judged | {"claims": measured, "notes": notes}
    return found


def _without(words: list[str], option: str) -> list[str]:
    """Return the words of a command without an option and its value."""
    at = words.index(option) if option in words else len(words)
    return words[:at] + words[at + 2 :]


def _of_paper(device: str) -> dict[str, str]:
    """Return what the head of the page says of the scale of the papers."""
    return {
        "title": " at the scale of the papers",
        "which": f"Claims at the sizes of the original works, or as near as the commands below say, on {device}",
        "by": "run",
        "them": "them",
        "command": f'python docs/verdicts.py --device "{device}" --runs …',
    }


def _of_more_seeds(names: list[str], seeds: int) -> dict[str, str]:
    """Return what the head of the page says of more seeds."""
    command = f"learnscope verify {' '.join(names)} --seeds {seeds} --json | python docs/verdicts.py --seeds {seeds}"
    return {
        "title": f" with {seeds} seeds",
        "which": "Experiments with claims that their own number of seeds leaves inconclusive, at quick scale with more "
        "seeds, among which those are, so that the two pages are not independent",
        "by": "verify",
        "them": "them",
        "command": command,
    }


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
    outcome = control and (
        "fails" if control["fails"] else "no number" if control["measured"] is None else "does not fail"
    )
    against = f"{_measured(control)}, {outcome}: {control['name']}" if control else ""
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
