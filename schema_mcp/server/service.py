"""What the protocol layer needs of the rest of the program, and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Protocol

from schema_mcp.caller import Caller
from schema_mcp.state.operations import OperationStatus
from schema_mcp.tools.base import ToolSpec
from schema_mcp.tools.options import Report


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """The answer of a tool call: one JSON object, and whether it tells of a failure. `meta`: what `_meta` is to say."""

    json: bytes
    is_error: bool
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """A call that has become a task. Times are seconds since 1970; `ttl_ms` counts from `created_at`; None: not known.

    `answer`: of one that has ended with one, be it an error's.
    """

    id: str
    status: OperationStatus
    message: str
    created_at: float
    updated_at: float
    ttl_ms: int | None
    answer: ToolAnswer | None


class UnknownToolError(Exception):
    """No tool of that name is served, nor was in this process: JSON-RPC -32602."""


class TaskService(Protocol):
    """Calls that may become tasks, and these."""

    async def call(
        self, name: str, arguments: Mapping[str, Any], caller: Caller, report: Report | None = None
    ) -> ToolAnswer | TaskState:
        """As `ToolService.call`, or the task that a call has become which takes long."""
        ...

    async def task(self, id_: str, caller: Caller) -> TaskState:
        """How it stands. Raises: CallError (`unknown_operation`)."""
        ...

    async def cancel_task(self, id_: str, caller: Caller) -> None:
        """Has it stopped. Raises: CallError (`unknown_operation`)."""
        ...


class ToolService(Protocol):
    """Lists and calls tools. Every call keeps the catalog it began with."""

    #: How long a client may keep a list without asking again, in milliseconds.
    list_ttl_ms: int
    #: What a client is told about the server as a whole.
    instructions: str
    #: Calls as tasks; None where there are none.
    tasks: TaskService | None

    async def tools(self, caller: Caller) -> Sequence[ToolSpec]:
        """The tools this caller is offered, in a fixed order."""
        ...

    def forget(self, session: str) -> None:
        """The session has ended, and with it what was kept for it."""
        ...

    async def call(
        self, name: str, arguments: Mapping[str, Any], caller: Caller, report: Report | None = None
    ) -> ToolAnswer:
        """Runs a tool. Failures of every kind come back as an answer with `is_error`. `report`: told how far it is.

        Raises: UnknownToolError; asyncio.CancelledError once nothing of the call runs any more.
        """
        ...


def version() -> str:
    """This program's."""
    try:
        return metadata.version("schema-mcp")
    except metadata.PackageNotFoundError:  # run from a source tree that was never installed
        return "0+source"
