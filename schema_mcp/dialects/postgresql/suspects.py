"""Which columns an error about a value can be about: PostgreSQL says the type, never the column. Pure.

It asks for names of types and for numbers in the message, whatever its language, and not for words.
"""

import re

from schema_mcp.schema.model import Column, Table
from schema_mcp.schema.types import SqlType, TypeKind

_TIMES = (TypeKind.DATE, TypeKind.TIME, TypeKind.TIMESTAMP)
#: What a message repeats of the value, which may be the name of a type.
_VALUE = re.compile('".*"', re.DOTALL)
_PRECISION_AND_SCALE = re.compile(r"([0-9]+)\D+?(-?[0-9]+)")
#: More say nothing.
_MAX_SUSPECTS = 5


def suspects(table: Table, state: str, message: str, detail: str) -> tuple[str, ...]:
    """Names of the readable columns whose type the error is about; () if it does not tell, or if they are many.

    `state`: SQLSTATE of class 22 (data exception).
    """
    said = _VALUE.sub("", message)
    precise = [column for column in table.columns if any(_names(said, type_.modified) for type_ in _types(column))]
    found = [column for column in precise if "(" in column.type.modified] or precise
    if not found:
        found = [
            column for column in table.columns if any(_fits(type_, state, said, detail) for type_ in _types(column))
        ]
    names = tuple(column.name for column in found if column.readable or column.insertable)
    return names if len(names) <= _MAX_SUSPECTS else ()


#: What an alias type (manual 8.19) says of a name that is not there: a relation, a schema, whatever else, a function.
_NOT_THERE = frozenset({"42P01", "3F000", "42704", "42883"})


def names_of_lookups(table: Table | None, state: str, message: str) -> tuple[str, ...]:
    """Names of the columns of alias types such as regclass, if a name that one of them was given is not there.

    An operator that is not there has no quotation marks in its message, and the table itself has its own name there.
    """
    if table is None or state not in _NOT_THERE or '"' not in message:
        return ()
    own = (table.name.name, table.name.schema, *(column.name for column in table.columns))
    if any(f'"{name}"' in message for name in own) or f'"{table.name}"' in message:
        return ()
    return tuple(column.name for column in table.columns if any(type_.cast in _ALIASES for type_ in _types(column)))


_ALIASES = frozenset(
    f"reg{kind}"
    for kind in (
        *("class", "collation", "config", "database", "dictionary", "namespace", "oper", "operator"),
        *("proc", "procedure", "role", "type"),
    )
)


def _types(column: Column) -> tuple[SqlType, ...]:
    item = column.type.item
    return (column.type,) if item is None else (column.type, item)


def _names(said: str, name: str) -> bool:
    """Whether the type's name stands there, not as a part of a longer one."""
    return re.search(rf"(?<![\w./]){re.escape(name)}(?![\w(\[/])", said, re.IGNORECASE) is not None


def _fits(type_: SqlType, state: str, said: str, detail: str) -> bool:
    match state:
        case "22003" if type_.kind is TypeKind.NUMERIC and type_.precision is not None:
            limits = _PRECISION_AND_SCALE.search(detail)
            return limits is not None and (int(limits[1]), int(limits[2])) == (type_.precision, type_.scale)
        case "22008" | "22009":
            return type_.kind in _TIMES
        case "22P02" if type_.kind is TypeKind.JSON:
            return _names(said, "json")
    return _names(said, type_.cast)
