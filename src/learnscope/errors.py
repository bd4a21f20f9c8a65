"""What can go wrong, each told in one sentence: the value, what was expected, and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LearnscopeError(Exception):
    """Base of every error that Learnscope raises on purpose."""


class InputError(LearnscopeError, ValueError):
    """An argument that a user handed over cannot be used as it is."""


class LayerError(InputError):
    """A layer was named that the model does not have, or that it never calls."""


class BudgetError(LearnscopeError, MemoryError):
    """The memory budget is too small for a single unit of the work."""


class StoreError(LearnscopeError):
    """A run folder cannot be read, written or continued."""


class DownloadError(LearnscopeError, OSError):
    """A data set could not be fetched, or what came is not what was expected."""


class LeftOutWarning(UserWarning):
    """Part of what was asked about cannot be looked at, and is not in the result."""


def nearest_names(name: str, known: Iterable[str], most: int = 3) -> str:
    """Return the known names closest to ``name``, quoted and joined for the end of an error message.

    Examples:
        >>> nearest_names("con1", ["conv1", "conv2", "head"])
        "'conv1', 'conv2'"
    """
    known = list(known)
    close = difflib.get_close_matches(name, known, n=most, cutoff=0.5) or known[:most]
    return ", ".join(repr(candidate) for candidate in close)
