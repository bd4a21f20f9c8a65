"""The points of a sweep: one for each combination of the swept values, with a name and a generator of its own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from learnscope.laboratory.settings import Settings, identifier
from learnscope.randomness import generator

KEY_LENGTH = 16


class Point(Mapping[str, Any]):
    """The settings at one place of the grid: each swept field holds one of its values.

    Read a setting as an attribute (``point.dim``) or as an item (``point["dim"]``).
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_values", dict(values))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"this point has no setting {name!r}: it has {', '.join(self._values)}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a point cannot be changed")

    def __reduce__(self) -> tuple[type[Point], tuple[dict[str, Any]]]:
        return Point, (self._values,)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Point({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"


def grid(settings: Settings) -> list[Point]:
    """Return the points of ``settings``, the last swept axis running fastest.

    Examples:
        >>> from learnscope.laboratory.settings import Grid
        >>> class Sizes(Settings):
        ...     dim: int = 3
        ...     n_train: Grid[int] = (10, 20)
        >>> grid(Sizes())
        [Point(dim=3, n_train=10), Point(dim=3, n_train=20)]
    """
    values = {name: getattr(settings, name) for name in type(settings).model_fields}
    swept = settings.swept()
    return [
        Point(values | dict(zip(swept, chosen, strict=True)))
        for chosen in itertools.product(*(values[name] for name in swept))
    ]


def canonical(point: Point, settings: type[Settings]) -> dict[str, Any]:
    """Return what identifies a point: its place on the swept axes, and the other settings that are not the defaults.

    Defaults are left out, so that a setting that is added later does not orphan results that exist.
    """
    swept = settings.swept()
    default = {name: field.get_default(call_default_factory=True) for name, field in settings.model_fields.items()}
    kept = {name: value for name, value in point.items() if name in swept or value != default[name]}
    return json.loads(json.dumps(kept, default=_plain))


def key(point: Point, settings: type[Settings], version: int = 1) -> str:
    """Return the name of a point's results, the same on every machine."""
    return identifier({"point": canonical(point, settings)} | _if_not_first(version), KEY_LENGTH)


def point_generator(experiment: str, point: Point, settings: type[Settings], seed: int) -> torch.Generator:
    """Return the generator of (experiment, point, seed), independent of every other one."""
    return generator("laboratory", experiment, json.dumps(canonical(point, settings), sort_keys=True), seed)


def settings_key(settings: Settings, version: int = 1) -> str:
    """Return the name of the folder of a run with these settings."""
    return identifier(settings.differences() | _if_not_first(version))


def _if_not_first(version: int) -> dict[str, int]:
    return {} if version == 1 else {"experiment version": version}


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return value.model_dump(mode="json")
    return str(value)
