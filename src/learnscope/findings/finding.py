"""A finding: a sentence with the numbers, the step and the figure that it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Kind = Literal["warning", "result"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence derived from a record by a documented rule.

    Attributes:
        rule: name of the rule that made it, the function's name in its module.
        sentence: what a reader should know.
        evidence: the numbers that it rests on, by name.
        step: the step that it speaks of, if one.
        figure: name of the report's figure that shows it, if one.
        kind: "warning" for what is probably wrong with the run, "result" for what was learned.
    """

    rule: str
    sentence: str
    evidence: dict[str, float | str] = field(default_factory=dict)
    step: int | None = None
    figure: str | None = None
    kind: Kind = "result"

    def __str__(self) -> str:
        return self.sentence


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return names joined as in a sentence, cut after ``most``.

    Examples:
        >>> listed(["a", "b", "c"]), listed(list("abcdef"), most=2)
        ('a, b and c', 'a, b and 4 more')
    """
    names = list(names)
    if len(names) > most:
        names = [*names[:most], f"{len(names) - most} more"]
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def first_lasting(holds: np.ndarray) -> int | None:
    """Return the first index from which ``holds`` is true to the end, or None.

    Examples:
        >>> first_lasting(np.array([True, False, True, True])), first_lasting(np.array([True, False]))
        (2, None)
    """
    if not len(holds) or not holds[-1]:
        return None
    wrong = np.flatnonzero(~holds)
    return int(wrong[-1]) + 1 if len(wrong) else 0
