"""`query_<table>`: rows of one relation, filtered, ordered, paged."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import orjson
import sqlalchemy as sa

from schema_mcp.caller import Caller
from schema_mcp.dialects.base import DriverValue
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.schema.model import Column
from schema_mcp.tools.arguments import read_limit, read_list, read_text, refuse_unknown
from schema_mcp.tools.base import Action, JsonSchema, Result, StatementPlan
from schema_mcp.tools.cursor import query_digest, seal, unseal
from schema_mcp.tools.filters import Conditions, clauses, read_conditions
from schema_mcp.tools.json_schema import array_of_names, filter_array, typed_object
from schema_mcp.tools.operators import OPERATORS, operators_of_table
from schema_mcp.tools.order import Order, after, order_clauses, read_order
from schema_mcp.tools.target import Target, ToolLimits
from schema_mcp.tools.view import CatalogView

_ARGUMENTS = ("columns", "where", "filters", "order_by", "limit", "cursor")

_NO_KEY_HINT = (
    "More rows match, but nothing tells the rows of this relation apart, so there is no cursor: "
    "narrow the filters or raise 'limit'."
)


class QueryTool:
    """The kind. Stateless."""

    name = "query"
    action = Action.READ

    def serves(self, target: Target) -> bool:
        """Every relation with a readable column."""
        return target.table.readable

    def title(self, display: str) -> str:
        """For people."""
        return f"Query {display}"

    def describe(self, target: Target) -> str:
        """What the tool does and what the relation is."""
        return f"Read rows of {target.table.kind} {target.display}."

    def describe_generic(self) -> str:
        """For `query_rows`."""
        return (
            "Read rows of any table by name: the same arguments and answers as query_<table>. "
            "list_tables and describe_table tell the names."
        )

    def input_schema(self, target: Target) -> JsonSchema:
        """Typed by the relation's columns."""
        where = typed_object(target, target.readable, "Equality; null: IS NULL.")
        return _schema(target.limits, where, operators_of_table(target.table))

    def generic_schema(self, limits: ToolLimits) -> JsonSchema:
        """Without the table's own names."""
        where = {"type": "object", "description": "Column names and values; equality, joined by AND; null: IS NULL."}
        return _schema(limits, where, OPERATORS)

    def plan(self, view: CatalogView, target: Target, arguments: Mapping[str, Any], caller: Caller) -> StatementPlan:
        """One SELECT that asks for a row more than it answers with.

        Raises: InvalidArgument, StaleSchema.
        """
        refuse_unknown(arguments, _ARGUMENTS)
        columns = _read_columns(target, read_list(arguments, "columns"))
        conditions = read_conditions(target, arguments)
        order = read_order(target, read_list(arguments, "order_by"))
        limit = read_limit(arguments, "limit", target.limits.default_limit, target.limits.max_rows)
        made_by = query_digest(conditions, order)
        keys = _read_cursor(target, read_text(arguments, "cursor"), caller, made_by, order)
        null_keys = None if keys is None else tuple(key is None for key in keys)
        shape = ("query", tuple(column.name for column in columns), conditions.shape, order, null_keys)
        compiled = target.compiled(
            shape, lambda: (_select(target, columns, conditions, order, null_keys), columns, len(order.keys))
        )
        values: dict[str, DriverValue] = conditions.named()
        values["row_limit"] = limit + 1
        values |= {f"k{index}": key for index, key in enumerate(keys or ())}
        return StatementPlan(
            source=target.table.name.source,
            table=target.table.name,
            statements=(compiled.statement(values),),
            writes=False,
            limit=limit,
            answer=partial(_answer, target, caller, made_by, order.total),
            # A page goes on in the table that it began in.
            identity=target.table.identity if order.total else "",
            continues=keys is not None,
        )


def _read_columns(target: Target, given: Sequence[Any] | None) -> tuple[Column, ...]:
    if given is None:
        return target.readable
    if not given:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT, "'columns' takes at least one column", "Leave 'columns' out for all of them."
        )
    columns = [target.column(name, "columns") for name in given]
    if len(set(columns)) != len(columns):
        raise InvalidArgument(ErrorCode.INVALID_ARGUMENT, "'columns' names a column twice", "Name each column once.")
    return tuple(columns)


def _read_cursor(
    target: Target, given: str | None, caller: Caller, made_by: str, order: Order
) -> tuple[DriverValue, ...] | None:
    if given is None:
        return None
    return unseal(target.cursor_secret, caller, target.digest, made_by, given, len(order.keys))


def _select(
    target: Target,
    columns: Sequence[Column],
    conditions: Conditions,
    order: Order,
    null_keys: tuple[bool, ...] | None,
) -> sa.Select[Any]:
    where = clauses(target, conditions.shape)
    if null_keys is not None:
        where.append(after(target, order, null_keys))
    keys = [target.sql_column(key.column) for key in order.keys]
    return (
        sa.select(*target.dialect.row(target.labelled(columns), keys))
        .select_from(target.relation)
        .where(*where)
        .order_by(*order_clauses(target, order))
        .limit(sa.bindparam("row_limit", type_=sa.BigInteger()))
    )


def _answer(target: Target, caller: Caller, made_by: str, total_order: bool, result: Result) -> bytes:
    cursor = hint = None
    if result.truncated and total_order:
        cursor = seal(target.cursor_secret, caller, target.digest, made_by, result.keys)
    elif result.truncated:
        hint = _NO_KEY_HINT
    members = [
        b'"table":' + orjson.dumps(target.display),
        b'"rows":[' + b",".join(result.rows) + b"]",
        b'"row_count":%d' % len(result.rows),
        b'"truncated":' + orjson.dumps(result.truncated),
        b'"next_cursor":' + orjson.dumps(cursor),
        b'"schema_version":%d' % result.generation,
    ]
    if hint:
        members.append(b'"hint":' + orjson.dumps(hint))
    if result.cut_columns:
        members.append(b'"cut_columns":' + orjson.dumps(result.cut_columns))
    return b"{" + b",".join(members) + b"}"


def _schema(limits: ToolLimits, where: JsonSchema, operators: Sequence[str]) -> JsonSchema:
    return {
        "type": "object",
        "properties": {
            "columns": array_of_names("Default all."),
            "where": where,
            "filters": filter_array(operators),
            "order_by": array_of_names("name, name desc, name desc nulls last. Default primary key."),
            "limit": {
                "type": "integer",
                "description": f"1 to {limits.max_rows}, default {min(limits.default_limit, limits.max_rows)}.",
            },
            "cursor": {"type": "string", "description": "next_cursor of the last page."},
        },
        "additionalProperties": False,
    }
