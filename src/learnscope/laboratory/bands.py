"""Bands: where a measured number must lie for a claim to hold."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Band:
    """An interval around a predicted number, or a bound; made by the functions below.

    Attributes:
        relative: half-width as a share of |predicted|, if not None.
        absolute: half-width, if not None.
        low: fixed lower end, where neither of these is given.
        high: fixed upper end.
    """

    relative: float | None = None
    absolute: float | None = None
    low: float = -math.inf
    high: float = math.inf

    def ends(self, predicted: float) -> tuple[float, float]:
        """Return the lower and the upper end of the band around ``predicted``."""
        if self.relative is None and self.absolute is None:
            return self.low, self.high
        half = self.absolute if self.absolute is not None else (self.relative or 0.0) * abs(predicted)
        return predicted - half, predicted + half


def within(relative: float | None = None, *, absolute: float | None = None) -> Band:
    """Return the band predicted ± relative · |predicted|, or predicted ± absolute.

    Examples:
        >>> within(0.25).ends(4.0), within(absolute=0.5).ends(0.0)
        ((3.0, 5.0), (-0.5, 0.5))
    """
    if (relative is None) == (absolute is None):
        raise TypeError("give one half-width: within(0.03), or within(absolute=0.1)")
    return Band(relative=relative, absolute=absolute)


def at_least(low: float) -> Band:
    """Return the band [low, ∞)."""
    return Band(low=low)


def at_most(high: float) -> Band:
    """Return the band (-∞, high]."""
    return Band(high=high)


def between(low: float, high: float) -> Band:
    """Return the band [low, high]."""
    return Band(low=low, high=high)
