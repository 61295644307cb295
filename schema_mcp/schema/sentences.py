"""What changed about a table, in sentences that a person can read. Pure.

A rename cannot be told from a removal and an addition by what a schema holds, so it is told as both.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import Any

from schema_mcp.schema.model import Check, Column, ForeignKey, Generated, Key, Table, TableName
from schema_mcp.schema.types import SqlType

#: Columns that are named of a table that is new.
MAX_COLUMNS = 50
#: Longest expression or comment that is quoted, in characters.
MAX_QUOTED = 200


def describe(before: Table | None, after: Table | None) -> tuple[str, ...]:
    """Sentences about what turns `before` into `after`; None: it is not there. Empty for equal tables."""
    if before is None and after is None:
        return ()
    if before is None:
        assert after is not None
        return (f"{after.kind} added with {_columns(after)}",)
    if after is None:
        return (f"{before.kind} removed: dropped, renamed, or the role may no longer use it",)
    if before == after:
        return ()
    found = tuple(
        sentence
        for item in fields(Table)
        if item.compare
        and item.name != "name"
        and (old := getattr(before, item.name)) != (new := getattr(after, item.name))
        for sentence in _PARTS.get(item.name, _other(item.name))(old, new)
    )
    return found or ("something that the tools are made of changed",)


def _columns(table: Table) -> str:
    words = [f"{_quoted(column.name)} {_declared(column)}" for column in table.columns[:MAX_COLUMNS]]
    more = f", and {len(table.columns) - MAX_COLUMNS} more" if len(table.columns) > MAX_COLUMNS else ""
    count = f"{len(table.columns)} column{'s' if len(table.columns) != 1 else ''}"
    return f"{count}: {', '.join(words)}{more}" if words else "no columns"


def _declared(column: Column) -> str:
    """`numeric(10,2), not null` in brackets."""
    words = [_type(column.type)]
    if not column.nullable:
        words.append("not null")
    if column.default is not None:
        words.append(f"default {_cut(column.default)}")
    if column.generated is not Generated.NO:
        words.append(str(column.generated))
    return f"({', '.join(words)})"


def _type(type_: SqlType) -> str:
    return type_.native or "of no declared type"


def _column_changes(before: tuple[Column, ...], after: tuple[Column, ...]) -> Iterator[str]:
    old, new = ({column.name: column for column in columns} for columns in (before, after))
    for name in new:
        if name not in old:
            yield f"column {_quoted(name)} added {_declared(new[name])}"
    for name in old:
        if name not in new:
            yield f"column {_quoted(name)} removed"
    for name in new:
        if name in old:
            yield from _column_change(old[name], new[name])
    kept = [[name for name in columns if name in old and name in new] for columns in (old, new)]
    if kept[0] != kept[1]:
        yield f"the columns are in another order: {', '.join(map(_quoted, kept[1][:MAX_COLUMNS]))}"


def _column_change(before: Column, after: Column) -> Iterator[str]:
    name = f"column {_quoted(after.name)}"
    for item in fields(Column):
        old, new = getattr(before, item.name), getattr(after, item.name)
        if not item.compare or item.name == "position" or old == new:
            continue
        match item.name:
            case "type":
                yield from _type_change(name, old, new)
            case "nullable":
                yield f"{name} may be null now" if new else f"{name} may no longer be null"
            case "default":
                yield from _text_change(f"the default of {name}", old, new)
            case "generated":
                yield f"{name} is no longer {old}" if new is Generated.NO else f"{name} is {new} now"
            case "comment":
                yield from _text_change(f"the comment of {name}", old, new)
            case "privileges":
                yield from _right_changes(name, old, new)
            case other:
                yield from _other(f"{other} of {name}")(old, new)


def _type_change(name: str, before: SqlType, after: SqlType) -> Iterator[str]:
    if _type(before) != _type(after):
        yield f"{name} {_type(before)} became {_type(after)}"
        return
    labels = _labels(before), _labels(after)
    if labels[0] != labels[1]:
        added = [label for label in labels[1] if label not in labels[0]]
        removed = [label for label in labels[0] if label not in labels[1]]
        if added:
            yield f"{name} takes {_listed(added)} too ({_type(after)})"
        if removed:
            yield f"{name} no longer takes {_listed(removed)} ({_type(after)})"
        if not added and not removed:
            yield f"the labels of {name} are in another order: {_listed(labels[1])}"
        return
    yield f"the meaning of type {_type(after)} of {name} changed"


def _labels(type_: SqlType) -> tuple[str, ...]:
    while type_.item is not None:
        type_ = type_.item
    return type_.enum


def _right_changes(name: str, before: frozenset[Any], after: frozenset[Any]) -> Iterator[str]:
    for privilege in sorted(after - before):
        yield f"{name} may be {_DONE.get(privilege, privilege)} now"
    for privilege in sorted(before - after):
        yield f"{name} may no longer be {_DONE.get(privilege, privilege)}"


_DONE = {"select": "read", "insert": "inserted into", "update": "updated", "delete": "deleted from"}


def _text_change(what: str, before: str | None, after: str | None) -> Iterator[str]:
    if before is None:
        yield f"{what} is {_cut(str(after))} now"
    elif after is None:
        yield f"{what} is gone, it was {_cut(before)}"
    else:
        yield f"{what} {_cut(before)} became {_cut(after)}"


def _set_change(show: Callable[[Any], str]) -> Callable[[Any, Any], Iterator[str]]:
    """Sentences about constraints that came and went, each shown as `show` says."""

    def changes(before: Iterable[Any], after: Iterable[Any]) -> Iterator[str]:
        old, new = [show(item) for item in before], [show(item) for item in after]
        yield from (f"{text} added" for text in new if text not in old)
        yield from (f"{text} removed" for text in old if text not in new)

    return changes


def _primary_key(before: Key | None, after: Key | None) -> Iterator[str]:
    if before is None and after is not None:
        yield f"primary key ({_names(after.columns)}) added"
    elif after is None and before is not None:
        yield f"primary key ({_names(before.columns)}) removed"
    elif before is not None and after is not None and before.columns != after.columns:
        yield f"primary key ({_names(before.columns)}) became ({_names(after.columns)})"
    else:
        yield "the primary key has another name"


def _unique(key: Key) -> str:
    return f"unique key ({_names(key.columns)})"


def _foreign_key(key: ForeignKey) -> str:
    return f"foreign key ({_names(key.columns)}) to {_table(key.target)} ({_names(key.target_columns)})"


def _check(check: Check) -> str:
    return f"check {_cut(check.expression)}"


def _table(name: TableName) -> str:
    return f"{_quoted(name.schema)}.{_quoted(name.name)}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(_quoted, names))


def _listed(labels: Iterable[str]) -> str:
    return ", ".join(f"'{_cut(label)}'" for label in labels)


def _quoted(name: str) -> str:
    return name if name.replace("_", "").isalnum() else '"' + name.replace('"', '""') + '"'


def _cut(text: str) -> str:
    return text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 3] + "..."


def _other(what: str) -> Callable[[Any, Any], Iterator[str]]:
    """For what the model may come to hold beyond this page."""
    words = what.replace("_", " ")

    def changes(before: Any, after: Any) -> Iterator[str]:
        if isinstance(after, bool | int | str) and isinstance(before, bool | int | str):
            yield f"{words} {_cut(str(before))} became {_cut(str(after))}"
        else:
            yield f"{words} changed"

    return changes


def _row_security(before: bool, after: bool) -> Iterator[str]:
    yield "row-level security applies now" if after else "row-level security no longer applies"


_PARTS: dict[str, Callable[[Any, Any], Iterator[str]]] = {
    "kind": lambda before, after: iter((f"the {before} became a {after}",)),
    "columns": _column_changes,
    "primary_key": _primary_key,
    "uniques": _set_change(_unique),
    "foreign_keys": _set_change(_foreign_key),
    "checks": _set_change(_check),
    "comment": lambda before, after: _text_change("the comment", before, after),
    "privileges": lambda before, after: _right_changes("it", before, after),
    "row_identity": lambda before, after: iter(("rows are told apart in another way now",)),
    "row_security": _row_security,
}
