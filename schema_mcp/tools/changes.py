"""What updating and deleting have in common: which rows, how many at most, what comes back, what was refused. Pure.

Nothing is written where more rows match than may be: they are counted first, as far as that says more than "too many",
and after the statement once more, because others may have written meanwhile.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
import sqlalchemy as sa

from schema_mcp.dialects.base import DriverValue, Statement
from schema_mcp.errors import CallError, ErrorCode, InvalidArgument, StatementRefused, StillReferenced
from schema_mcp.schema.model import Column, ForeignKey, TableKind
from schema_mcp.tools.arguments import read_boolean, read_limit, read_list, read_object
from schema_mcp.tools.base import Action, JsonSchema, Result, StatementPlan
from schema_mcp.tools.filters import Conditions, clauses, read_conditions
from schema_mcp.tools.json_schema import array_of_names, filter_array, typed_object
from schema_mcp.tools.operators import OPERATORS, operators_of_table
from schema_mcp.tools.target import Target, ToolLimits
from schema_mcp.tools.view import CatalogView

ARGUMENTS = ("where", "filters", "all_rows", "max_affected", "returning", "dry_run")

#: So many matching rows are counted, so that an error can say how many there are.
COUNTED_ROWS = 10_000
#: Referring tables that an error names.
_MAX_REFERRING = 20

#: What a database refuses by, besides foreign keys.
_CONSTRAINTS = (
    ErrorCode.UNIQUE_VIOLATION,
    ErrorCode.CHECK_VIOLATION,
    ErrorCode.NOT_NULL_VIOLATION,
    ErrorCode.CONSTRAINT_VIOLATION,
)
_DONE = {Action.UPDATE: "updated", Action.DELETE: "deleted"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which rows a call means, checked. `one`: no more than one row can match."""

    conditions: Conditions
    max_affected: int
    returning: tuple[Column, ...]
    dry_run: bool
    one: bool


def read_choice(target: Target, arguments: Mapping[str, Any], action: Action) -> Choice:
    """From the arguments that both have.

    Raises: InvalidArgument, StaleSchema; also where no condition is given and not `all_rows` either.
    """
    conditions = read_conditions(target, arguments)
    all_rows = read_boolean(arguments, "all_rows")
    given = len(conditions.shape) > len(target.standing)
    if not given and not all_rows:
        raise InvalidArgument(
            ErrorCode.MISSING_ARGUMENT,
            f"which rows of table '{target.display}' to {action}? 'where' and 'filters' are empty",
            "Give conditions in 'where' or 'filters'; where every row is meant, send all_rows: true.",
        )
    if given and all_rows:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            "'all_rows' means every row, and there are conditions as well",
            "Leave out 'all_rows' to have the conditions hold, or the conditions.",
        )
    most = target.limits.max_affected_rows
    return Choice(
        conditions=conditions,
        max_affected=read_limit(arguments, "max_affected", most, most),
        returning=_read_returning(target, read_list(arguments, "returning")),
        dry_run=read_boolean(arguments, "dry_run"),
        one=_names_one(target, read_object(arguments, "where") or {}),
    )


def plan(
    view: CatalogView,
    target: Target,
    action: Action,
    choice: Choice,
    shape: Hashable,
    build: Callable[[], sa.Update | sa.Delete],
    values: Mapping[str, DriverValue],
) -> StatementPlan:
    """`build` gives the statement without its conditions, `values` what that binds; `shape` is all it depends on."""
    conditions = choice.conditions
    named = {**conditions.named(), **values}
    # Where nothing is asked for, the database's own count does, which needs no right to read.
    counts = bool(choice.returning) or (
        target.table.kind is TableKind.VIEW and not target.dialect.counts_changes_of_views
    )

    def built() -> tuple[sa.sql.ClauseElement, Sequence[Column], int]:
        statement = build().where(*clauses(target, conditions.shape))
        if not counts:
            return statement, (), 0
        selected = target.dialect.row(target.labelled(choice.returning), ()) or (sa.literal_column("1"),)
        return statement.returning(*selected), choice.returning, 0

    names = tuple(column.name for column in choice.returning)
    statement = target.compiled((action, shape, conditions.shape, names), built, writes=True).statement(named)
    return StatementPlan(
        source=target.table.name.source,
        table=target.table.name,
        statements=(statement if counts else replace(statement, returns_rows=False),),
        writes=True,
        limit=None,
        answer=partial(_answer, target, action, choice),
        identity=target.table.identity,
        action=action,
        dry_run=choice.dry_run,
        max_affected=choice.max_affected,
        matching=_matching(target, choice),
        explain=partial(explained, view, target, action),
    )


def _matching(target: Target, choice: Choice) -> Statement | None:
    """How many rows match, counted no further than needed; None where that can be told, or must not be relied on:
    a policy may let fewer rows be changed than be read, or more."""
    table, conditions = target.table, choice.conditions
    if choice.one or table.row_security or not target.readable:
        return None

    def built() -> tuple[sa.sql.ClauseElement, Sequence[Column], int]:
        found: sa.Select[Any] = (
            sa.select(sa.literal_column("1")).select_from(target.relation).where(*clauses(target, conditions.shape))
        )
        some = found.limit(sa.bindparam("row_limit", type_=sa.BigInteger())).subquery("matching")
        return sa.select(*target.dialect.row((), [sa.func.count()])).select_from(some), (), 1

    limit = max(choice.max_affected, COUNTED_ROWS) + 1
    return target.compiled(("count", conditions.shape), built).statement({**conditions.named(), "row_limit": limit})


def _names_one(target: Target, where: Mapping[str, Any]) -> bool:
    """Whether `where` gives the whole primary key."""
    table = target.table
    given = {target.by_key[name].name for name, value in where.items() if value is not None}
    return table.primary_key is not None and not table.has_children and given.issuperset(table.primary_key.columns)


def _read_returning(target: Target, given: Sequence[Any] | None) -> tuple[Column, ...]:
    table = target.table
    if given is None:
        names = table.primary_key.columns if table.primary_key and table.returns_changes else ()
        readable = [column for column in target.unmasked if column.name in names]
        return tuple(readable) if len(readable) == len(names) else ()
    if given and not table.returns_changes:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'returning' is not possible for {table.kind} '{target.display}': what writes its rows (a rule, a "
            "trigger, a module of the database) does not tell what it did",
            "Leave 'returning' out, and query the rows.",
        )
    columns = tuple(target.column(name, "returning") for name in given)
    if len(set(columns)) != len(columns):
        raise InvalidArgument(ErrorCode.INVALID_ARGUMENT, "'returning' names a column twice", "Name each column once.")
    return columns


def _answer(target: Target, action: Action, choice: Choice, result: Result) -> bytes:
    members = [
        b'"table":' + orjson.dumps(target.display),
        b'"%s":%d' % (_DONE[action].encode(), result.affected),
        b'"rows":[' + (b",".join(result.rows) if choice.returning else b"") + b"]",
        b'"dry_run":' + orjson.dumps(choice.dry_run),
        b'"outcome":' + orjson.dumps(result.outcome),
    ]
    if result.truncated and choice.returning:
        members.append(b'"truncated":true')
    if result.cut_columns:
        members.append(b'"cut_columns":' + orjson.dumps(result.cut_columns))
    return b"{" + b",".join(members) + b"}"


def explained(view: CatalogView, target: Target, action: Action, refused: StatementRefused) -> CallError:
    """The refusal with what the catalog knows of it: which tables refer to the rows, of those the caller may see."""
    if _is_of_another(view, target, action, refused):
        return StatementRefused(
            refused.code,
            f"rows of table '{target.display}' cannot be {_DONE[action]}: it would break a constraint of another "
            "table, in which a foreign key or a trigger writes",
            "Whoever runs this server can tell more; describe_table tells which tables refer to it.",
            sqlstate=refused.sqlstate,
        )
    if refused.code is ErrorCode.UNIQUE_VIOLATION:
        refused.hint = "Give other values, or change fewer rows."
    if refused.code is not ErrorCode.FOREIGN_KEY_VIOLATION:
        return refused
    referring = [(other, key) for other in view.targets.values() for key in other.table.foreign_keys]
    message = f"rows of table '{target.display}' cannot be {_DONE[action]} while others refer to them"
    if not isinstance(refused, StillReferenced):
        found = [pair for pair in referring if pair[1].target == target.table.name]
        if found and refused.sqlstate is None:  # SQLite does not tell which it was
            refused.hint = f"{refused.hint} Tables that refer to '{target.display}': {_listed(found)}."
            if action is Action.DELETE:
                refused.message = message
                refused.hint = f"Tables that refer to it: {_listed(found)}. Delete their rows first, or leave these be."
        return refused
    found = [pair for pair in referring if _is_in_the_way(pair, target, refused.by)]
    named = _listed(found) if found else "a table that is not served"
    return StatementRefused(
        ErrorCode.FOREIGN_KEY_VIOLATION,
        f"{message}: {named}",
        f"{'Delete' if action is Action.DELETE else 'Change'} the rows that refer to them first, or leave these be."
        if found
        else "Whoever runs this server can tell more.",
        sqlstate=refused.sqlstate,
        details={"table": found[0][0].display, "constraint": found[0][1].name} if found else None,
    )


def _is_of_another(view: CatalogView, target: Target, action: Action, refused: StatementRefused) -> bool:
    """Whether a constraint of a table that may not be served refused, to which ON DELETE SET NULL or a trigger led.

    An update may also meet those of a partition or of what is beneath a view. SQLite names another table in its message
    alone: there are no details then; nor are there of what a trigger says (`constraint_violation`), which is passed on.
    """
    if refused.code not in _CONSTRAINTS:
        return False
    table, where = target.table, (refused.details or {}).get("table")
    if refused.sqlstate is None:
        codes = _CONSTRAINTS[:3] if action is Action.DELETE else (ErrorCode.NOT_NULL_VIOLATION,)
        return refused.details is None and refused.code in codes
    plain = table.kind is TableKind.TABLE and not table.has_children
    if where in (None, table.name.name) or not (plain or action is Action.DELETE):
        return False
    return not any(other.table.name.name == where for other in view.targets.values())


def _is_in_the_way(pair: tuple[Target, ForeignKey], target: Target, by: tuple[str, str, str]) -> bool:
    """`by` may name a partition, whose keys have the names of the whole table's."""
    other, key = pair
    own = key.name == by[2] and (key.target == target.table.name)
    return own or (other.table.name.schema, other.table.name.name, key.name) == by


def _listed(referring: Sequence[tuple[Target, ForeignKey]]) -> str:
    texts = []
    for other, key in referring[:_MAX_REFERRING]:
        columns = ", ".join(other.keys[name] for name in key.columns)
        texts.append(f"{other.display} ({columns})")
    return ", ".join(texts) + (", ..." if len(referring) > _MAX_REFERRING else "")


def schema(target: Target, action: Action, more: Mapping[str, JsonSchema]) -> JsonSchema:
    """The arguments of a table's tool; `more`: those that the other kind has not."""
    where = typed_object(target, target.unmasked, "Which rows: equality; null: IS NULL.")
    default = [column.name for column in _read_returning(target, None)]
    return _schema(
        target.limits,
        action,
        where if target.unmasked else None,
        operators_of_table(target.table),
        more,
        "primary key" if default else "none",
    )


def generic_schema(limits: ToolLimits, action: Action, more: Mapping[str, JsonSchema]) -> JsonSchema:
    """The same without the table's own names."""
    where = {"type": "object", "description": "Which rows: column names and values; equality; null: IS NULL."}
    return _schema(limits, action, where, OPERATORS, more, "primary key")


def _schema(
    limits: ToolLimits,
    action: Action,
    where: JsonSchema | None,
    operators: Sequence[str],
    more: Mapping[str, JsonSchema],
    returned: str,
) -> JsonSchema:
    told: dict[str, JsonSchema] = {} if where is None else {"where": where, "filters": filter_array(operators)}
    most = limits.max_affected_rows
    return {
        "type": "object",
        "properties": {
            **told,
            **more,
            "all_rows": {
                "type": "boolean",
                "description": f"{str(action).capitalize()} every row; no conditions then.",
            },
            "max_affected": {"type": "integer", "description": f"If more rows match, nothing is done. Default {most}."},
            "returning": array_of_names(f"Columns. Default {returned}."),
            "dry_run": {"type": "boolean", "description": "Do it, show it, roll it back."},
        },
        "required": list(more),
        "additionalProperties": False,
    }
