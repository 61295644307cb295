"""A caller's own statement in a transaction that is open already and goes on after it.

Whoever holds the transaction undoes what it did, where it only reads or fails.
"""

import asyncio

from schema_mcp.dialects.base import Connection
from schema_mcp.dialects.sql import SqlStatement
from schema_mcp.errors import CallError
from schema_mcp.execute.engines import Database
from schema_mcp.execute.finished import finished
from schema_mcp.execute.perform import STOP_TIMEOUT_S, ExecutionLimits
from schema_mcp.execute.sql import SqlRun, sql_too_long
from schema_mcp.tools.base import SqlPlan, SqlResult
from schema_mcp.tools.options import CallOptions


async def run_within(
    connection: Connection,
    database: Database,
    plan: SqlPlan,
    generation: int,
    limits: ExecutionLimits,
    options: CallOptions,
) -> SqlResult:
    """The plan's result. Raises: CallError; TransactionEnded; whatever the driver raises, see `translated`."""
    access = database.dialect.sql
    max_bytes = limits.max_bytes if plan.explain else options.max_bytes(limits.max_bytes)
    statement = _statement(database, plan, max_bytes)
    run = SqlRun(plan.limit, max_bytes, None if plan.explain else options.report)
    try:
        async with asyncio.timeout(limits.statement_timeout_s) as limit:
            run.opened = opened = await access.open(connection, statement)
            while not run.full and (rows := await opened.fetch(run.wanted)):
                run.add(rows, opened.cut)
    except TimeoutError:
        if not limit.expired():
            raise
        raise sql_too_long("statement", limits.statement_timeout_s, limits.statement_limit) from None
    finally:

        async def leave() -> None:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await access.leave(connection, run.opened)

        leaving, cancelled = await finished(leave())
        leaving.exception()  # a connection that cannot be left cannot be marked either, and ends the transaction
    if cancelled:
        raise asyncio.CancelledError
    return run.result(generation, access.plan_text(run.rows) if plan.explain else "", in_transaction=True)


def translated(error: BaseException, database: Database, plan: SqlPlan) -> CallError | None:
    """The driver's error in our words; None if it is not one of the driver's."""
    return database.dialect.sql.translate(error, _statement(database, plan))


def _statement(database: Database, plan: SqlPlan, max_bytes: int | None = None) -> SqlStatement:
    return SqlStatement(
        sql=plan.sql,
        parameters=plan.parameters,
        writes=plan.writes,
        prefix=database.dialect.sql.explaining(analyze=plan.analyze) if plan.explain else "",
        within=True,
        max_bytes=max_bytes,
    )
