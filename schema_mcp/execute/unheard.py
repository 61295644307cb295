"""A statement of the caller's own that was not heard to its end, in a transaction that is open no more: it may have
been a COMMIT, and its words are not judged. The database is asked, once the connection was given up.
"""

import asyncio

from schema_mcp.errors import CallError
from schema_mcp.execute import transaction_errors as errors
from schema_mcp.execute.engines import Database
from schema_mcp.execute.outcome import Outcome, resolve
from schema_mcp.execute.perform import STOP_TIMEOUT_S


async def unheard(
    database: Database, mark: str, error: BaseException, known: CallError | None
) -> tuple[str, BaseException]:
    """Why the transaction with that mark is over, and the error to raise: `error` itself where it is a cancel, else
    what has become of the transaction. `known`: the error in our words.
    """
    over, told = errors.IN_DOUBT, error
    match await resolve(database, mark, STOP_TIMEOUT_S):
        case Outcome.COMMITTED:
            over, told = errors.by_statement("COMMIT"), errors.ended_by("COMMIT")
        case Outcome.ROLLED_BACK:
            over, told = errors.ROLLED_BACK, error if known is None else errors.with_the_transaction(known)
        case _:
            told = errors.lost_in_commit()
    return over, error if isinstance(error, asyncio.CancelledError) else told
