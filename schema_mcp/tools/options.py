"""How a call is to be run: arguments that every tool which runs statements takes beside its own. Pure.

They are taken off before a kind plans, so that no kind knows of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.tools.base import Action, JsonSchema
from schema_mcp.tools.values import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a call is. `done`: rows so far, never falling; `total`: rows in all, roughly, where it is known."""

    done: int
    total: int | None = None
    message: str = ""


#: Told of progress as often as there is some; must not block. Whoever passes it on sees to how often that is.
Report: TypeAlias = Callable[[Progress], None]


class RowSink(Protocol):
    """Takes the rows of a query instead of its answer. `max_rows`: it never asks for more."""

    max_rows: int

    @property
    def room(self) -> int:
        """How many bytes more it takes."""
        ...

    def begin(self) -> None:
        """The first row comes next, whatever came before."""
        ...

    def write(self, rows: Sequence[bytes]) -> None:
        """Takes these too, JSON objects. Blocks; for a thread."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """`timeout_s`: of the whole call, where that is less than the server allows. `report`: None: nobody listens.

    `sink`: where the rows of a query go; None: into its answer.
    """

    timeout_s: float | None = None
    report: Report | None = None
    sink: RowSink | None = None

    def call_timeout_s(self, most_s: float) -> float:
        """Seconds that the call may take; `most_s` is what the server allows."""
        return most_s if self.timeout_s is None else min(self.timeout_s, most_s)


#: Nothing was asked for.
PLAIN = CallOptions()

#: What tools do that take options: they run statements of their caller's.
_TAKING = frozenset(
    {Action.READ, Action.INSERT, Action.UPDATE, Action.DELETE, Action.BATCH, Action.SQL, Action.EXPLAIN}
)
#: In the input schema of every tool that takes them.
OPTION_PROPERTIES: Mapping[str, JsonSchema] = {"timeout_s": {"type": "number"}}


def takes_options(action: Action) -> bool:
    """Whether tools with that action take them."""
    return action in _TAKING


def with_options(action: Action, schema: JsonSchema) -> JsonSchema:
    """The input schema of a tool with that action, with what it takes of them."""
    if not takes_options(action):
        return schema
    return {**schema, "properties": {**schema["properties"], **OPTION_PROPERTIES}}


def read_options(arguments: Mapping[str, Any], report: Report | None) -> tuple[CallOptions, Mapping[str, Any]]:
    """What the arguments say of how to run the call, and the others. Raises: InvalidArgument."""
    if OPTION_PROPERTIES.keys().isdisjoint(arguments):
        return (PLAIN if report is None else CallOptions(report=report)), arguments
    rest = {name: value for name, value in arguments.items() if name not in OPTION_PROPERTIES}
    return CallOptions(timeout_s=_read_timeout(arguments.get("timeout_s")), report=report), rest


def _read_timeout(given: Any) -> float | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not given > 0:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'timeout_s' takes a number of seconds above 0, got {shown(given)}",
            "Leave it out for the server's own limit (limits.call_timeout_s).",
        )
    return float(given)
