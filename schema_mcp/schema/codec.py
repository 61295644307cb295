"""The schema's values as JSON and back, by their own field types: a field that is added needs nothing here. Pure.

A dataclass is an object without the members that hold their default, an enum its value, a tuple an array, a set a
sorted array, a mapping an array of pairs. Reading is strict: what does not fit the model of this program is refused.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from enum import Enum
from functools import cache
from types import MappingProxyType, NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from schema_mcp.schema.model import Privilege, Table

#: Grows when the same JSON comes to mean something else: a field's default, the meaning of a value.
FORMAT = 2
#: The last format that said nothing of the rights to update and to delete.
WITHOUT_CHANGES = 1

T = TypeVar("T")

_CHANGES = frozenset({Privilege.UPDATE, Privilege.DELETE})

_ATOMS = frozenset({str, int, bool, float, NoneType})


def dumps(value: Any) -> str:
    """ASCII alone, so that every store takes it; equal for equal values."""
    return json.dumps(_encode(value), separators=(",", ":"))


def loads(type_: Callable[..., T], text: str) -> T:
    """The value of that type. Raises: ValueError if the text is none."""
    try:
        value: T = _decoder(type_)(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"this is no {getattr(type_, '__name__', type_)} of format {FORMAT}: {error}") from error
    return value


def load_table(text: str, format_: int) -> Table:
    """The table as that format says it is. Raises: ValueError if the text is none."""
    table = loads(Table, text)
    return _with_changes_of(table, None) if format_ == WITHOUT_CHANGES else table


def completed(before: Table, after: Table, format_: int) -> Table:
    """`before`, which that format told, with what the format could not tell taken from `after`."""
    return _with_changes_of(before, after) if format_ == WITHOUT_CHANGES else before


def _with_changes_of(table: Table, other: Table | None) -> Table:
    def rights(own: frozenset[Privilege], others: frozenset[Privilege]) -> frozenset[Privilege]:
        return own - _CHANGES | others & _CHANGES

    others = {column.name: column.privileges for column in other.columns} if other else {}
    columns = (
        replace(column, privileges=rights(column.privileges, others.get(column.name, frozenset())))
        for column in table.columns
    )
    return replace(
        table,
        columns=tuple(columns),
        privileges=rights(table.privileges, other.privileges if other else frozenset()),
        returns_changes=other.returns_changes if other else table.returns_changes,
    )


def _encode(value: Any) -> Any:
    type_: Any = type(value)
    return _encoder(type_)(value)


@cache
def _encoder(type_: Any) -> Callable[[Any], Any]:
    """What makes JSON out of a value of that type. Raises: TypeError for a type that has no form."""
    if type_ in _ATOMS:
        return lambda value: value
    if type_ is tuple:
        return lambda value: [_encode(item) for item in value]
    if issubclass(type_, Enum):
        return lambda value: value.value
    if issubclass(type_, frozenset):
        return lambda value: sorted(_encode(item) for item in value)
    if issubclass(type_, Mapping):
        return lambda value: [[_encode(key), _encode(item)] for key, item in value.items()]
    if is_dataclass(type_):
        return _object_encoder(type_)
    raise TypeError(f"{type_.__name__} has no form in JSON")


def _object_encoder(type_: Any) -> Callable[[Any], Any]:
    members = tuple(
        (item.name, item.default if item.default_factory is MISSING else item.default_factory())
        for item in fields(type_)
    )

    def encode(value: Any) -> Any:
        encoded = {}
        for name, default in members:
            member = getattr(value, name)
            if member is not default and (default is MISSING or member != default):
                encoded[name] = member if type(member) in _ATOMS else _encode(member)
        return encoded

    return encode


@cache
def _decoder(type_: Any) -> Callable[[Any], Any]:
    """What makes a value of that type out of JSON. Raises: TypeError for a type that has no form."""
    origin, arguments = get_origin(type_), get_args(type_)
    if type_ in _ATOMS:
        return lambda given: _atom(type_, given)
    if isinstance(type_, type) and issubclass(type_, Enum):
        return type_
    if isinstance(type_, type) and is_dataclass(type_):
        return _object_decoder(type_)
    if origin is UnionType or str(origin) == "typing.Union":
        (inner,) = (argument for argument in arguments if argument is not NoneType)
        return lambda given: None if given is None else _decoder(inner)(given)
    if origin is frozenset:
        return lambda given: frozenset(map(_decoder(arguments[0]), _array(given)))
    if origin is tuple and arguments[-1] is Ellipsis:
        return lambda given: tuple(map(_decoder(arguments[0]), _array(given)))
    if origin is tuple:
        return lambda given: tuple(
            _decoder(argument)(item) for argument, item in zip(arguments, _array(given), strict=True)
        )
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return lambda given: MappingProxyType(
            {_decoder(arguments[0])(key): _decoder(arguments[1])(item) for key, item in _array(given)}
        )
    raise TypeError(f"{type_} has no form in JSON")


def _object_decoder(type_: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(type_)
    members = {item.name: hints[item.name] for item in fields(type_)}

    def decode(given: Any) -> Any:
        if not isinstance(given, dict):
            raise TypeError(f"{type_.__name__} is an object")
        return type_(**{name: _decoder(members[name])(item) for name, item in given.items()})

    return decode


def _atom(type_: type, given: Any) -> Any:
    if type(given) is not type_:
        raise TypeError(f"{type(given).__name__} is no {type_.__name__}")
    return given


def _array(given: Any) -> list[Any]:
    if not isinstance(given, list):
        raise TypeError(f"{type(given).__name__} is no array")
    return given
