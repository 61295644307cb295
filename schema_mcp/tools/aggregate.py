"""`aggregate`, `group_by`, `having`: one answer of groups of rows. Pure.

The groups are made in a subquery; `having`, the order and the JSON of the answer are over its columns. Pages go on
where the order is by columns that the groups are made by: then a cursor stands between two groups whatever is written
meanwhile.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import sqlalchemy as sa

from schema_mcp.caller import Caller
from schema_mcp.dialects.base import DriverValue
from schema_mcp.dialects.documents import joined, spaced_members
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.schema.model import Column
from schema_mcp.tools.aggregate_grammar import Aggregate
from schema_mcp.tools.arguments import read_limit, read_list, read_text
from schema_mcp.tools.base import Result, StatementPlan
from schema_mcp.tools.count import Counting, counting, read_count
from schema_mcp.tools.cursor import LONG_KEY_HINT, is_sealable, query_digest, seal, unseal
from schema_mcp.tools.filters import Conditions, clauses, read_conditions
from schema_mcp.tools.groups import GroupKey, Having, Output, compared, read_group_order, read_having, read_outputs
from schema_mcp.tools.order import Order, OrderKey, after
from schema_mcp.tools.page import page
from schema_mcp.tools.target import Target
from schema_mcp.tools.view import CatalogView

ARGUMENTS = ("aggregate", "group_by", "having")
#: Arguments that are about rows and say nothing of groups.
_OF_ROWS = ("columns", "include")
_NO_CURSOR_HINT = (
    "More groups match. A cursor comes where 'order_by' names columns of 'group_by' alone; else raise 'limit', or "
    "narrow with 'having' and 'filters'."
)
_COMPARE = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


def is_grouped(arguments: Mapping[str, Any]) -> bool:
    """Whether the call asks for groups."""
    return any(arguments.get(name) for name in ARGUMENTS)


def plan_groups(view: CatalogView, target: Target, arguments: Mapping[str, Any], caller: Caller) -> StatementPlan:
    """One SELECT of groups. `arguments`: those of a query, known by name.

    Raises: InvalidArgument, StaleSchema.
    """
    for name in _OF_ROWS:
        if arguments.get(name):
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT,
                f"'{name}' does not go with {' and '.join(repr(other) for other in ARGUMENTS if arguments.get(other))}",
                f"Leave '{name}' out; a grouped answer has the columns of 'group_by' and the aggregates.",
            )
    outputs = read_outputs(target, arguments)
    groups = tuple(output.source for output in outputs if isinstance(output.source, Column))
    conditions = read_conditions(target, arguments)
    having = read_having(target, outputs, read_list(arguments, "having") or ())
    keys = read_group_order(target, outputs, len(groups), read_list(arguments, "order_by") or ())
    paged = bool(groups) and all(key.output < len(groups) for key in keys)
    limit = read_limit(arguments, "limit", target.limits.default_limit, target.limits.max_rows)
    labels = _labels(outputs)
    named = tuple((label, *output.shape) for label, output in zip(labels, outputs, strict=True))
    made_by = partial(query_digest, "groups", named, conditions, having, keys)
    last = _read_cursor(target, read_text(arguments, "cursor"), caller, made_by, len(keys) if paged else 0)
    null_keys = None if last is None else tuple(key is None for key in last)

    groups_shape = ("groups", named, conditions.shape, having.shape)
    values = conditions.named() | having.named()
    select = _Select(target, outputs, labels, conditions, having, keys)
    total = counting(
        target,
        read_count(arguments),
        shape=groups_shape,
        rows=select.all,
        count=select.count,
        values=values,
        row_estimate=None,
        continues=last is not None,
    )
    order_keys = len(keys) if paged else 0
    compiled = target.compiled(
        (groups_shape, keys, null_keys, total.counted),
        lambda: (
            select.page(null_keys, order_keys, counted=total.counted),
            _as_columns(outputs, labels),
            order_keys + total.counted,
        ),
    )
    values["row_limit"] = limit + 1
    values |= {f"k{index}": key for index, key in enumerate(last or ())}
    return StatementPlan(
        source=target.table.name.source,
        table=target.table.name,
        statements=(compiled.statement(values),),
        writes=False,
        limit=limit,
        keys=tuple(output.label for output in outputs),
        answer=partial(_answer, target, outputs, caller, made_by, order_keys, total, last is not None),
        identity=target.table.identity if paged else "",
        continues=last is not None,
        total=total.statement,
        counted=total.counted,
    )


def _read_cursor(
    target: Target, given: str | None, caller: Caller, made_by: Callable[[], str], count: int
) -> tuple[DriverValue, ...] | None:
    if given is None:
        return None
    return unseal(target.cursor_secret, caller, target.digest, made_by(), given, count)


def _labels(outputs: Sequence[Output]) -> tuple[str, ...]:
    """What the outputs are called in the statement: no name that a caller has given is part of its text."""
    if any(output.given for output in outputs):
        return tuple(f"c{index}" for index in range(len(outputs)))
    return tuple(output.label for output in outputs)


def _as_columns(outputs: Sequence[Output], labels: Sequence[str]) -> tuple[Column, ...]:
    return tuple(
        Column(name=label, position=index + 1, type=output.type, nullable=True)
        for index, (output, label) in enumerate(zip(outputs, labels, strict=True))
    )


@dataclass(frozen=True, slots=True)
class _Select:
    """The statements of one grouped query."""

    target: Target
    outputs: Sequence[Output]
    labels: Sequence[str]
    conditions: Conditions
    having: Having
    keys: Sequence[GroupKey]

    def all(self) -> sa.Select[Any]:
        """All groups, without order."""
        return self._over(sa.literal_column("1"), source=self._groups(None))

    def count(self) -> sa.Select[Any]:
        """How many groups there are."""
        counted = self._over(sa.func.count(), source=self._groups(None))
        return sa.select(*self.target.dialect.row([], [counted.scalar_subquery()]))

    def page(self, null_keys: Sequence[bool] | None, order_keys: int, *, counted: bool) -> sa.Select[Any]:
        """The groups in their order, behind the bound keys; with the first `order_keys` keys, and the total."""
        source = self._groups(null_keys)
        labelled = [
            (label, source.c[index], output.type)
            for index, (label, output) in enumerate(zip(self.labels, self.outputs, strict=True))
        ]
        keys: list[sa.ColumnElement[Any]] = [source.c[key.output] for key in self.keys[:order_keys]]
        if counted:
            keys.append(self._over(sa.func.count(), source=self._groups(None)).scalar_subquery())
        order: list[sa.ColumnElement[Any]] = []
        for key in self.keys:
            column = source.c[key.output]
            ordered = column.desc() if key.descending else column.asc()
            if key.nulls_first is not None:
                ordered = ordered.nulls_first() if key.nulls_first else ordered.nulls_last()
            order.append(ordered)
        return (
            self._over(*self.target.dialect.row(labelled, keys), source=source)
            .order_by(*order)
            .limit(sa.bindparam("row_limit", type_=sa.BigInteger()))
        )

    def _groups(self, null_keys: Sequence[bool] | None) -> sa.Subquery:
        target = self.target
        columns: list[sa.ColumnElement[Any]] = []
        made: list[sa.ColumnElement[Any]] = []
        for index, output in enumerate(self.outputs):
            if isinstance(output.source, Column):
                made.append(target.sql_column(output.source.name))
                columns.append(made[-1].label(f"c{index}"))
            else:
                columns.append(self._aggregate(output.source).label(f"c{index}"))
        where = clauses(target, self.conditions.shape)
        if null_keys is not None:
            where.append(after(target, self._order(), null_keys))
        return sa.select(*columns).select_from(target.relation).where(*where).group_by(*made).subquery()

    def _aggregate(self, aggregate: Aggregate) -> sa.ColumnElement[Any]:
        if aggregate.column is None:
            return sa.func.count()
        type_ = self.target.key_type(aggregate.column)
        column = self.target.sql_column(aggregate.column)
        return self.target.dialect.aggregates.expression(aggregate.function, column, type_)

    def _order(self) -> Order:
        """The order of the groups as one of rows: it is by their columns alone."""
        keys: list[OrderKey] = []
        for key in self.keys:
            column = self.outputs[key.output].source
            assert isinstance(column, Column)
            keys.append(OrderKey(column.name, key.descending, key.nulls_first, column.nullable))
        return Order(tuple(keys), total=True)

    def _over(self, *selected: sa.ColumnElement[Any], source: sa.Subquery) -> sa.Select[Any]:
        conditions: list[sa.ColumnElement[bool]] = []
        used = 0
        for index, operator_ in self.having.shape:
            column = source.c[index]
            if operator_ in ("is_null", "not_null"):
                conditions.append(column.is_(None) if operator_ == "is_null" else column.is_not(None))
                continue
            given = self.target.dialect.parameter(compared(self.outputs[index].type), f"h{used}")
            conditions.append(_COMPARE[operator_](column, given))
            used += 1
        return sa.select(*selected).select_from(source).where(*conditions)


def _named(outputs: Sequence[Output], result: Result) -> Result:
    """With the names of the outputs for those that they have in the statement."""
    names = dict(zip(_labels(outputs), (output.label for output in outputs), strict=True))
    if all(label == name for label, name in names.items()):
        return result
    rows = (
        joined({names[label]: value for label, _, value in spaced_members(row.decode())}).encode()
        for row in result.rows
    )
    return replace(result, rows=tuple(rows), cut_columns=tuple(names[label] for label in result.cut_columns))


def _answer(
    target: Target,
    outputs: Sequence[Output],
    caller: Caller,
    made_by: Callable[[], str],
    order_keys: int,
    total: Counting,
    continues: bool,
    result: Result,
) -> bytes:
    cursor = hint = None
    keys = result.keys[:order_keys]
    if result.truncated and order_keys and not is_sealable(keys, target.limits.max_bytes):
        hint = LONG_KEY_HINT
    elif result.truncated and order_keys:
        cursor = seal(target.cursor_secret, caller, target.digest, made_by(), keys)
    elif result.truncated:
        hint = _NO_CURSOR_HINT
    return page(target, _named(outputs, result), total.total(result, continues=continues), cursor=cursor, hint=hint)
