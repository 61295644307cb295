"""`run_batch`, run: its calls in one transaction, or one by one, and the answer put together.

In a transaction nothing of a batch that fails is kept, and its answer tells the call that failed beside the error.
One by one, each call ends as it would by itself. Its progress is told in calls, not in their rows.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import orjson

from schema_mcp.errors import CallError, ErrorCode, LimitReached, OutcomeUnknown, StatementRefused
from schema_mcp.execute.outcome import Outcome
from schema_mcp.execute.perform import ExecutionLimits
from schema_mcp.execute.rows import still_committing
from schema_mcp.execute.runs import Runs
from schema_mcp.execute.steps import Done, Step, StepFailed
from schema_mcp.tools.base import Action, StatementPlan
from schema_mcp.tools.batch import Run, alone, named, runs
from schema_mcp.tools.options import CallOptions, Progress, Report
from schema_mcp.tools.view import BatchCall, BatchPlan

#: Plans one call of the batch in the catalog that the batch began with. Raises: CallError.
Planner: TypeAlias = Callable[[BatchCall], StatementPlan]
#: What runs plans on a source.
RunsOf: TypeAlias = Callable[[str], Runs]
#: Makes one call as if it came by itself, within so many seconds and bytes; the JSON of its answer. Raises: CallError.
Caller: TypeAlias = Callable[[str, Mapping[str, Any], float, int], Awaitable[bytes]]
#: Has a defect of the server's own, met there, observed; what the caller is told of it.
Defect: TypeAlias = Callable[[str, Exception], CallError]

#: What tools do that are no calls of a batch.
_NO_CALLS = frozenset({Action.BATCH, Action.TRANSACTION, Action.COMMIT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """How calls by themselves are made. `action`: what a tool of the server does. `reading`: what writes nothing.

    `became`: how the transaction that they run in has ended; None while it has not, or where there is none.
    """

    make: Caller
    action: Callable[[str], Action | None]
    reading: frozenset[Action]
    became: Callable[[], Outcome | None]
    defect: Defect


async def run_together(
    plan: BatchPlan, planner: Planner, runs_of: RunsOf, generation: int, options: CallOptions
) -> bytes:
    """The answer once all is committed. Raises: CallError, with the results of all calls beside the error."""
    calls = [call for call in plan.calls if isinstance(call, BatchCall)]
    try:
        planned = runs(calls, planner)
    except CallError as error:
        raise _failed(plan, error, None) from error
    report, unheard = options.report, replace(options, report=None)
    steps = [
        _step(run, report, len(calls), partial(_parts, run, planner, report, len(calls)) if run.counts else None)
        for run in planned
    ]
    try:
        done = await runs_of(planned[0].plan.source).run_all(steps, generation, unheard)
    except StepFailed as failed:
        raise _failed(plan, failed.error, failed.step.tag) from failed
    except OutcomeUnknown as unknown:
        if unknown.running:
            raise still_committing(f"a batch of {len(plan.names)} calls") from unknown
        raise OutcomeUnknown(
            f"whether this batch of {len(plan.names)} calls was committed cannot be told: either all of them were done "
            "or none",
            unknown.hint,
        ) from unknown
    except CallError as error:
        raise _failed(plan, error, calls[0].index if len(steps) == 1 else None) from error
    _tell(report, len(calls), len(calls))
    answers = [answer for run, of_run in zip(planned, done, strict=True) for answer in _answers(run, of_run)]
    results = [_result(name, answer) for name, answer in zip(plan.names, answers, strict=True)]
    kept = any(run.plan.writes and not run.plan.dry_run for run in planned)
    rehearsed = any(run.plan.dry_run for run in planned)
    return _document(results, "rolled_back" if rehearsed and not kept else _done(options))


async def run_apart(
    plan: BatchPlan, planner: Planner, calls: Calls, runs_of: RunsOf, limits: ExecutionLimits, options: CallOptions
) -> bytes:
    """The answer, whatever became of each call. Inserts that are neighbours go in together if all of them can."""
    ends_at = time.monotonic() + options.call_timeout_s(limits.call_timeout_s)
    apart = _Apart(plan, calls, options, ends_at, limits.max_bytes)
    index = 0
    while index < len(plan.calls):
        _tell(options.report, index, len(plan.calls))
        neighbours = _neighbours(plan.calls, index, planner)
        if neighbours is None:
            await apart.make(index)
            index += 1
            continue
        await apart.make_together(neighbours, runs_of)
        index += len(neighbours.calls)
    _tell(options.report, index, len(plan.calls))
    return _document(apart.results, apart.outcome)


class _Apart:
    """The calls of a batch one by one. `ends_at`: after this none begins; `max_bytes`: after so many none reads."""

    def __init__(self, plan: BatchPlan, calls: Calls, options: CallOptions, ends_at: float, max_bytes: int) -> None:
        self.options = options
        self.plan = plan
        self.calls = calls
        self.ends_at = ends_at
        self.max_bytes = max_bytes
        self.results: list[bytes] = []
        self.size = 0
        self.failed = 0
        #: Some call was a dry run, or may have written.
        self.rehearsed = self.wrote = False
        self.unknown = False
        self._ended_before = calls.became() is not None

    @property
    def outcome(self) -> str:
        if self.unknown:
            return "unknown"
        ended = None if self._ended_before else self.calls.became()
        if ended is not None:
            return str(ended)
        nothing = self.failed == len(self.results) or (self.rehearsed and not self.wrote)
        return "rolled_back" if nothing else _done(self.options)

    async def make_together(self, run: Run, runs_of: RunsOf) -> None:
        """The calls of the run as one statement; if that is refused, one by one."""
        if time.monotonic() < self.ends_at:
            try:
                left_bytes = self.max_bytes - self.size
                options = replace(self.options, left_s=self.ends_at - time.monotonic(), left_bytes=left_bytes)
                result = await runs_of(run.plan.source).run(run.plan, run.table, 0, options)
            except OutcomeUnknown as error:
                for each in run.calls:
                    self._take_error(each.name, error)
                return
            except CallError:
                pass
            except Exception as defect:  # noqa: BLE001 - what was committed before is told all the same
                met = self.calls.defect("run_batch", defect)
                for each in run.calls:
                    self._take_error(each.name, met)
                return
            else:
                for each, answer in zip(run.calls, run.answers(result), strict=True):
                    self._take(each.name, answer)
                self.wrote = True
                return
        for each in run.calls:
            await self.make(each.index)

    async def make(self, index: int) -> None:
        """One call, with its answer or error taken."""
        name, given = self.plan.names[index], self.plan.calls[index]
        action = given.tool.action if isinstance(given, BatchCall) else self.calls.action(name)
        try:
            if action in _NO_CALLS:
                raise _no_call(name)
            if time.monotonic() >= self.ends_at:
                raise _not_run(ErrorCode.TIMEOUT, "the calls before it have taken the time of the batch")
            if action in self.calls.reading and self.size >= self.max_bytes:
                raise _not_run(ErrorCode.TOO_MANY_ROWS, f"the answers before it fill {self.max_bytes} bytes")
            left_s = self.ends_at - time.monotonic()
            left_bytes = self.max_bytes - self.size
            self._take(name, await self.calls.make(name, self.plan.arguments[index], left_s, left_bytes))
            dry_run = isinstance(given, BatchCall) and given.arguments.get("dry_run") is True
            self.rehearsed = self.rehearsed or dry_run
            self.wrote = self.wrote or not (dry_run or action in self.calls.reading)
        except CallError as error:
            self._take_error(name, error)
        except Exception as defect:  # noqa: BLE001 - what was committed before is told all the same
            self._take_error(name, self.calls.defect(f"run_batch {name[:64]!a}", defect))

    def _take(self, name: str, answer: bytes) -> None:
        self.results.append(_result(name, answer))
        self.size += len(answer)

    def _take_error(self, name: str, error: CallError) -> None:
        self.results.append(_error(name, error))
        self.failed += 1
        self.unknown = self.unknown or isinstance(error, OutcomeUnknown) or error.code is ErrorCode.INTERNAL_ERROR


def _neighbours(calls: Sequence[BatchCall | CallError], index: int, planner: Planner) -> Run | None:
    """The run of inserts that begins there; None where a call stands alone or one of them does not fit its table."""
    beside: list[BatchCall] = []
    for call in calls[index:]:
        if isinstance(call, CallError) or call.tool.action is not Action.INSERT:
            break
        beside.append(call)
    if len(beside) < 2:
        return None
    try:
        run = runs(beside, planner)[0]
    except CallError:
        return None
    return run if run.counts else None


def _step(run: Run, report: Report | None, calls: int, instead: Callable[[], list[Step]] | None) -> Step:
    index = run.calls[0].index
    begins = None if report is None else partial(_tell, report, index, calls)
    return Step(run.plan, run.table, index, instead, begins)


def _parts(run: Run, planner: Planner, report: Report | None, calls: int) -> list[Step]:
    return [_step(part, report, calls, None) for part in alone(run, planner)]


def _tell(report: Report | None, done: int, calls: int) -> None:
    if report is not None and done:
        report(Progress(done=done, total=calls, message=f"{done} of {calls} calls"))


def _answers(run: Run, done: Sequence[Done]) -> list[bytes]:
    if len(done) == 1:
        return run.answers(done[0].result)
    return [each.step.plan.answer(each.result) for each in done]


def _failed(plan: BatchPlan, error: CallError, index: int | None) -> CallError:
    """The error, named by the call that it is about, with the batch's results beside it."""
    told = error if index is None else named(error, index, plan.names[index])
    failed = (told.details or {}).get("call")
    undone = CallError(
        ErrorCode.ROLLED_BACK,
        "nothing of this batch was kept, because a call of it failed",
        "Mend that call and repeat.",
    )
    told.beside = {
        "results": [
            {"tool": name[:64], "error": (error if at == failed else undone).as_dict()}
            for at, name in enumerate(plan.names)
        ],
        "outcome": "rolled_back",
    }
    return told


def _done(options: CallOptions) -> str:
    return "committed" if options.transaction_id is None else "in_transaction"


def _no_call(name: str) -> StatementRefused:
    return StatementRefused(
        ErrorCode.NOT_ALLOWED,
        f"'{name}' is no call of a batch",
        "Put the calls of another batch into this one; begin and end a transaction by calls by themselves, and name it "
        "beside 'calls'.",
    )


def _not_run(code: ErrorCode, reason: str) -> LimitReached:
    return LimitReached(code, f"not run: {reason}", "Send it in another batch.", retryable=True)


def _result(name: str, answer: bytes) -> bytes:
    return b'{"tool":' + orjson.dumps(name) + b',"result":' + answer + b"}"


def _error(name: str, error: CallError) -> bytes:
    return orjson.dumps({"tool": name[:64], "error": error.as_dict()}, default=str)


def _document(results: Sequence[bytes], outcome: str) -> bytes:
    return b'{"results":[' + b",".join(results) + b'],"outcome":' + orjson.dumps(outcome) + b"}"
