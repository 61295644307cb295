"""Calls with an idempotency key: each is done once, and who shows its key again gets the first answer.

Where the database has the table of migrations/targets, the key is stored in the transaction of the call: there is one
end of both. Elsewhere it is claimed in the server's own store before, and kept after (`state.keys`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from schema_mcp.dialects.base import Connection, Dialect, DriverValue, Statement
from schema_mcp.errors import ErrorCode, InvalidArgument, OutcomeUnknown, Unavailable
from schema_mcp.execute.finished import finished
from schema_mcp.execute.outcome import Outcome
from schema_mcp.state.keys import Doubt, Held, Keys, Once
from schema_mcp.state.place import NoPlace
from schema_mcp.state.store import StoreError
from schema_mcp.tools.base import Result, StatementPlan

#: How long storing the end of a call may hold up its answer.
KEEP_TIMEOUT_S = 5.0
#: What to do where the answer to COMMIT was lost, and it can be found out about by the key.
REPEAT = "Repeat the call with the same idempotency_key: it is done once, and its answer tells."


@dataclass(frozen=True, slots=True)
class Sent:
    """What a call that was cut short has left in the database, or may have, unless `committed`. `mark`: as in
    `outcome.py`, which can be asked about it; may be empty.
    """

    result: Result
    mark: str
    committed: bool


class Replayed(Exception):
    """The call was done before: `answer` is what it was given then."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.answer = answer

    def result(self, generation: int) -> Result:
        """As a result, of which a tool makes the same answer."""
        return Result(rows=(), truncated=False, keys=(), affected=0, generation=generation, replayed=self.answer)


def installed(plan: StatementPlan, dialect: Dialect) -> StatementPlan:
    """Gives a row if keys are kept beside the data that `plan` is about."""
    return StatementPlan(
        source=plan.source,
        table=plan.table,
        statements=(Statement(dialect.idempotency["installed"].sql, ()),),
        writes=False,
        limit=1,
        answer=lambda _: b"",
    )


async def run_around(
    keys: Keys,
    plan: StatementPlan,
    run: Callable[[], Awaitable[Result]],
    sent: Callable[[], Sent | None],
    find_out: Callable[[str], Awaitable[Outcome]],
) -> Result:
    """What `run` gives, for the plan without its key, which is claimed in the store before, and kept with the answer.

    `sent`: by a run that failed; None: it has left nothing. `find_out`: what became of the transaction of a mark.
    Raises: as `claim` and `run`.
    """
    once = plan.once
    assert once is not None
    await claim(keys, once, find_out)
    try:
        result = await run()
    except BaseException as error:
        left = sent()
        if left is None:
            await settle(keys, once, None)
        elif left.committed:
            await settle(keys, once, plan.answer(left.result))
        elif left.mark:
            keys.doubt(once, Doubt(left.mark, plan.answer(left.result)))
            if isinstance(error, OutcomeUnknown):
                raise OutcomeUnknown(error.message, REPEAT) from error
        raise
    await settle(keys, once, plan.answer(result))
    return result


async def claim_beside(connection: Connection, dialect: Dialect, once: Once, keep_s: float) -> None:
    """Makes the key the call's, within its transaction; waits for another that is about to have it.

    Raises: Replayed; InvalidArgument (`idempotency_conflict`); whatever the driver raises.
    """
    whose = (once.principal, once.tool, once.key)
    if await _rows(connection, dialect, "claim", *whose, once.digest, keep_s):
        await _rows(connection, dialect, "forget", keep_s)
        return
    ((digest, answer),) = await _rows(connection, dialect, "held", *whose)
    _refuse(once, Held(str(digest), None if answer is None else str(answer)))


async def keep_beside(connection: Connection, dialect: Dialect, once: Once, answer: bytes) -> None:
    """Stores the answer, within the call's transaction. Raises: whatever the driver raises."""
    await _rows(connection, dialect, "keep", once.principal, once.tool, once.key, answer.decode())


async def claim(keys: Keys, once: Once, find_out: Callable[[str], Awaitable[Outcome]]) -> None:
    """Makes the key the call's, in the store. Nothing was sent to the database before, unless by a call of this process
    whose end nobody knew: then it is found out now.

    Raises: Replayed; InvalidArgument (`idempotency_conflict`; where there is no store); OutcomeUnknown; Unavailable.
    """
    if isinstance(keys.place, NoPlace):
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'idempotency_key' cannot be kept: the database has no table for it, and {keys.place.reason.rstrip('.')}",
            "Leave it out. Whoever runs the server can apply migrations/targets/*/idempotency.sql, or set state.url.",
        )
    try:
        held = await _claimed(keys, once)
        if held is not None and held.answer is None and held.digest == once.digest:
            held = await _settled(keys, once, held, find_out)
    except StoreError as error:
        raise Unavailable(
            ErrorCode.DATABASE_UNAVAILABLE,
            f"'idempotency_key' cannot be kept: {error.reason}",
            f"Nothing was written. {error.hint}",
        ) from error
    if held is not None:
        _refuse(once, held)


async def settle(keys: Keys, once: Once, answer: bytes | None) -> None:
    """Stores the answer, or gives the key back where the call has left nothing behind.

    Bounded, and not cut short by a cancellation. Where the store fails, the key stays claimed and its end unknown.
    """
    with suppress(StoreError, TimeoutError):
        await _completed(keys.release(once) if answer is None else keys.keep(once, answer.decode()))


async def _claimed(keys: Keys, once: Once) -> Held | None:
    """As `Keys.claim`; cancelled, it leaves no claim of a call that was never begun.

    It is not cut short, whose limits are the store's: then nobody could tell whose the claim is that is found later.
    """
    claiming, cancelled = await finished(keys.claim(once))
    if cancelled:
        if not claiming.cancelled() and claiming.exception() is None and claiming.result() is None:
            await settle(keys, once, None)
        raise asyncio.CancelledError
    return claiming.result()


async def _settled(keys: Keys, once: Once, held: Held, find_out: Callable[[str], Awaitable[Outcome]]) -> Held | None:
    """What the key stands for, once the doubt about its call is over: None: it was not done, and the key is the
    caller's.

    A doubt is taken by one caller, so that no two of them find that the call was not done, and do it.
    """
    doubt = keys.take_doubt(once)
    if doubt is None:
        return held
    outcome = Outcome.UNKNOWN
    try:
        outcome = await find_out(doubt.mark)
    finally:
        if outcome is not Outcome.ROLLED_BACK:
            keys.doubt(once, doubt)
    if outcome is Outcome.UNKNOWN:
        return held
    if outcome is Outcome.COMMITTED:
        await settle(keys, once, doubt.answer)
        return Held(held.digest, doubt.answer.decode())
    await settle(keys, once, None)
    return await _claimed(keys, once)


def no_key_in_a_batch() -> InvalidArgument:
    """The error for a key in a transaction of several calls: the store cannot be of one mind with it."""
    return InvalidArgument(
        ErrorCode.INVALID_ARGUMENT,
        "'idempotency_key' cannot be kept for a call in a transaction with others: the database has no table for it",
        "Send the call by itself, or use mode 'independent'. Whoever runs the server can apply "
        "migrations/targets/*/idempotency.sql.",
    )


def _refuse(once: Once, held: Held) -> None:
    if held.digest != once.digest:
        raise InvalidArgument(
            ErrorCode.IDEMPOTENCY_CONFLICT,
            f"idempotency_key '{once.key}' belongs to an earlier call with other arguments",
            "Nothing was written. Send a new key with new arguments, or the earlier arguments to get their answer.",
        )
    if held.answer is None:
        raise OutcomeUnknown(
            f"a call with idempotency_key '{once.key}' was begun, and its end was never heard of",
            "It is not done again. If it may still be running, ask again; else query the table: if the rows are not "
            "there, send them with a new key.",
        )
    raise Replayed(held.answer.encode())


async def _rows(connection: Connection, dialect: Dialect, query: str, *values: Any) -> list[tuple[DriverValue, ...]]:
    statement = Statement(dialect.idempotency[query].sql, values)
    async with aclosing(dialect.fetch(connection, statement, 1)) as batches:
        return [row.keys async for batch in batches for row in batch]


async def _completed(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(_bounded(work))
    while not task.done():
        with suppress(asyncio.CancelledError):  # the caller passes the first one on
            await asyncio.wait({task})
    task.result()


async def _bounded(work: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(KEEP_TIMEOUT_S):
        await work
