"""`query_<table>`: rows of one relation, filtered, ordered, paged."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from schema_mcp.caller import Caller
from schema_mcp.dialects.base import DriverValue
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.schema.model import Column
from schema_mcp.tools.aggregate import ARGUMENTS as GROUPING
from schema_mcp.tools.aggregate import is_grouped, plan_groups
from schema_mcp.tools.arguments import read_limit, read_list, read_text, refuse_unknown
from schema_mcp.tools.base import Action, JsonSchema, Result, StatementPlan
from schema_mcp.tools.count import NOT_COUNTED, Count, Counting, counting, read_count
from schema_mcp.tools.cursor import LONG_KEY_HINT, is_sealable, query_digest, seal, unseal
from schema_mcp.tools.filters import Conditions, clauses, read_conditions
from schema_mcp.tools.include import Include, read_include
from schema_mcp.tools.included import select_with_included
from schema_mcp.tools.json_schema import array_of_names, filter_array, typed_object
from schema_mcp.tools.operators import OPERATORS, operators_of_table
from schema_mcp.tools.order import Order, after, order_clauses, read_order
from schema_mcp.tools.page import page
from schema_mcp.tools.target import Target, ToolLimits
from schema_mcp.tools.view import CatalogView

_ARGUMENTS = ("columns", "where", "filters", "order_by", "limit", "cursor", "count", "include", *GROUPING)

_NO_KEY_HINT = (
    "More rows match, but nothing tells the rows of this relation apart, so there is no cursor: "
    "narrow the filters or raise 'limit'."
)


class QueryTool:
    """The kind. Stateless."""

    name = "query"
    generic_title = "Query any table"
    action = Action.READ

    def serves(self, target: Target) -> bool:
        """Every relation with a readable column."""
        return target.table.readable

    def describe(self, target: Target) -> str:
        """What the tool does and what the relation is."""
        masked = [target.keys[column.name] for column in target.readable if column.masked]
        note = f" Masked, for no condition or order: {', '.join(masked)}." if masked else ""
        return f"Read rows of {target.table.kind} {target.display}.{note}"

    def describe_generic(self) -> str:
        """For `query_rows`."""
        return (
            "Read rows of any table by name: the same arguments and answers as query_<table>. "
            "list_tables and describe_table tell the names."
        )

    def input_schema(self, target: Target) -> JsonSchema:
        """Typed by the relation's columns."""
        where = typed_object(target, target.unmasked, "Equality; null: IS NULL.")
        include = {"type": "array", "items": {"type": "string"}}
        return _schema(target.limits, where, operators_of_table(target.table), include)

    def generic_schema(self, limits: ToolLimits) -> JsonSchema:
        """Without the table's own names."""
        where = {"type": "object", "description": "Column names and values; equality, joined by AND; null: IS NULL."}
        include = "Relationships of describe_table: orders, orders.lines, orders(id,total) order by id desc limit 5."
        return _schema(limits, where, OPERATORS, array_of_names(include))

    def plan(self, view: CatalogView, target: Target, arguments: Mapping[str, Any], caller: Caller) -> StatementPlan:
        """One SELECT that asks for a row, or a group, more than it answers with.

        Raises: InvalidArgument, StaleSchema.
        """
        refuse_unknown(arguments, _ARGUMENTS)
        if is_grouped(arguments):
            return plan_groups(view, target, arguments, caller)
        columns = _columns(target, read_list(arguments, "columns"))
        conditions = read_conditions(target, arguments)
        order = read_order(target, read_list(arguments, "order_by"))
        limit = read_limit(arguments, "limit", target.limits.default_limit, target.limits.max_rows)
        entries = read_list(arguments, "include")
        include = read_include(view, target, entries) if entries else None
        made_by = partial(query_digest, conditions, order)
        keys = _read_cursor(target, read_text(arguments, "cursor"), caller, made_by, order)
        null_keys = None if keys is None else tuple(key is None for key in keys)
        values: dict[str, DriverValue] = conditions.named()
        asked = read_count(arguments)
        total = NOT_COUNTED
        if asked is not NOT_COUNTED.asked:
            total = _counting(view, target, asked, conditions, values, continues=keys is not None)
        names = tuple([column.name for column in columns])
        shape = ("query", names, conditions.shape, order, null_keys, total.counted, include and include.shape)
        compiled = target.compiled(
            shape,
            lambda: (
                _select(target, columns, conditions, order, null_keys, include, counted=total.counted),
                columns,
                len(order.keys) + total.counted,
            ),
        )
        values["row_limit"] = limit + 1
        if keys is not None:
            values |= {f"k{index}": key for index, key in enumerate(keys)}
        if include is not None:
            values |= include.named()
        return StatementPlan(
            source=target.table.name.source,
            table=target.table.name,
            statements=(compiled.statement(values, () if include is None else include.related()),),
            writes=False,
            limit=limit,
            answer=partial(_answer, target, caller, made_by, order, total, keys is not None),
            # A page goes on in the table that it began in.
            identity=target.table.identity if order.total else "",
            continues=keys is not None,
            total=total.statement,
            counted=total.counted,
            keys=(*[target.keys[name] for name in names], *(() if include is None else include.names)),
            row_estimate=view.row_estimate(target) if keys is None and not conditions.shape else None,
        )


def _columns(target: Target, given: Sequence[Any] | None) -> tuple[Column, ...]:
    return target.readable if given is None else target.read("columns", given, partial(_read_columns, target, given))


def _read_columns(target: Target, given: Sequence[Any]) -> tuple[Column, ...]:
    if not given:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT, "'columns' takes at least one column", "Leave 'columns' out for all of them."
        )
    columns = [target.shown_column(name, "columns") for name in given]
    if len(set(columns)) != len(columns):
        raise InvalidArgument(ErrorCode.INVALID_ARGUMENT, "'columns' names a column twice", "Name each column once.")
    return tuple(columns)


def _read_cursor(
    target: Target, given: str | None, caller: Caller, made_by: Callable[[], str], order: Order
) -> tuple[DriverValue, ...] | None:
    if given is None:
        return None
    return unseal(target.cursor_secret, caller, target.digest, made_by(), given, len(order.keys))


def _counting(
    view: CatalogView,
    target: Target,
    asked: Count,
    conditions: Conditions,
    values: Mapping[str, DriverValue],
    *,
    continues: bool,
) -> Counting:
    return counting(
        target,
        asked,
        shape=("rows", conditions.shape),
        rows=lambda: _matching(target, conditions, sa.literal_column("1")),
        count=lambda: sa.select(*target.dialect.row([], [_number(target, conditions)])),
        values=values,
        row_estimate=None if conditions.shape else view.row_estimate(target),
        continues=continues,
    )


def _matching(target: Target, conditions: Conditions, *selected: sa.ColumnElement[Any]) -> sa.Select[Any]:
    return sa.select(*selected).select_from(target.relation).where(*clauses(target, conditions.shape))


def _number(target: Target, conditions: Conditions) -> sa.ColumnElement[Any]:
    return _matching(target, conditions, sa.func.count()).correlate(None).scalar_subquery()


def _select(
    target: Target,
    columns: Sequence[Column],
    conditions: Conditions,
    order: Order,
    null_keys: tuple[bool, ...] | None,
    include: Include | None,
    *,
    counted: bool,
) -> sa.Select[Any] | sa.CompoundSelect[Any]:
    more_keys = [_number(target, conditions)] if counted else []
    if include is not None:
        where = clauses(target, conditions.shape)
        if null_keys is not None:
            where.append(after(target, order, null_keys))
        return select_with_included(target, columns, order, where, include, more_keys)
    keys = [*(target.sql_column(key.column) for key in order.keys), *more_keys]
    select = _matching(target, conditions, *target.dialect.row(target.labelled(columns), keys))
    if null_keys is not None:
        select = select.where(after(target, order, null_keys))
    return select.order_by(*order_clauses(target, order)).limit(sa.bindparam("row_limit", type_=sa.BigInteger()))


def _answer(
    target: Target,
    caller: Caller,
    made_by: Callable[[], str],
    order: Order,
    total: Counting,
    continues: bool,
    result: Result,
) -> bytes:
    cursor = hint = None
    keys = result.keys[: len(order.keys)]
    if result.truncated and order.total and not is_sealable(keys, target.limits.max_bytes):
        hint = LONG_KEY_HINT
    elif result.truncated and order.total:
        cursor = seal(target.cursor_secret, caller, target.digest, made_by(), keys)
    elif result.truncated:
        hint = _NO_KEY_HINT
    return page(target, result, total.total(result, continues=continues), cursor=cursor, hint=hint)


def _schema(limits: ToolLimits, where: JsonSchema, operators: Sequence[str], include: JsonSchema) -> JsonSchema:
    return {
        "type": "object",
        "properties": {
            "columns": array_of_names(),
            "where": where,
            "filters": filter_array(operators),
            "order_by": array_of_names("name desc nulls last"),
            "limit": {
                "type": "integer",
                "description": f"1 to {limits.max_rows}, default {min(limits.default_limit, limits.max_rows)}.",
            },
            "cursor": {"type": "string"},
            "count": {"type": "string", "enum": [str(count) for count in Count]},
            "aggregate": array_of_names("count, sum(x) as y; having y > 1"),
            "group_by": array_of_names(),
            "having": array_of_names(),
            "include": include,
        },
        "additionalProperties": False,
    }
