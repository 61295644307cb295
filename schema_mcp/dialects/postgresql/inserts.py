"""Rows going in on PostgreSQL: all of a statement at once; and where it refuses them, which of them it was."""

from collections.abc import Sequence
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as postgresql_insert

from schema_mcp.dialects.base import UPDATED, Conflict, Connection, GivenRows, Row, RowRefused, Statement
from schema_mcp.dialects.postgresql.rows import finished
from schema_mcp.dialects.postgresql.values import read
from schema_mcp.schema.model import Column

#: Classes of errors, and single ones, that are about one of the rows: values, constraints, a key twice, row-level
#: security, what triggers raise.
_ABOUT_A_ROW = ("22", "23", "44", "21000", "42501", "P0001")

_SETTING: sa.ColumnElement[Any] = sa.literal_column("'schema_mcp.updated'")
_EMPTY: sa.ColumnElement[Any] = sa.literal_column("''")


def insert(
    target: sa.TableClause, columns: Sequence[Column], conflict: Conflict | None
) -> tuple[sa.Insert, Sequence[sa.ColumnElement[Any]]]:
    """`INSERT ... SELECT casts FROM unnest($1, $2, ...)`: one statement text for any number of rows, in their order."""
    statement = postgresql_insert(target)
    if not columns:
        return statement.values({}), ()
    names = [f"c{index}" for index in range(len(columns))]
    lists = [sa.bindparam(name, type_=ARRAY(sa.Text())) for name in names]
    rows = (
        sa.func.unnest(*lists)
        .table_valued(*[sa.column(name, sa.Text()) for name in names], with_ordinality="n", name="given")
        .render_derived()
    )
    values = [read(rows.c[name], column.type) for name, column in zip(names, columns, strict=True)]
    statement = statement.from_select([column.name for column in columns], sa.select(*values).order_by(rows.c.n))
    if conflict is None:
        return statement, ()
    if not conflict.updates:
        return statement.on_conflict_do_nothing(index_elements=conflict.key), ()
    # What `xmax` tells of a row it tells of no partitioned table's: the update leaves its key in a setting of this
    # transaction, where RETURNING, which comes right after it, finds it and takes it away.
    key = sa.cast(sa.func.row(*(target.c[name] for name in conflict.key)), sa.Text())
    pg = sa.func.pg_catalog
    statement = statement.on_conflict_do_update(
        index_elements=conflict.key,
        set_={name: statement.excluded[name] for name in conflict.updates},
        where=pg.set_config(_SETTING, key, sa.true()).is_not(None),
    )
    taken_away = sa.case((pg.set_config(_SETTING, _EMPTY, sa.true()) == _EMPTY, sa.literal_column(f"'{UPDATED[0]}'")))
    return statement, (sa.case((pg.current_setting(_SETTING, sa.true()) == key, taken_away)),)


async def insert_given(connection: Connection, statement: Statement, given: GivenRows) -> list[Row]:
    """What the statement answers with; as many empty rows as it has written where it does not `returns_rows`.

    Runs within a transaction. Raises: RowRefused; whatever the driver raises that is not about a row.
    """
    rows: list[Row] = []
    await _insert(connection, statement, given, 0, given.count, rows)
    return rows


async def _insert(
    connection: Connection, statement: Statement, given: GivenRows, start: int, end: int, rows: list[Row]
) -> None:
    """Rows that are refused together go in by halves, until the one that is refused stands alone. Two with the same
    key are refused only together (21000), so that they go in one after the other, as on every other database.
    """
    is_all = end - start == given.count
    values = statement.values if is_all else [values[start:end] for values in statement.values]  # type: ignore[index]
    if end - start > 1:
        await connection.execute("SAVEPOINT schema_mcp_rows")
    try:
        rows += await _run(connection, statement, values)
        if not is_all and end - start > 1:
            await connection.execute("RELEASE SAVEPOINT schema_mcp_rows")
        return
    except asyncpg.PostgresError as error:
        if not (error.sqlstate or "").startswith(_ABOUT_A_ROW):
            raise
        if end - start == 1:
            raise RowRefused(given.first + start) from error
        await connection.execute("ROLLBACK TO SAVEPOINT schema_mcp_rows")
        together = error
    middle = (start + end) // 2
    try:
        await _insert(connection, statement, given, start, middle, rows)
        await _insert(connection, statement, given, middle, end, rows)
    except RowRefused as refused:
        cause = refused.__cause__
        if isinstance(cause, asyncpg.ForeignKeyViolationError) and cause.detail != together.detail:
            raise together from None  # it may refer to a row that comes later in the statement
        raise


async def written(connection: Connection, statement: Statement, values: Sequence[Any]) -> list[Row]:
    """As many empty rows as the statement, run with these values, has written."""
    status = await connection.execute(statement.sql, *values)  # "INSERT 0 2"
    return [Row(b"{}", ())] * int(status.rpartition(" ")[2])


async def _run(connection: Connection, statement: Statement, values: Sequence[Any]) -> list[Row]:
    if not statement.returns_rows:
        return await written(connection, statement, values)
    return finished(await connection.fetch(statement.sql, *values), statement)
