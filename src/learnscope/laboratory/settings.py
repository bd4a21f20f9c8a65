"""The settings of an experiment: checked values, swept axes, and a name by what differs from the defaults."""

from __future__ import annotations

import hashlib
import json
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self, TypeVar, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from learnscope.errors import InputError, nearest_names

T = TypeVar("T")


class _Swept:
    """Marks a field whose values are the places of a swept axis."""


def _as_tuple(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else (value,)


Grid = Annotated[tuple[T, ...], BeforeValidator(_as_tuple), Field(min_length=1), _Swept()]
"""A swept axis: ``n_train: Grid[int] = (10, 100)`` makes a point for each value; a single value is a grid of one."""


class Settings(BaseModel):
    """Base of every experiment's settings: immutable, and strict about names and ranges.

    Fields declared as :data:`Grid` are swept: each of their values makes points of its own. Every other field, tuples
    among them, reaches ``simulate`` as it is.

    Examples:
        >>> class Sizes(Settings):
        ...     dim: int = Field(10, ge=1)
        ...     n_train: Grid[int] = (20, 40)
        >>> Sizes().swept(), Sizes(n_train=5).n_train, Sizes(dim=3).differences()
        (('n_train',), (5,), {'dim': 3})
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def swept(cls) -> tuple[str, ...]:
        """Return the names of the swept axes, in the order of their declaration."""
        return tuple(
            name for name, field in cls.model_fields.items() if any(isinstance(m, _Swept) for m in field.metadata)
        )

    def differences(self) -> dict[str, Any]:
        """Return the settings that differ from the defaults, as plain JSON values."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @classmethod
    def checked(cls, values: Mapping[str, Any], experiment: str) -> Self:
        """Return settings made from ``values``.

        Raises:
            InputError: if a name is not known (with the nearest names) or a value is out of its range.
        """
        for name in values:
            if name not in cls.model_fields:
                raise InputError(
                    f"{experiment!r} has no setting {name!r}: did you mean {nearest_names(name, cls.model_fields)}?"
                )
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            where, why = ".".join(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, ")
            what = f"setting {where!r} of {experiment!r}" if where else f"the settings of {experiment!r}"
            raise InputError(f"{what} cannot be {first.get('input')!r}: {_lowered(why)}.") from error

    @classmethod
    def parsed(cls, assignments: Sequence[str], experiment: str) -> dict[str, Any]:
        """Return values by name from texts such as ``"dim=5"`` and ``"n_train=10,20"``.

        A value is read as JSON where it is JSON, and as a text elsewhere; commas separate the values of a tuple or a
        grid.

        Raises:
            InputError: if a text has no equals sign.

        Examples:
            >>> class Sizes(Settings):
            ...     n_train: Grid[int] = (20, 40)
            ...     law: str = "gaussian"
            >>> Sizes.parsed(["n_train=10,20", "law=student"], "demo")
            {'n_train': [10, 20], 'law': 'student'}
        """
        values: dict[str, Any] = {}
        for assignment in assignments:
            name, equals, text = assignment.partition("=")
            if not equals:
                raise InputError(f"{assignment!r} sets nothing: write NAME=VALUE, as in --set dim=5.")
            name = name.strip()
            several = name in cls.model_fields and _is_tuple(cls.model_fields[name].annotation)
            if several and not text.lstrip().startswith("["):
                values[name] = [_value(part) for part in text.split(",")]
            else:
                values[name] = _value(text)
        return values


def identifier(canonical: Mapping[str, Any], length: int = 12) -> str:
    """Return a short name of plain JSON values: the first hexadecimal digits of their SHA-256."""
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _is_tuple(annotation: Any) -> bool:
    origin = get_origin(annotation)
    return origin is tuple or (isinstance(origin, types.UnionType) and tuple in annotation.__args__)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()


def _lowered(message: str) -> str:
    return message[:1].lower() + message[1:]
