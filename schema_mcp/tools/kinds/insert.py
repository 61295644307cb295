"""`insert_<table>`: rows into one relation, all of them or none."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import orjson
import sqlalchemy as sa

from schema_mcp.caller import Caller
from schema_mcp.dialects.base import Conflict, DriverValue, GivenRows, Statement
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.schema.model import Column
from schema_mcp.tools import narrowing
from schema_mcp.tools.arguments import read_boolean, read_list, refuse_unknown
from schema_mcp.tools.base import Action, JsonSchema, Result, StatementPlan
from schema_mcp.tools.conflict import WORDS, read_on_conflict
from schema_mcp.tools.given_rows import Run, read_runs
from schema_mcp.tools.idempotency import read_once
from schema_mcp.tools.json_schema import array_of_names, row_object
from schema_mcp.tools.target import Compiled, Target, ToolLimits
from schema_mcp.tools.view import CatalogView

_ARGUMENTS = ("rows", "on_conflict", "conflict_columns", "returning", "dry_run", "idempotency_key")


class InsertTool:
    """The kind. Stateless."""

    name = "insert"
    generic_title = "Insert into any table"
    action = Action.INSERT

    def serves(self, target: Target) -> bool:
        """Every relation that takes rows from the role."""
        return target.table.insertable

    def describe(self, target: Target) -> str:
        """What the tool does."""
        return f"Add rows to {target.table.kind} {target.display}, all or none."

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
        """A statement a run of rows with the same columns, or a few, in the order given; one transaction.

        Raises: InvalidArgument, StaleSchema.
        """
        refuse_unknown(arguments, _ARGUMENTS)
        returning = _read_returning(target, read_list(arguments, "returning"))
        dry_run = read_boolean(arguments, "dry_run")
        on_conflict = read_on_conflict(view, target, arguments)
        if target.standing:
            narrowing.check_conflict(target, on_conflict.key, on_conflict.updates)
            arguments = {**arguments, "rows": narrowing.filled(target, read_list(arguments, "rows"))}
        runs = read_runs(target, read_list(arguments, "rows"))
        statements: list[Statement] = []
        for run in runs:
            statements += _statements(target, run, on_conflict.of(target, run), returning)
        return StatementPlan(
            source=target.table.name.source,
            table=target.table.name,
            statements=tuple(statements),
            writes=True,
            action=self.action,
            limit=None,
            answer=partial(_answer, target, sum(len(run.rows) for run in runs), on_conflict.may_meet, bool(returning)),
            dry_run=dry_run,
            once=None if dry_run else read_once(f"{self.name} {target.table.name}", arguments, caller),
            # Values are cast to the types that the plan knows, and the database casts on to those that there are:
            # 1.5 would become 2 in a column that is an integer by now.
            identity=target.table.identity,
        )


def _read_returning(target: Target, given: Sequence[Any] | None) -> tuple[Column, ...]:
    if given is None:
        return target.remembered("default returning", partial(_default_returning, target))
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
    target: Target, run: Run, conflict: Conflict | None, returning: tuple[Column, ...]
) -> Iterator[Statement]:
    dialect, with_rows = target.dialect, target.table.returns_rows
    names, first, rows = run.names, run.first, run.rows

    def build(size: int) -> tuple[sa.Insert, Sequence[Column], int]:
        columns = [column for column in target.table.columns if column.name in names]
        insert, told = dialect.insert(target.relation, columns, size, conflict)
        if not with_rows:
            return insert, (), 0
        selected = dialect.row(target.labelled(returning), told) or (sa.literal_column("1"),)
        return insert.returning(*selected), returning, len(told)

    def compiled(size: int) -> Compiled:
        shape = ("insert", size, names, conflict, tuple([column.name for column in returning]))
        return target.compiled(shape, partial(build, size), writes=True)

    tells = conflict is not None and bool(conflict.updates)
    if dialect.binds_lists and names:
        lists = tuple(map(list, zip(*rows, strict=True)))
        yield _statement(compiled(0), lists, GivenRows(first, len(rows), "", tells), with_rows)
        return
    sizes = [size for size in dialect.insert_sizes if size * len(names) <= dialect.max_parameters] if names else [1]
    start = 0
    for size in sizes:
        while start + size <= len(rows):
            values = tuple(value for row in rows[start : start + size] for value in row)
            given = GivenRows(first + start, size, compiled(1).sql if size > 1 else "", tells)
            yield _statement(compiled(size), values, given, with_rows)
            start += size


def _statement(compiled: Compiled, values: tuple[DriverValue, ...], given: GivenRows, with_rows: bool) -> Statement:
    return Statement(compiled.sql, values, compiled.labels, compiled.types, compiled.keys, with_rows, given=given)


def _answer(target: Target, given: int, may_meet: bool, with_rows: bool, result: Result) -> bytes:
    if result.replayed:
        return result.replayed[:-1] + b',"replayed":true}'
    members = [b'"table":' + orjson.dumps(target.display), b'"inserted":%d' % (result.affected - result.updated)]
    if may_meet:
        members.append(b'"updated":%d,"skipped":%d' % (result.updated, given - result.affected))
    members.append(b'"rows":[' + (b",".join(result.rows) if with_rows else b"") + b"]")
    members.append(b'"dry_run":' + orjson.dumps(result.rolled_back) + b',"outcome":' + orjson.dumps(result.outcome))
    if result.truncated:
        members.append(b'"truncated":true')
    if result.cut_columns:
        members.append(b'"cut_columns":' + orjson.dumps(result.cut_columns))
    return b"{" + b",".join(members) + b"}"


def _schema(row: JsonSchema, returning: Sequence[Column] | None = None) -> JsonSchema:
    """`returning`: what comes back by default; None: it depends on the table."""
    return {
        "type": "object",
        "properties": {
            "rows": {"type": "array", "items": row},
            "on_conflict": {"type": "string", "enum": list(WORDS)},
            "conflict_columns": {"type": "array", "items": {"type": "string"}},
            "returning": array_of_names("Default none." if returning == () else ""),
            "dry_run": {"type": "boolean"},
            "idempotency_key": {"type": "string"},
        },
        "required": ["rows"],
        "additionalProperties": False,
    }
