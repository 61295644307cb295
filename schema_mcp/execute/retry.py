"""Once more: how often a call is tried that has left nothing behind, and how long it waits before, by tenacity.

It does not know which failures leave nothing behind; who runs the call says so, for each.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_random_exponential

from schema_mcp.errors import CallError

#: Before the second try a call waits at random up to the first, then up to twice as much each time, up to the last.
FIRST_WAIT_S, MAX_WAIT_S = 0.05, 1.0

_Result = TypeVar("_Result")


async def tried(
    work: Callable[[], Awaitable[_Result]],
    leaves_nothing: Callable[[CallError], bool],
    *,
    attempts: int,
    left_s: Callable[[], float],
    told: Callable[[int, CallError, float], None],
) -> _Result:
    """What `work` gives, tried so many times at most, and not beyond the time that is left.

    `told`: of each failure that is followed by another try, with its number and the seconds until then.
    Raises: the last failure.
    """
    try:
        return await work()  # tenacity, 40 microseconds a call, is for what has failed
    except CallError as failure:
        if attempts < 2 or not leaves_nothing(failure):
            raise
        first = [failure]

    async def again() -> _Result:
        if first:
            raise first.pop()
        return await work()

    def tell(state: RetryCallState) -> None:
        assert state.outcome is not None
        failure = state.outcome.exception()
        assert isinstance(failure, CallError)
        told(state.attempt_number, failure, state.upcoming_sleep)

    retrying = AsyncRetrying(
        stop=stop_after_attempt(attempts) | stop_before_delay(max(0.0, left_s())),
        wait=wait_random_exponential(multiplier=FIRST_WAIT_S, max=MAX_WAIT_S),
        retry=retry_if_exception(lambda error: isinstance(error, CallError) and leaves_nothing(error)),
        before_sleep=tell,
        reraise=True,
    )
    result: _Result = await retrying(again)
    return result
