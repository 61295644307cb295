"""The statement that reads a page and the related rows of `include` at once, in the form that `dialects.nested` takes.

The page is read as without `include`, then each relationship joined to the rows before it, numbered within its parent
and cut by number: a window over what belongs to the page, whatever the size of the tables. All parts come one below the
other. Values are carried as they are, and made JSON of at the end, of the rows that are left.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from schema_mcp.schema.model import Column
from schema_mcp.schema.types import SqlType
from schema_mcp.tools import narrowing
from schema_mcp.tools.include import Include, Included
from schema_mcp.tools.order import Order, order_clauses, ordered
from schema_mcp.tools.target import Target

_ZERO: sa.ColumnElement[Any] = sa.literal_column("0", sa.Integer())
_ONE: sa.ColumnElement[Any] = sa.literal_column("1", sa.Integer())


def select_with_included(
    target: Target,
    columns: Sequence[Column],
    order: Order,
    where: Sequence[sa.ColumnElement[bool]],
    include: Include,
    more_keys: Sequence[sa.ColumnElement[Any]] = (),
) -> sa.CompoundSelect[Any]:
    """The page of `row_limit` rows that `where` leaves, ordered, with what belongs to its rows.

    `more_keys`: further keys of each row, after those of the order; of no table in the statement.
    """
    name = _free_name(target, include)
    joined = [_joined(include, number) for number in range(len(include.parts) + 1)]
    parts = [_page(target, columns, order, where, joined[0], name)]
    for index, part in enumerate(include.parts):
        parent = parts[part.parent]
        answered = _answered(parent, include.parts[part.parent - 1] if part.parent else None, part.parent - 1)
        parts.append(_related(part, parent, answered, f"i{index}", joined[index + 1], f"{name}{index + 1}"))
    keys = [parts[0].c[f"o{index}"] for index in range(len(order.keys))]
    rows = [_row(target, target.labelled(columns), parts[0], [*keys, *more_keys])]
    for part, cte in zip(include.parts, parts[1:], strict=True):
        other = part.relationship.other
        rows.append(_row(other, other.labelled(part.columns), cte, ()))
    width = max(map(len, rows))
    arms = []
    for number, (cte, row) in enumerate(zip(parts, rows, strict=True)):
        part_number = sa.literal_column(str(number), sa.Integer())
        numbers = [cte.c.page_row, part_number, cte.c.parent_row, cte.c.row]
        arms.append(sa.select(*numbers, *row, *[sa.null() for _ in range(width - len(row))]))
    return sa.union_all(*arms).order_by(*[sa.literal_column(str(place)) for place in (1, 2, 3, 4)])


def _page(
    target: Target,
    columns: Sequence[Column],
    order: Order,
    where: Sequence[sa.ColumnElement[bool]],
    joined: Sequence[str],
    name: str,
) -> sa.CTE:
    """The page's rows, numbered. The limit stands inside, so that the database sorts no more than it must."""
    keys = [target.sql_column(key.column).label(f"o{index}") for index, key in enumerate(order.keys)]
    page = (
        sa.select(*_values(target, columns), *keys, *_join_columns(target, joined))
        .select_from(target.relation)
        .where(*where)
        .order_by(*order_clauses(target, order))
        .limit(sa.bindparam("row_limit", type_=sa.BigInteger()))
        .subquery(f"{name}_rows")
    )
    numbered = sa.func.row_number().over(
        order_by=[ordered(page.c[f"o{index}"], key) for index, key in enumerate(order.keys)] or None
    )
    return sa.select(*page.c, numbered.label("page_row"), _ZERO.label("parent_row"), _ZERO.label("row")).cte(name)


def _answered(cte: sa.CTE, part: Included | None, index: int) -> sa.ColumnElement[bool]:
    """The rows that an answer holds: not the one that only tells that there are more."""
    if part is None:
        return cte.c.page_row < sa.bindparam("row_limit", type_=sa.BigInteger())
    return sa.true() if part.limit is None else cte.c.row <= sa.bindparam(f"i{index}", type_=sa.BigInteger())


def _related(
    part: Included,
    parent: sa.CTE,
    answered: sa.ColumnElement[bool],
    limit_name: str,
    joined: Sequence[str],
    name: str,
) -> sa.CTE:
    """The rows of a relationship that belong to those of its parent, one more of each than its limit."""
    relationship, other = part.relationship, part.relationship.other
    own = [other.sql_column(column) for column in relationship.other_columns]
    theirs = [parent.c[f"j_{column}"] for column in relationship.columns]
    left = [answered, *narrowing.conditions(other, f"{limit_name}s")]
    source: sa.FromClause
    if relationship.through is None:
        source = parent.join(other.relation, _equal(own, theirs))
    else:
        junction = relationship.through.target.relation.alias(f"{name}_between")
        near = [junction.c[column] for column in relationship.through.near]
        far = [junction.c[column] for column in relationship.through.far]
        source = parent.join(junction, _equal(near, theirs)).join(other.relation, _equal(own, far))
        left += narrowing.conditions(relationship.through.target, f"{limit_name}t", junction)
    values = [*_values(other, part.columns), *_join_columns(other, joined)]
    numbers = [parent.c.page_row, parent.c.row.label("parent_row")]
    if part.limit is None:
        return sa.select(*values, *numbers, _ONE.label("row")).select_from(source).where(*left).cte(name)
    number = sa.func.row_number().over(
        partition_by=[parent.c.page_row, parent.c.row], order_by=order_clauses(other, part.order) or None
    )
    rows = sa.select(*values, *numbers, number.label("row")).select_from(source).where(*left).subquery(f"{name}_rows")
    limit = sa.bindparam(limit_name, type_=sa.BigInteger())
    return sa.select(*rows.c).where(rows.c.row <= limit + _ONE).cte(name)


def _equal(left: Sequence[sa.ColumnElement[Any]], right: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[bool]:
    return sa.and_(*[one == other for one, other in zip(left, right, strict=True)])


def _values(target: Target, columns: Sequence[Column]) -> list[sa.Label[Any]]:
    return [value.label(f"v{index}") for index, (_, value, _) in enumerate(target.labelled(columns))]


def _join_columns(target: Target, names: Sequence[str]) -> list[sa.Label[Any]]:
    return [target.sql_column(name).label(f"j_{name}") for name in names]


def _row(
    target: Target,
    labelled: Sequence[tuple[str, sa.ColumnElement[Any], SqlType]],
    cte: sa.CTE,
    keys: Sequence[sa.ColumnElement[Any]],
) -> Sequence[sa.ColumnElement[Any]]:
    values = [(label, cte.c[f"v{index}"], type_) for index, (label, _, type_) in enumerate(labelled)]
    return target.dialect.row(values, keys)


def _joined(include: Include, number: int) -> list[str]:
    """The columns of that part that others are joined by."""
    names = [name for part in include.parts if part.parent == number for name in part.relationship.columns]
    return list(dict.fromkeys(names))


def _free_name(target: Target, include: Include) -> str:
    """A name that none of the tables has or begins with: those of the statement's own parts begin with it."""
    tables = [target.table.name.name.lower()]
    for part in include.parts:
        tables.append(part.relationship.other.table.name.name.lower())
    name = "page"
    while any(table.startswith(name) for table in tables):
        name += "_"
    return name
