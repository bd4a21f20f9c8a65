"""The catalogue as a table, and names of claims resolved to the experiments that judge them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from learnscope.errors import InputError, nearest_names
from learnscope.laboratory.catalogue import load, names
from learnscope.laboratory.experiment import Experiment
from learnscope.laboratory.run import prepare


def catalogue(store: str = "runs") -> list[dict[str, Any]]:
    """Return every experiment with its claims, their sources, and their last verdict at quick scale in ``store``."""
    return [_row(load(name), store) for name in names()]


def resolved(wanted: Sequence[str]) -> list[Experiment]:
    """Return the experiments that are named, with their parts, or that judge a claim that is named; all if none is.

    Raises:
        InputError: if a name is neither of an experiment nor of a claim (with the nearest names).
    """
    known = names()
    chosen: dict[str, Experiment] = {}
    for name in wanted or known:
        named = name in known or name.endswith(".py")
        found = with_parts(load(name)) if named else _judging(name)
        chosen |= {each.name: each for each in found}
    return list(chosen.values())


def with_parts(experiment: Experiment) -> list[Experiment]:
    """Return an experiment and those that run along with it."""
    return [experiment, *(load(name) for name in experiment.parts)]


def _judging(claim: str) -> list[Experiment]:
    experiments = [load(name) for name in names()]
    judging = [each for each in experiments if claim in {judged.name for judged in each.claims}]
    if not judging:
        known = [*names(), *(judged.name for each in experiments for judged in each.claims)]
        raise InputError(f"there is no experiment or claim {claim!r}: did you mean {nearest_names(claim, known)}?")
    return judging


def _row(experiment: Experiment, store: str) -> dict[str, Any]:
    judged = prepare(experiment, store=store).folder.read_json("claims.json") or {"claims": []}
    status = {claim["name"]: claim["verdict"] for claim in judged["claims"]}
    claims = [
        {
            "name": claim.name,
            "statement": claim.statement,
            "source": claim.source,
            "status": status.get(claim.name, "not run"),
        }
        for claim in experiment.claims
    ]
    return {"name": experiment.name, "title": experiment.title, "source": experiment.source, "claims": claims}
