"""Reading arguments strictly: an unknown one is refused, never dropped, because a dropped filter means "all rows"."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.tools.naming import near
from schema_mcp.tools.values import shown


def refuse_unknown(arguments: Mapping[str, Any], known: Collection[str], place: str = "") -> None:
    """Raises: InvalidArgument (`unknown_argument`) for the first name that is not known."""
    for name in arguments:
        if name not in known:
            where = f" in '{place}'" if place else ""
            raise InvalidArgument(
                ErrorCode.UNKNOWN_ARGUMENT,
                f"unknown argument '{str(name)[:100]}'{where}.{near(str(name), known)}",
                f"Known: {', '.join(known)}.",
            )


def read_list(arguments: Mapping[str, Any], name: str) -> list[Any] | None:
    """The array of that name; None when it is missing or null."""
    given = arguments.get(name)
    if given is None or isinstance(given, list):
        return given
    raise _wrong(name, "an array", given)


def read_object(arguments: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """The object of that name; None when it is missing or null."""
    given = arguments.get(name)
    if given is None or isinstance(given, dict):
        return given
    raise _wrong(name, "an object", given)


def read_text(arguments: Mapping[str, Any], name: str) -> str | None:
    """The string of that name; None when it is missing or null."""
    given = arguments.get(name)
    if given is None or isinstance(given, str):
        return given
    raise _wrong(name, "a string", given)


def read_boolean(arguments: Mapping[str, Any], name: str) -> bool:
    """Whether it is true; false when it is missing or null."""
    given = arguments.get(name)
    if given is None or isinstance(given, bool):
        return bool(given)
    raise _wrong(name, "true or false", given)


def read_limit(arguments: Mapping[str, Any], name: str, default: int, maximum: int) -> int:
    """A number of rows between 1 and `maximum`; `default` when it is missing or null."""
    given = arguments.get(name)
    if given is None:
        return min(default, maximum)
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int):
        raise _wrong(name, "an integer", given)
    if not 1 <= given <= maximum:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'{name}' takes an integer from 1 to {maximum}, got {shown(given)}",
            f"Ask for 1 to {maximum} at a time.",
        )
    return given


def source_property(sources: Sequence[str]) -> Mapping[str, Any]:
    """The property `source` of an input schema, where there is more than one to choose from; else nothing."""
    return {"source": {"type": "string", "enum": list(sources)}} if len(sources) > 1 else {}


def read_source(arguments: Mapping[str, Any], sources: Sequence[str]) -> str | None:
    """The source that `source` names; None when it is missing or null. Raises: InvalidArgument (`unknown_source`)."""
    given = read_text(arguments, "source")
    if given is not None and given not in sources:
        raise InvalidArgument(
            ErrorCode.UNKNOWN_SOURCE,
            f"there is no source '{given[:100]}'.{near(given, sources)}",
            f"Sources: {', '.join(sources)}.",
        )
    return given


def _wrong(name: str, takes: str, given: Any) -> InvalidArgument:
    return InvalidArgument(
        ErrorCode.INVALID_ARGUMENT, f"'{name}' takes {takes}, got {shown(given)}", f"Send '{name}' as {takes}."
    )
