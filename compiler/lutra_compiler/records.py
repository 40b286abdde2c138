"""Frozen dataclasses to and from plain values (what JSON and TOML hold), checked field by field against their types."""

import difflib
import math
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_INTEGER_LIMIT = 1 << 63


class RecordError(ValueError):
    """A plain value does not fit its type; the message says where, what it is, and what is allowed."""


def to_plain(value: Any) -> Any:
    """Dataclasses become dicts and tuples become lists, all the way down."""
    if is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    return value


def from_plain(kind: Any, value: object, where: str) -> Any:
    """`value` as type `kind`: a dataclass, tuple, Mapping, Literal, union, bool, int, float, str or None.

    Unknown keys are refused. Raises RecordError, its message beginning with `where`.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _first_that_fits(arguments, value, where)
    if origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in arguments):
            return value
        raise RecordError(f"{where} is {_shown(value)}; allowed: {', '.join(map(repr, arguments))}")
    if origin is tuple:
        return _tuple(arguments, value, where)
    if is_dataclass(kind):
        return _record(kind, value, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        items = _require(dict, value, where, "a table")
        return {key: from_plain(arguments[1], item, f"{where}.{key}") for key, item in items.items()}
    if kind is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300 and math.isfinite(value):
            return float(value)
        raise RecordError(f"{where} is {_shown(value)}; it must be a finite number")
    if kind is int:
        if isinstance(value, int) and not isinstance(value, bool) and -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
            return value
        raise RecordError(f"{where} is {_shown(value)}; it must be a 64-bit integer")
    return _require(kind, value, where, {str: "a string", bool: "true or false", dict: "a table", list: "a list"}.get(kind, "null"))


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt word: the nearest known one, or else all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, 1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names) or 'none'}"


def _record(kind: Any, value: object, where: str) -> Any:
    items = _require(dict, value, where, "a table")
    types_of = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}
    for key in items:
        if key not in known:
            raise RecordError(f"{where} has an unknown key '{key}'; {nearest(str(key), known)}")
    for name, field in known.items():
        if name not in items and field.default is MISSING and field.default_factory is MISSING:
            raise RecordError(f"{where} lacks the key '{name}'")
    return kind(**{key: from_plain(types_of[key], item, f"{where}.{key}") for key, item in items.items()})


def _tuple(arguments: tuple[Any, ...], value: object, where: str) -> tuple[Any, ...]:
    items = _require(list, value, where, "a list")
    of = (arguments[0],) * len(items) if arguments[-1] is Ellipsis else arguments
    if len(items) != len(of):
        raise RecordError(f"{where} has {len(items)} entries; it must have {len(of)}")
    return tuple(from_plain(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(of, items, strict=True)))


def _first_that_fits(kinds: tuple[Any, ...], value: object, where: str) -> Any:
    problem = RecordError(f"{where} is {_shown(value)}")
    for kind in kinds:
        try:
            return from_plain(kind, value, where)
        except RecordError as error:
            if kind is not types.NoneType:
                problem = error
    raise problem


def _require(kind: type, value: object, where: str, expected: str) -> Any:
    if isinstance(value, kind):
        return value
    raise RecordError(f"{where} is {_shown(value)}; it must be {expected}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
