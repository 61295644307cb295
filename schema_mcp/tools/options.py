"""How a call is to be run: arguments that every tool which runs statements takes beside its own. Pure.

They are taken off before a kind plans, so that no kind knows of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.tools.arguments import read_text
from schema_mcp.tools.base import Action, JsonSchema
from schema_mcp.tools.values import shown

#: The setting that bounds a call which is no operation.
CALL_LIMIT = "limits.call_timeout_s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a call is. `done`: rows so far, or calls of a batch; `total`: of them in all, roughly, where it is known.

    A call that is tried once more begins anew: the greatest `done` is what may be told. `worth_telling`: also where the
    call may be over in a moment.
    """

    done: int
    total: int | None = None
    message: str = ""
    worth_telling: bool = True


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


#: Bytes that each call of a batch has for its rows, however much the calls before it have taken.
LEAST_BYTES = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """`timeout_s`: of the whole call, where that is less than the server allows. `report`: None: nobody listens.

    `client`: whom calls take turns by (`execute.queue`); None: all of whom nothing is known. `left_s`: what is left of
    the time of a call that this one is part of, and `left_bytes` of its answer. `transaction_id`: of the open
    transaction that the call is to run in. `sink`: where the rows of a query go; None: into its answer.
    """

    timeout_s: float | None = None
    report: Report | None = None
    client: str | None = None
    left_s: float | None = None
    left_bytes: int | None = None
    transaction_id: str | None = None
    sink: RowSink | None = None

    def call_timeout_s(self, most_s: float) -> float:
        """Seconds that the call may take; `most_s` is what the server allows."""
        return min([most_s, *(limit_s for limit_s in (self.timeout_s, self.left_s) if limit_s is not None)])

    def max_bytes(self, most: int) -> int:
        """Bytes that the rows of the call's answer may have; `most` is what the server allows."""
        return most if self.left_bytes is None else min(most, max(LEAST_BYTES, self.left_bytes))

    def limit(self, most_s: float, setting: str = CALL_LIMIT) -> str:
        """What has set `call_timeout_s`, for messages. `setting`: what has set `most_s`."""
        limit_s = self.call_timeout_s(most_s)
        if limit_s == self.left_s:
            return "what was left of its batch"
        return "timeout_s" if limit_s == self.timeout_s else setting


#: Nothing was asked for.
PLAIN = CallOptions()

#: No call takes longer, whatever it asks for: an integer may have more digits than a float can hold.
_LONGEST_S = 1e9

#: What tools do that take options: they run statements of their caller's.
_TAKING = frozenset(
    {Action.READ, Action.INSERT, Action.UPDATE, Action.DELETE, Action.BATCH, Action.SQL, Action.EXPLAIN}
)
#: In the input schema of every tool that takes them.
OPTION_PROPERTIES: Mapping[str, JsonSchema] = {
    "timeout_s": {"type": "number"},
    "transaction_id": {"type": "string"},
}


def takes_options(action: Action) -> bool:
    """Whether tools with that action take them."""
    return action in _TAKING


def with_options(action: Action, schema: JsonSchema) -> JsonSchema:
    """The input schema of a tool with that action, with what it takes of them."""
    if not takes_options(action):
        return schema
    return {**schema, "properties": {**schema["properties"], **OPTION_PROPERTIES}}


def read_options(
    arguments: Mapping[str, Any], given: CallOptions, most_s: float, setting: str
) -> tuple[CallOptions, Mapping[str, Any]]:
    """What the arguments say of how to run the call, beside what is `given`, and the other arguments.

    `most_s`: what the server allows a call, by that setting. Raises: InvalidArgument.
    """
    if OPTION_PROPERTIES.keys().isdisjoint(arguments):
        return given, arguments
    rest = {name: value for name, value in arguments.items() if name not in OPTION_PROPERTIES}
    timeout_s = _read_timeout(arguments.get("timeout_s"), most_s, setting)
    return replace(given, timeout_s=timeout_s, transaction_id=read_text(arguments, "transaction_id")), rest


def within(arguments: Mapping[str, Any], options: CallOptions) -> Mapping[str, Any]:
    """The arguments of a call of a batch, in the transaction that the batch was sent in.

    Raises: InvalidArgument where they name another, or one and the batch none.
    """
    if options.transaction_id is None and arguments.get("transaction_id") is None:
        return arguments
    if arguments.get("transaction_id", options.transaction_id) != options.transaction_id:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            "'transaction_id' of a call is not that of the batch it is in",
            "Name the transaction once, beside 'calls'.",
        )
    return {**arguments, "transaction_id": options.transaction_id}


def _read_timeout(given: Any, most_s: float, setting: str) -> float | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not given > 0:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'timeout_s' takes a number of seconds above 0, got {shown(given)}",
            f"Leave it out for the server's own limit, {most_s:g} s ({setting}).",
        )
    if given > most_s:
        longer = "; start_operation is for work that takes longer" if setting == CALL_LIMIT else ""
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'timeout_s' is at most {most_s:g} here ({setting}), got {shown(given)}",
            f"Give at most {most_s:g}, or ask for less{longer}.",
            details={"timeout_s": most_s},
        )
    return float(min(given, _LONGEST_S))
