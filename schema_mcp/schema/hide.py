"""Columns that the configuration hides: a table without them, and without whatever would tell of them. Pure.

The readers call it on each table that they make, so that nothing behind them ever holds a hidden column: it cannot be
read, named, filtered, ordered by or inserted, and stands in no key, reference, expression, error or cursor.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import TypeAlias

from schema_mcp.schema.model import Column, ForeignKey, Generated, Index, Privilege, Table, TableName
from schema_mcp.schema.patterns import ColumnPatterns
from schema_mcp.schema.select import Selection
from schema_mcp.schema.tokens import names_in

#: Whether that column of that table is meant.
Means: TypeAlias = Callable[[TableName, str], bool]


def visible(table: Table, selection: Selection) -> Table:
    """The table without the columns that the selection hides; the same object where it hides none."""
    return without(table, ColumnPatterns(selection.hide_columns).match) if selection.hide_columns else table


def without(table: Table, hides: Means) -> Table:
    """The table without its hidden columns and those made of them; the same object where nothing is hidden.

    A key or reference goes with any of its columns; a check, or the expression of a default, with any that it names.
    Where a hidden column must be given a value, the table takes no rows. Without any column left, the table has no
    privileges.
    """
    hidden = with_derived(table, {column.name for column in table.columns if hides(table.name, column.name)})
    foreign_keys = tuple(key for key in table.foreign_keys if not is_about(key, hidden, hides))
    if not hidden:
        if foreign_keys == table.foreign_keys:
            return table
        return replace(table, foreign_keys=foreign_keys, hides_columns=True)
    gone = [column for column in table.columns if column.name in hidden]
    closed = any(column.must_have_value for column in gone)
    columns = tuple(
        _renumbered(column, position, hidden, closed)
        for position, column in enumerate((c for c in table.columns if c.name not in hidden), start=1)
    )
    primary_key = table.primary_key
    return replace(
        table,
        columns=columns,
        primary_key=primary_key if primary_key and not hidden & set(primary_key.columns) else None,
        uniques=tuple(key for key in table.uniques if not hidden & set(key.columns)),
        foreign_keys=foreign_keys,
        indexes=tuple(index for index in table.indexes if not _is_indexed(index, hidden)),
        checks=tuple(check for check in table.checks if not _names(check.expression, hidden)),
        privileges=privileges_left(table, columns),
        row_identity=() if is_row_identity(table, gone) else table.row_identity,
        full_text=tuple(name for name in table.full_text if name not in hidden),
        hides_columns=True,
    )


def with_derived(table: Table, names: Collection[str]) -> frozenset[str]:
    """These columns and the generated ones whose expression names one of them, or cannot be read."""
    found = frozenset(names)
    while found:
        more = {
            column.name
            for column in table.columns
            if column.name not in found
            and column.generated is Generated.EXPRESSION
            and (column.default is None or _names(column.default, found))
        }
        if not more:
            break
        found |= more
    return found


def is_about(key: ForeignKey, names: Collection[str], means: Means) -> bool:
    """Whether the key refers by one of these columns, or to one that `means` means."""
    return not set(names).isdisjoint(key.columns) or any(means(key.target, column) for column in key.target_columns)


def privileges_left(table: Table, columns: Sequence[Column]) -> frozenset[Privilege]:
    """The table's privileges without those that one of its columns gave and none of `columns` gives."""
    if not columns:
        return frozenset()
    given, left = (
        frozenset[Privilege]().union(*(column.privileges for column in some)) for some in (table.columns, columns)
    )
    return table.privileges - (given - left)


def is_row_identity(table: Table, gone: Sequence[Column]) -> bool:
    """Whether what tells rows apart is the value of one of these columns: SQLite's rowid is that of its alias."""
    return "ctid" not in table.row_identity and any(column.generated is Generated.IDENTITY_DEFAULT for column in gone)


def _renumbered(column: Column, position: int, hidden: Collection[str], closed: bool) -> Column:
    default = column.default
    if default is not None and _names(default, hidden):
        default = None
    privileges = column.privileges - {Privilege.INSERT} if closed else column.privileges
    return replace(column, position=position, default=default, privileges=privileges)


def _is_indexed(index: Index, hidden: Collection[str]) -> bool:
    texts = [part.expression for part in index.parts if part.expression is not None]
    texts += [index.predicate] if index.predicate is not None else []
    columns = {*(part.column for part in index.parts), *index.included}
    return bool(columns & set(hidden)) or any(_names(text, hidden) for text in texts)


def _names(expression: str, hidden: Collection[str]) -> bool:
    """Whether the expression has one of the names in it; SQLite's is as somebody wrote it, in any case."""
    folded = {name.casefold() for name in hidden}
    return any(name.casefold() in folded for name in names_in(expression))
