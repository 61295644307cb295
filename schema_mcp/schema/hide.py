"""Columns that the configuration hides: a table without them, and without whatever would tell of them. Pure.

The readers call it on each table that they make, so that nothing behind them ever holds a hidden column: it cannot be
read, named, filtered, ordered by or inserted, and stands in no key, reference, expression, error or cursor.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from fnmatch import translate
from functools import lru_cache

from schema_mcp.schema.model import Column, ForeignKey, Generated, Index, Privilege, Table
from schema_mcp.schema.select import Selection
from schema_mcp.schema.tokens import names_in


def visible(table: Table, selection: Selection) -> Table:
    """The table without the columns that the selection hides; the same object where it hides none.

    A key or reference goes with any of its columns; a check, or the expression of a generated column, with any that it
    names. Where a hidden column must be given a value, the table takes no rows. Without any column left, the table
    has no privileges.
    """
    if not selection.hide_columns:
        return table
    hides = _Patterns(selection.hide_columns)
    hidden = {column.name for column in table.columns if hides.column(table.name.schema, table.name.name, column.name)}
    foreign_keys = tuple(key for key in table.foreign_keys if not hidden & set(key.columns) and not hides.target(key))
    if not hidden:
        return table if foreign_keys == table.foreign_keys else replace(table, foreign_keys=foreign_keys)
    gone = [column for column in table.columns if column.name in hidden]
    closed = any(_must_have_value(column) for column in gone)
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
        indexes=tuple(index for index in table.indexes if not _is_about(index, hidden)),
        checks=tuple(check for check in table.checks if not _names(check.expression, hidden)),
        privileges=frozenset[Privilege]().union(*(column.privileges for column in columns))
        | (table.privileges & {Privilege.DELETE} if columns else frozenset()),
        row_identity=() if _is_row_identity(table, gone) else table.row_identity,
        hides_columns=True,
    )


class _Patterns:
    """Shell patterns as one regular expression. Case does not count: hiding too much is better than too little."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._matches = _compiled(patterns)

    def column(self, schema: str, table: str, column: str) -> bool:
        return any(
            self._matches.match(spelled) for spelled in (column, f"{table}.{column}", f"{schema}.{table}.{column}")
        )

    def target(self, key: ForeignKey) -> bool:
        """Whether the key refers to a hidden column."""
        return any(self.column(key.target.schema, key.target.name, column) for column in key.target_columns)


@lru_cache(maxsize=16)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(pattern) for pattern in patterns), re.IGNORECASE)


def _must_have_value(column: Column) -> bool:
    return not column.nullable and column.default is None and column.generated is Generated.NO


def _renumbered(column: Column, position: int, hidden: Collection[str], closed: bool) -> Column:
    default = column.default
    if default is not None and _names(default, hidden):
        default = None
    privileges = column.privileges - {Privilege.INSERT} if closed else column.privileges
    return replace(column, position=position, default=default, privileges=privileges)


def _is_about(index: Index, hidden: Collection[str]) -> bool:
    texts = [part.expression for part in index.parts if part.expression is not None]
    texts += [index.predicate] if index.predicate is not None else []
    columns = {*(part.column for part in index.parts), *index.included}
    return bool(columns & set(hidden)) or any(_names(text, hidden) for text in texts)


def _names(expression: str, hidden: Collection[str]) -> bool:
    """Whether the expression has one of the names in it; SQLite's is as somebody wrote it, in any case."""
    folded = {name.casefold() for name in hidden}
    return any(name.casefold() in folded for name in names_in(expression))


def _is_row_identity(table: Table, gone: Sequence[Column]) -> bool:
    """SQLite's rowid is the value of its alias."""
    return "ctid" not in table.row_identity and any(column.generated is Generated.IDENTITY_DEFAULT for column in gone)
