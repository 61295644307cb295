"""Operations: calls that go on after their answer, as tasks of the program, a bounded number at once.

    begin -> runs, on connections of its own -> end: result in files, state in the store -> announced -> forgotten

Where there is a store, each is in it before its id is told, and so it is never lost from sight: what a server leaves
running when it stops or dies is `interrupted` for the next one. It knows neither plans nor the protocol.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from schema_mcp.caller import Caller
from schema_mcp.errors import CallError, ErrorCode, OutcomeUnknown, Unavailable
from schema_mcp.execute.kept import Kept
from schema_mcp.execute.spool import ROWS, Spool
from schema_mcp.state.operations import INTERRUPTED_MESSAGE, OperationRecord, OperationStatus
from schema_mcp.tools.operations import OperationView, ResultFormat, time_left, unknown_operation
from schema_mcp.tools.options import Progress, Report

#: Between two signs of life in the store, and two looks for what is to be forgotten.
BEAT_S = 10.0
#: How long a stopped operation may take to roll back and to be marked.
STOP_S = 1.0
#: Ended operations that are remembered where there is no store.
MAX_REMEMBERED = 1_000

#: Runs the call: its answer as JSON. Raises: CallError; asyncio.CancelledError once nothing of it runs any more.
Work = Callable[[Report], Awaitable[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationLimits:
    """`max_running`: at once, `per_caller` of one. See config `[operations]`."""

    max_running: int
    per_caller: int
    max_rows: int
    max_result_bytes: int
    max_kept_bytes: int
    keep_s: float


class Operation:
    """One operation of this process. `answer`: where it could not be stored in a file. `ended`: it has.

    `kept`: it is in the store, and once it has succeeded, its answer in a file.
    """

    def __init__(self, record: OperationRecord, caller: Caller, spool: Spool | None) -> None:
        self.record = record
        self.caller = caller
        self.spool = spool
        self.stage = "starting"
        self.kept = False
        self.answer: bytes | None = None
        self.ended = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        #: Told to its caller, who may have to be told of its end.
        self.told = False
        self.storing = asyncio.Lock()

    def report(self, progress: Progress) -> None:
        """Takes how far it is."""
        total = self.record.total if progress.total is None else progress.total
        done = max(self.record.done, progress.done)
        self.stage = "running" if self.spool is None else "fetching rows"
        # An estimate that was too low is no more one.
        total = None if total is not None and total < done else total
        self.record = replace(self.record, done=done, total=total, message=progress.message or self.record.message)


class Operations:
    """Those of one process. `kept`: the store and the files. `ended`: called with each that ends."""

    def __init__(self, limits: OperationLimits, kept: Kept) -> None:
        self.limits = limits
        self.kept = kept
        self.ended: list[Callable[[Operation], Awaitable[None]]] = []
        self._known: dict[str, Operation] = {}
        self._closing = False

    @property
    def running(self) -> list[Operation]:
        """Those that have not ended."""
        return [operation for operation in self._known.values() if not operation.ended.is_set()]

    async def begin(
        self, caller: Caller, tool: str, digest: str, format_: ResultFormat, *, rows: bool, total: int | None = None
    ) -> Operation:
        """A new operation, which does nothing yet. `rows`: those of its result go into a file.

        Raises: Unavailable (`busy`).
        """
        self._require_place(caller)
        if rows and self.kept.size >= self.limits.max_kept_bytes:
            raise Unavailable(
                ErrorCode.BUSY,
                f"the results of operations fill {self.kept.size} bytes, as many as may (operations.max_kept_bytes)",
                "Nothing was started. They are removed when they are old (operations.keep_s).",
            )
        id_ = f"op_{secrets.token_urlsafe(24)}"
        now = time.time()
        record = OperationRecord(
            id=id_,
            principal=caller.principal or "",
            tool=tool,
            digest=digest,
            format=str(format_),
            instance=self.kept.folder.instance,
            total=total,
            started_at=now,
            seen_at=now,
        )
        spool = None
        if rows:
            spool = Spool(
                self.kept.folder.path(record.instance, id_, ROWS),
                max_rows=self.limits.max_rows,
                max_bytes=self.limits.max_result_bytes,
                left_bytes=lambda: self.limits.max_kept_bytes - self.kept.size,
                grown=self.kept.grow,
            )
        operation = Operation(record, caller, spool)
        self._known[id_] = operation  # it takes its place before anything is waited for
        try:
            await self.kept.open()
        except BaseException:
            del self._known[id_]
            raise
        return operation

    def run(self, operation: Operation, work: Work) -> None:
        """Starts the work, unless it was cancelled while its caller was told of it."""
        if operation.ended.is_set():
            return
        operation.task = asyncio.create_task(self._run(operation, work), name=f"operation {operation.record.tool}")

    async def tell(self, operation: Operation) -> None:
        """Its caller is to know of it: it is in the store from now on, where there is one, and its end is announced.

        A caller that is gone by then does not: cancelled, it stops the operation.
        """
        operation.told = True
        try:
            await self._put(operation)
        except BaseException:
            await self.cancel(operation)
            raise

    async def _put(self, operation: Operation) -> None:
        async with operation.storing:  # so that the end is not followed by what was before
            operation.kept = await self.kept.put(operation.record) and operation.answer is None

    async def find(self, id_: str, caller: Caller) -> Operation | OperationRecord:
        """The operation, or what the store holds of one of another process.

        Raises: CallError (`unknown_operation`); Unavailable (`busy`) where that cannot be asked.

        An operation belongs to its principal; where nobody has signed in, to whoever shows its id, which cannot be
        guessed: so also to the same client after a restart, in another session.
        """
        operation = self._known.get(id_)
        record = operation.record if operation is not None else await self.kept.get(id_)
        if record is None or record.principal != (caller.principal or "") or self._is_over(record):
            raise unknown_operation()
        return record if operation is None else operation

    def view(self, found: Operation | OperationRecord) -> OperationView:
        """How it stands."""
        operation = found if isinstance(found, Operation) else None
        record = found.record if isinstance(found, Operation) else found
        return OperationView(
            record=record,
            stage=_stage(operation, record),
            kept=operation is None or operation.kept,
            keep_s=self.limits.keep_s,
            left_s=time_left(record, time.time()),
        )

    async def cancel(self, operation: Operation) -> None:
        """Stops its work in the database and waits for the end, `STOP_S` at most."""
        if operation.task is None and not operation.ended.is_set():
            operation.record = replace(
                operation.record,
                status=OperationStatus.CANCELLED,
                message="stopped at its caller's wish before it did anything",
                ended_at=time.time(),
            )
            operation.ended.set()
            await self._put(operation)
        if operation.task is not None and not operation.ended.is_set():
            operation.task.cancel()
            await asyncio.wait({operation.task}, timeout=STOP_S)

    async def cancel_elsewhere(self, record: OperationRecord) -> OperationRecord:
        """Has the server that runs it stop it. How it stands then. Raises: Unavailable (`busy`)."""
        if record.status is not OperationStatus.RUNNING:
            return record
        await self.kept.want_stop(record.id)
        return replace(record, message=f"it runs in another server, which stops it within about {BEAT_S:g} s")

    async def _stop_wanted(self) -> None:
        """Stops what other servers were asked to stop."""
        if not any(operation.kept for operation in self.running):
            return
        wanted = await self.kept.to_stop()
        await asyncio.gather(*[self.cancel(operation) for operation in self.running if operation.record.id in wanted])

    async def forget(self, operation: Operation) -> None:
        """It is no more, nor is its result."""
        self._known.pop(operation.record.id, None)
        await self.kept.remove_files(operation.record)

    async def follow(self) -> None:
        """Says in the store that this process lives, stops what is to be stopped and forgets what is over, until it is
        cancelled."""
        while True:
            await self._stop_wanted()
            for id_, operation in list(self._known.items()):
                if not operation.ended.is_set():
                    continue
                if self._is_over(operation.record) or (not operation.kept and len(self._known) > MAX_REMEMBERED):
                    await self.forget(operation)
                elif not operation.kept and operation.told:
                    await self._keep_answer(operation)  # there may be room, or the store, again
                    await self._put(operation)
                elif operation.kept and operation.answer is None:
                    del self._known[id_]  # the store remembers it
            await self.kept.sweep(self._known.keys(), self.limits.keep_s)
            await asyncio.sleep(BEAT_S)

    async def close(self) -> None:
        """Stops all, marks them `interrupted` and gives the folder back. Bounded."""
        self._closing = True
        self.kept.hurry()
        tasks = {operation.task for operation in self.running if operation.task is not None}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_S)
        for operation in self._known.values():
            if not operation.kept:
                await self.kept.remove_files(operation.record)  # nobody can ask for it again
        await self.kept.close()

    def _require_place(self, caller: Caller) -> None:
        running = self.running
        own = sum(operation.caller == caller for operation in running)
        limits = self.limits
        if not self._closing and len(running) < limits.max_running and own < limits.per_caller:
            return
        which = f"{own} of yours" if own >= limits.per_caller else str(len(running))
        key = "operations.per_caller" if own >= limits.per_caller else "operations.max_running"
        raise Unavailable(
            ErrorCode.BUSY,
            f"{which} operations run already, as many as may ({key})",
            "Nothing was started. Wait until one has ended, or stop one with cancel_operation.",
        )

    def _is_over(self, record: OperationRecord) -> bool:
        return record.ended_at is not None and record.ended_at < time.time() - self.limits.keep_s

    async def _run(self, operation: Operation, work: Work) -> None:
        """The task's boundary: whatever happens, the operation ends and its end is told."""
        operation.stage = "running"
        status, message = OperationStatus.SUCCEEDED, ""
        error: CallError | None = None
        try:
            operation.answer = await work(operation.report)
        except asyncio.CancelledError:
            status, message = (
                OperationStatus.CANCELLED,
                "stopped at its caller's wish; look whether its writes were done",
            )
            if self._closing:
                status, message = OperationStatus.INTERRUPTED, INTERRUPTED_MESSAGE
        except OutcomeUnknown as unknown:
            status = OperationStatus.INTERRUPTED if self._closing else OperationStatus.FAILED
            message, error = unknown.message, unknown
        except CallError as failure:
            status, message, error = OperationStatus.FAILED, failure.message, failure
        operation.record = replace(
            operation.record,
            status=status,
            message=message,
            error=None if error is None else _written(error),
            ended_at=time.time(),
        )
        ending = asyncio.create_task(self._end(operation))
        while not ending.done():
            with suppress(asyncio.CancelledError):  # what is left is short, bounded, and not to be cut off
                await asyncio.wait({ending})
        operation.ended.set()
        if operation.told and not self._closing:
            for ended in self.ended:
                await ended(operation)

    async def _end(self, operation: Operation) -> None:
        record = operation.record
        if record.status is OperationStatus.SUCCEEDED:
            if operation.spool is not None:
                rows = operation.spool.rows
                record = replace(record, rows=rows, done=rows, total=rows, message=f"{rows} rows")
            operation.record = record
            await self._keep_answer(operation)
        else:
            await self.kept.remove_files(record)
        if operation.told:
            await self._put(operation)

    async def _keep_answer(self, operation: Operation) -> None:
        if operation.answer is not None and await self.kept.write_answer(operation.record.id, operation.answer):
            operation.answer = None


def _stage(operation: Operation | None, record: OperationRecord) -> str:
    if record.status is not OperationStatus.RUNNING:
        return "ended"
    return "running" if operation is None else operation.stage


def _written(error: CallError) -> str:
    """The error with what stands beside it, as JSON that any reader takes: half a surrogate pair becomes `?`."""
    text = json.dumps({"error": error.as_dict(), **error.beside}, ensure_ascii=False, default=str)
    return text.encode(errors="replace").decode()
