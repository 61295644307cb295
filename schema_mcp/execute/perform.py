"""Performs steps on a connection that somebody holds: their statements, savepoints, limits, and the way back.

It begins and ends no transaction of its own accord, and knows neither the pool nor what becomes of a lost connection.
"""

import asyncio
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from schema_mcp.dialects.base import UPDATED, Connection, LargeRows, Statement
from schema_mcp.errors import CallError, ErrorCode, LimitReached, StaleSchema, StatementRefused
from schema_mcp.execute.engines import Database
from schema_mcp.execute.once import Replayed, claim_beside, keep_beside
from schema_mcp.execute.rows import Rows, SunkRows, too_long, too_many
from schema_mcp.execute.steps import Done, Step, StepFailed
from schema_mcp.execute.telling import telling
from schema_mcp.schema.fingerprint import identity
from schema_mcp.schema.model import Table
from schema_mcp.tools.base import Result, StatementPlan
from schema_mcp.tools.changes import COUNTED_ROWS
from schema_mcp.tools.options import CALL_LIMIT, PLAIN, CallOptions

#: How long stopping a statement and rolling back may take after a cancel, before the connection is given up.
STOP_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionLimits:
    """Bounds of one call. `max_bytes`: of the rows in an answer; `attempts`: tries in all, where that is safe.

    `call_limit`, `statement_limit`: the settings that the two times are from, for messages.
    """

    statement_timeout_s: float
    call_timeout_s: float
    max_bytes: int
    lock_timeout_s: float = 2.0
    idempotency_keep_s: float = 604_800.0
    attempts: int = 3
    call_limit: str = CALL_LIMIT
    statement_limit: str = "limits.statement_timeout_s"


class Replaced(StaleSchema):
    """Another table has the name, or other columns: no second try of the same plan can help."""


class Performer:
    """Performs the steps of one call. `options`: how its caller wants it run.

    `mark`: of the transaction, as the last step that asked for a table's identity has heard it (see `outcome.py`).
    """

    def __init__(self, database: Database, limits: ExecutionLimits, options: CallOptions = PLAIN) -> None:
        self.database = database
        self.limits = limits
        self.options = options
        self.mark = ""

    async def step(
        self, connection: Connection, step: Step, generation: int, left_bytes: int, *, begun: bool, alone: bool
    ) -> list[Done]:
        """What the step gave. Raises: CallError where the database has refused; else what the driver raises."""
        if step.begins is not None:
            step.begins()
        if alone:
            return [Done(step, await self._perform(connection, step, generation, left_bytes, begun=begun, alone=True))]
        kept = step.plan.dry_run or step.instead is not None
        if kept:
            await connection.execute("SAVEPOINT step")
        try:
            done = [Done(step, await self._perform(connection, step, generation, left_bytes, begun=begun, alone=False))]
        except Exception as error:
            refused = error if isinstance(error, CallError) else self.database.dialect.translate(error, step.table)
            if refused is None or refused.code is ErrorCode.DATABASE_UNAVAILABLE:
                raise
            if step.instead is None or isinstance(refused, LimitReached) or refused.code is ErrorCode.BUSY:
                raise refused from error
            try:
                await connection.execute("ROLLBACK TO SAVEPOINT step")
            except Exception:  # noqa: BLE001 - with the transaction the savepoint is gone: the refusal is the one to tell
                raise StepFailed(replace(step, tag=None), refused) from error
            done = []
            for part in step.instead():
                try:
                    done += await self.step(connection, part, generation, left_bytes, begun=True, alone=False)
                except CallError as failed:
                    raise StepFailed(part, explained(part.plan, failed)) from failed
        if step.plan.dry_run:
            await connection.execute("ROLLBACK TO SAVEPOINT step")
        if kept:
            await connection.execute("RELEASE SAVEPOINT step")
        return done

    async def _perform(
        self, connection: Connection, step: Step, generation: int, left_bytes: int, *, begun: bool, alone: bool
    ) -> Result:
        """Runs the plan's statements and checks what may only be known then."""
        plan = step.plan
        max_bytes = self.options.max_bytes(self.limits.max_bytes)
        collected = Rows(
            plan.limit,
            max_bytes,
            left_bytes=min(left_bytes, max_bytes),
            max_affected=plan.max_affected,
            tell=telling(plan, self.options.report),
        )
        if self.options.sink is not None and not plan.writes:
            collected = SunkRows(plan.limit, self.options.sink, self.options.report)
        if plan.once is not None:
            try:
                await claim_beside(connection, self.database.dialect, plan.once, self.limits.idempotency_keep_s)
            except Replayed as done:
                return done.result(generation)
        if plan.matching is not None:
            collected.matching = await self._refuse_too_many(connection, plan, step.table)
        for statement in plan.statements:
            await self._run(connection, statement, collected)
        if plan.total is not None and collected.lacks_total(plan):
            counted = Rows(1, self.limits.max_bytes)
            await self._run(connection, plan.total, counted)
            collected.total = counted.keys[0]
        if plan.identity and (begun or collected.full):
            await self._check_identity(connection, plan, step.table)
        if plan.max_affected is not None and collected.seen > plan.max_affected:
            raise too_many(plan, step.table, f"more than {plan.max_affected}")
        if plan.dry_run and alone:
            check = Statement(self.database.dialect.check_deferred, ())
            await self._run(connection, check, Rows(None, self.limits.max_bytes))
        result = collected.result(generation, rolled_back=plan.dry_run)
        if plan.once is not None:
            await keep_beside(connection, self.database.dialect, plan.once, plan.answer(result))
        return result

    async def _refuse_too_many(self, connection: Connection, plan: StatementPlan, table: Table) -> int:
        """How many rows match, before anything is written. Raises: LimitReached (`too_many_rows`)."""
        assert plan.matching is not None
        assert plan.max_affected is not None
        counted = Rows(1, self.limits.max_bytes)
        await self._run(connection, plan.matching, counted)
        count = int(str(counted.keys[0]))
        if count > plan.max_affected:
            raise too_many(plan, table, str(count) if count <= COUNTED_ROWS else f"more than {count - 1}")
        return count

    async def _run(self, connection: Connection, statement: Statement, collected: Rows) -> None:
        """Takes the statement's rows; where large ones are among them, those of the statement that cuts them."""
        try:
            await self._collect(connection, statement, collected)
        except LargeRows:
            assert statement.cut is not None
            collected.restart()
            await self._collect(connection, statement.cut(), collected)

    async def _collect(self, connection: Connection, statement: Statement, collected: Rows) -> None:
        max_rows = 0 if collected.most is None else collected.most + 1
        limit_s = None if self.database.dialect.has_statement_timeout else self.limits.statement_timeout_s
        try:
            async with (
                asyncio.timeout(limit_s) as limit,
                aclosing(self.database.dialect.fetch(connection, statement, max_rows)) as batches,
            ):
                async for batch in batches:
                    collected.add(batch)
                    await collected.settle()
                    if statement.given is not None and statement.given.tells_updates:
                        collected.updated += sum(row.keys == UPDATED for row in batch)
                    if collected.enough:
                        return
        except TimeoutError:
            if not limit.expired():
                raise
            raise too_long("statement", limit_s or 0, retryable=False, limit=self.limits.statement_limit) from None

    async def _check_identity(self, connection: Connection, plan: StatementPlan, table: Table) -> None:
        """After the statements, while their lock on the relation keeps its name and its columns as they are; at once
        after a first page, which needs no transaction.

        Raises: StaleSchema when it is not the one that the plan was made for.
        """
        question = Statement(self.database.dialect.identity, (plan.table.schema, plan.table.name))
        async with aclosing(self.database.dialect.fetch(connection, question, 1)) as batches:
            found = [row.keys async for batch in batches for row in batch]
        for mark in (mark for _, *marks in found for mark in marks if mark is not None):
            self.mark = str(mark)
        if [identity(str(text)) for text, *_ in found] != [plan.identity]:
            raise Replaced(
                f"table '{table.name.name}' was altered, or another table has its name now",
                "Nothing was written. Look at the table again with describe_table.",
            )

    async def roll_back(self, connection: Connection) -> bool:
        """Ends the transaction, if one is open. False: the connection cannot be used, and with it the transaction ends.

        Bounded, and not cut short by a further cancel: it would leave the statement running.
        """
        rolling_back = asyncio.create_task(self._run_rollback(connection))
        while not rolling_back.done():
            with suppress(asyncio.CancelledError):  # the caller passes the first one on
                await asyncio.wait({rolling_back})
        return rolling_back.result()

    async def _run_rollback(self, connection: Connection) -> bool:
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await connection.execute("ROLLBACK")
        except Exception as error:  # noqa: BLE001 - the first error is the one to tell
            if isinstance(error, TimeoutError) or connection.is_closed():
                self.database.renew()  # where nobody answers, the other connections lead nowhere either
            return False
        return True


def explained(plan: StatementPlan, error: CallError) -> CallError:
    """The error, with what the tool has to add to the database's refusal."""
    return plan.explain(error) if plan.explain is not None and isinstance(error, StatementRefused) else error
