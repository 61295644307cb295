"""The answer of a query: rows with what there is to say of them, as the JSON object of DESIGN section 4. Pure."""

from typing import Any

import orjson

from schema_mcp.tools.base import Result
from schema_mcp.tools.count import Total
from schema_mcp.tools.target import Target


def page(target: Target, result: Result, total: Total | None, *, cursor: str | None, hint: str | None) -> bytes:
    """The rows are put in as they came; `cursor` and `hint` are those of a page that more follow."""
    members = [
        b'"table":' + orjson.dumps(target.display),
        b'"rows":[' + b",".join(result.rows) + b"]",
        b'"row_count":%d' % len(result.rows),
        b'"truncated":' + orjson.dumps(result.truncated),
        b'"next_cursor":' + orjson.dumps(cursor),
    ]
    further: dict[str, Any] = {} if total is None else total.members()
    further["schema_version"] = result.generation
    if hint:
        further["hint"] = hint
    if result.cut_columns:
        further["cut_columns"] = result.cut_columns
    members += [orjson.dumps(name) + b":" + orjson.dumps(value) for name, value in further.items()]
    return b"{" + b",".join(members) + b"}"
