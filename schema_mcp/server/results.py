"""From the service's words to the protocol's: answers, failures and defects as members of MCP results.

Everything here is a pure function. The result objects are plain dicts: the SDK stamps the rest of the envelope.
"""

import json
import traceback
from typing import Any

import orjson
from pydantic_core import from_json

from schema_mcp.errors import CallError, ErrorCode
from schema_mcp.observe.events import InternalFailure
from schema_mcp.server.service import ToolAnswer

#: What a caller is told of a defect: nothing of the exception, whose text may hold values or secrets.
INTERNAL_ERROR = CallError(
    ErrorCode.INTERNAL_ERROR,
    "the server met a defect of its own while answering; nothing of the cause is shown here",
    "Try once more; if it happens again, the server's log on stderr holds the place of the defect.",
)


def tool_result(answer: ToolAnswer, *, structured: bool) -> dict[str, Any]:
    """The members of a `CallToolResult`: the answer's JSON as text and, where asked for, the same as an object.

    Raises: ValueError if the answer is no JSON object.
    """
    text = answer.json.decode()
    result: dict[str, Any] = {"content": [{"type": "text", "text": text}]}
    if structured and (parsed := _parsed(answer.json)) is not None:
        result["structuredContent"] = parsed
    result["isError"] = answer.is_error
    return result


def _parsed(document: bytes) -> dict[str, Any] | None:
    """The object, integers of any size kept whole. None where the wire could not carry it as one: a stored JSON value
    with half a surrogate pair, deeper than 200 levels or with a number of thousands of digits. The text is exact then.
    """
    try:
        parsed = from_json(document)
    except ValueError:
        json.loads(document)  # a broken document is a defect, not a document that is hard to carry
        return None
    if not isinstance(parsed, dict):
        raise ValueError("an answer is a JSON object")
    return parsed


def error_answer(error: CallError) -> ToolAnswer:
    """The answer that tells of `error`, in the shape of DESIGN section 4."""
    try:
        document = orjson.dumps({"error": error.as_dict(), **error.beside})
    except TypeError:  # a call may name a column, or whatever else, with half a surrogate pair
        written = json.dumps({"error": error.as_dict(), **error.beside}, ensure_ascii=False)
        document = written.encode(errors="replace")
    return ToolAnswer(json=document, is_error=True)


def internal_failure(where: str, defect: BaseException) -> InternalFailure:
    """Classes and frames of the exception and of its causes. No exception's text: it may hold a value."""
    parts: list[str] = []
    seen: set[int] = set()
    cause: BaseException | None = defect
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        name = f"{type(cause).__module__}.{type(cause).__qualname__}"
        parts.append(f"{name}\n{''.join(traceback.format_tb(cause.__traceback__))}")
        if isinstance(cause, BaseExceptionGroup):
            parts.extend(f"  with {internal_failure(where, member).traceback}" for member in cause.exceptions)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return InternalFailure(where=where, traceback="caused by ".join(parts))
