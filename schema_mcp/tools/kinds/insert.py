"""`insert_<table>`: rows into one relation, all of them or none."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

import orjson
import sqlalchemy as sa

from schema_mcp.caller import Caller
from schema_mcp.dialects.base import DriverValue, Statement
from schema_mcp.dialects.documents import as_text
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.schema.model import Column, Generated
from schema_mcp.schema.types import TypeKind
from schema_mcp.tools.arguments import read_list, refuse_unknown
from schema_mcp.tools.base import Action, JsonSchema, Result, StatementPlan
from schema_mcp.tools.json_schema import array_of_names, row_object
from schema_mcp.tools.target import Target, ToolLimits
from schema_mcp.tools.values import bind, shown
from schema_mcp.tools.view import CatalogView

_ARGUMENTS = ("rows", "returning")
#: To a hint about null, which is SQL's.
_JSON_NULL = f" JSON's own null is sent as {as_text('null')}."


class InsertTool:
    """The kind. Stateless."""

    name = "insert"
    action = Action.INSERT

    def serves(self, target: Target) -> bool:
        """Every relation that takes rows from the role."""
        return target.table.insertable

    def title(self, display: str) -> str:
        """For people."""
        return f"Insert into {display}"

    def describe(self, target: Target) -> str:
        """What the tool does."""
        return f"Insert rows into {target.table.kind} {target.display}: all of them or none."

    def describe_generic(self) -> str:
        """For `insert_rows`."""
        return (
            "Insert rows into any table by name, all of them or none: the same arguments and answers as "
            "insert_<table>. describe_table tells the columns."
        )

    def input_schema(self, target: Target) -> JsonSchema:
        """Typed by the columns that take a value."""
        return _schema(row_object(target, target.insertable), _default_returning(target))

    def generic_schema(self, limits: ToolLimits) -> JsonSchema:
        """Without the table's own names."""
        return _schema({"type": "object", "description": "Column names and values."})

    def plan(self, view: CatalogView, target: Target, arguments: Mapping[str, Any], caller: Caller) -> StatementPlan:
        """One statement a run of rows with the same columns, in the order given; one transaction.

        Raises: InvalidArgument, StaleSchema.
        """
        refuse_unknown(arguments, _ARGUMENTS)
        returning = _read_returning(target, read_list(arguments, "returning"))
        rows = _read_rows(target, read_list(arguments, "rows"))
        statements: list[Statement] = []
        for names, group in groupby(rows, key=_names):
            statements += _statements(target, names, [list(row.values()) for row in group], returning)
        return StatementPlan(
            source=target.table.name.source,
            table=target.table.name,
            statements=tuple(statements),
            writes=True,
            limit=None,
            answer=partial(_answer, target, bool(returning)),
            # Values are cast to the types that the plan knows, and the database casts on to those that there are:
            # 1.5 would become 2 in a column that is an integer by now.
            identity=target.table.identity,
        )


def _read_rows(target: Target, given: Sequence[Any] | None) -> list[dict[str, DriverValue]]:
    """Bound values by column name, columns in the table's order."""
    if not given:
        raise InvalidArgument(
            ErrorCode.MISSING_ARGUMENT, "'rows' takes at least one row", "Send an array of objects, one a row."
        )
    if len(given) > target.limits.max_insert_rows:
        raise InvalidArgument(
            ErrorCode.TOO_MANY_ROWS,
            f"'rows' takes at most {target.limits.max_insert_rows} rows, got {len(given)}",
            "Split the rows over several calls.",
        )
    return [_read_row(target, row, index) for index, row in enumerate(given)]


def _read_row(target: Target, given: Any, index: int) -> dict[str, DriverValue]:
    if not isinstance(given, dict):
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'rows[{index}]' takes an object, got {shown(given)}",
            f"Send column names and values. {target.columns_hint(target.insertable)}",
        )
    bound: dict[str, DriverValue] = {}
    for name, value in given.items():
        column = _column(target, name)
        if column.name in bound:
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT, f"rows[{index}] names column '{name}' twice", "Name each column once."
            )
        bound[column.name] = _bind(target, column, value, index)
    missing = [target.keys[column.name] for column in target.insertable if column.required and column.name not in bound]
    if missing:
        raise InvalidArgument(
            ErrorCode.MISSING_VALUE,
            f"rows[{index}] of table '{target.display}' lacks a value for: {', '.join(missing)}",
            "These columns are NOT NULL and have no default: give each a value.",
            details={"row": index, "columns": missing},
        )
    return {column.name: bound[column.name] for column in target.table.columns if column.name in bound}


def _bind(target: Target, column: Column, value: Any, index: int) -> DriverValue:
    key = target.keys[column.name]
    if value is not None:
        place = f"rows[{index}]: column '{key}' of table '{target.display}'"
        target.refuse_mask(column, value, place)
        return bind(target.dialect, column.type, value, place)
    if not column.nullable and column.generated is Generated.NO:
        raise InvalidArgument(
            ErrorCode.MISSING_VALUE,
            f"rows[{index}]: column '{key}' of table '{target.display}' is NOT NULL, got null",
            "Give it a value." + (_JSON_NULL if column.type.kind is TypeKind.JSON else ""),
            details={"row": index, "columns": [key]},
        )
    return None


def _names(row: Mapping[str, DriverValue]) -> tuple[str, ...]:
    return tuple(row)


def _column(target: Target, name: str) -> Column:
    column = target.by_key.get(name)
    if column is None:
        raise target.unknown(name, target.insertable)
    if not column.insertable:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"column '{name}' of table '{target.display}' takes no value: "
            + ("the database makes it" if column.generated is not Generated.NO else "it may not be set from here"),
            f"Leave it out. {target.columns_hint(target.insertable)}",
        )
    return column


def _read_returning(target: Target, given: Sequence[Any] | None) -> tuple[Column, ...]:
    if given is None:
        return _default_returning(target)
    if given and not target.table.returns_rows:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'returning' is not possible for {target.table.kind} '{target.display}': what takes its rows (a rule, a "
            "trigger, a module of the database) does not tell what it stored",
            "Leave 'returning' out, and query the rows afterwards.",
        )
    columns_named = tuple(target.column(name, "returning") for name in given)
    if len(set(columns_named)) != len(columns_named):
        raise InvalidArgument(ErrorCode.INVALID_ARGUMENT, "'returning' names a column twice", "Name each column once.")
    return columns_named


def _default_returning(target: Target) -> tuple[Column, ...]:
    """The primary key, if the role may read all of it.

    Nothing under row-level security: RETURNING needs a policy that lets the role see the row, INSERT does not. Nothing
    where what takes the rows does not tell what it stored.
    """
    key = target.table.primary_key
    columns = [target.table.column(name) for name in (key.columns if key else ())]
    found = tuple(column for column in columns if column is not None and column.readable and not column.masked)
    if target.table.row_security or not target.table.returns_rows:
        return ()
    return found if len(found) == len(columns) else ()


def _statements(
    target: Target, names: tuple[str, ...], rows: list[list[DriverValue]], returning: tuple[Column, ...]
) -> list[Statement]:
    dialect = target.dialect
    columns = [column for column in target.table.columns if column.name in names]

    def build() -> tuple[sa.Insert, Sequence[Column], int]:
        insert = dialect.insert(target.relation, columns)
        if not target.table.returns_rows:
            return insert, (), 0
        return (
            insert.returning(*(dialect.row(target.labelled(returning), ()) or (sa.literal_column("1"),))),
            returning,
            0,
        )

    shape = ("insert", names, tuple(column.name for column in returning))
    compiled = target.compiled(shape, build)
    bound: list[dict[str, DriverValue]]
    if dialect.binds_lists and names:
        lists = [[row[index] for row in rows] for index in range(len(names))]
        bound = [{f"c{index}": values for index, values in enumerate(lists)}]  # type: ignore[misc]
    else:
        bound = [{f"c{index}": value for index, value in enumerate(row)} for row in rows]
    statements = [compiled.statement(values) for values in bound]
    if not target.table.returns_rows:
        return [replace(statement, returns_rows=False) for statement in statements]
    return statements


def _answer(target: Target, with_rows: bool, result: Result) -> bytes:
    members = [b'"table":' + orjson.dumps(target.display), b'"inserted":%d' % result.affected]
    members.append(b'"rows":[' + (b",".join(result.rows) if with_rows else b"") + b"]")
    members.append(b'"dry_run":false,"outcome":"committed"')
    if result.truncated:
        members.append(b'"truncated":true')
    return b"{" + b",".join(members) + b"}"


def _schema(row: JsonSchema, returning: Sequence[Column] | None = None) -> JsonSchema:
    """`returning`: what comes back by default; None: it depends on the table."""
    default = "none" if returning == () else "primary key"
    return {
        "type": "object",
        "properties": {
            "rows": {"type": "array", "items": row},
            "returning": array_of_names(f"Columns. Default {default}."),
        },
        "required": ["rows"],
        "additionalProperties": False,
    }
