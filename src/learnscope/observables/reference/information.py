"""Information by its definition: sums over counted triples, one at a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence


def entropy(values: Sequence[Hashable]) -> float:
    """Return the plug-in entropy -Σ p log₂ p of a list of values, in bits."""
    n = len(values)
    return -sum(c / n * math.log2(c / n) for c in Counter(values).values())


def jackknifed_entropy(values: Sequence[Hashable]) -> float:
    """Return n H - (n - 1) times the mean of the entropies with one value left out, in bits."""
    values = list(values)
    n = len(values)
    left_out = [entropy(values[:i] + values[i + 1 :]) for i in range(n)]
    return n * entropy(values) - (n - 1) * sum(left_out) / n


def conditional_information(f: Sequence[int], y: Sequence[int], given: Sequence[int]) -> float:
    """Return the plug-in I(F;Y|L) = Σ p(f,y,l) log₂ [p(l) p(f,y,l) / (p(f,l) p(y,l))], in bits."""
    n = len(f)
    triples = Counter(zip(f, y, given, strict=True))
    first, second = Counter(zip(f, given, strict=True)), Counter(zip(y, given, strict=True))
    condition = Counter(given)
    return sum(
        count / n * math.log2(condition[l] * count / (first[a, l] * second[b, l]))
        for (a, b, l), count in triples.items()  # noqa: E741
    )
