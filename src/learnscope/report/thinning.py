"""How much of a long record a page carries: evenly spread choices that keep both ends."""

from __future__ import annotations

import numpy as np

MOST_FRAMES = 40  # steps that a slider runs over
MOST_COLUMNS = 200  # steps of a heat map or a line
MOST_CELLS = 6000  # of one heat map, or points of one set of lines
MOST_POINTS = 1000  # examples of a scatter


def spread(n: int, most: int) -> np.ndarray:
    """Return at most ``most`` indices out of 0 ... n - 1, evenly spread, the first and the last among them.

    Examples:
        >>> spread(3, 5).tolist(), spread(9, 3).tolist()
        ([0, 1, 2], [0, 4, 8])
    """
    if n <= most:
        return np.arange(n)
    return np.unique(np.rint(np.linspace(0, n - 1, most)).astype(int))


def log_spread(n: int, most: int) -> np.ndarray:
    """Return at most ``most`` indices out of 0 ... n - 1, denser near 0, both ends among them.

    Examples:
        >>> log_spread(1000, 8).tolist()
        [0, 2, 6, 18, 51, 138, 372, 999]
    """
    if n <= most:
        return np.arange(n)
    return np.unique(np.rint(np.geomspace(1, n, most)).astype(int)) - 1


def omitted(shown: int, n: int, what: str) -> tuple[str, ...]:
    """Return the note that only a part is drawn, or nothing if all is.

    Examples:
        >>> omitted(40, 90, "measured steps"), omitted(3, 3, "layers")
        (('Drawn are 40 of the 90 measured steps, evenly spread.',), ())
    """
    return () if shown == n else (f"Drawn are {shown:,} of the {n:,} {what}, evenly spread.",)
