"""What the protocol layer needs of the rest of the program, and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from schema_mcp.caller import Caller
from schema_mcp.tools.base import ToolSpec
from schema_mcp.tools.options import Report


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """The answer of a tool call: one JSON object, and whether it tells of a failure. `meta`: what `_meta` is to say."""

    json: bytes
    is_error: bool
    meta: Mapping[str, Any] = field(default_factory=dict)


class UnknownToolError(Exception):
    """No tool of that name is served, nor was in this process: JSON-RPC -32602."""


class ToolService(Protocol):
    """Lists and calls tools. Every call keeps the catalog it began with."""

    #: How long a client may keep a list without asking again, in milliseconds.
    list_ttl_ms: int
    #: What a client is told about the server as a whole.
    instructions: str

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
