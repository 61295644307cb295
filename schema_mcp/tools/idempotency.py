"""The argument `idempotency_key`: what a call is known by when it comes again."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from schema_mcp.caller import Caller
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.state.keys import Once
from schema_mcp.tools.arguments import read_text

ARGUMENT = "idempotency_key"
MAX_CHARACTERS = 200


def read_once(tool: str, arguments: Mapping[str, Any], caller: Caller) -> Once | None:
    """None without a key. `tool`: the same for a table's own tool and its generic twin. Raises: InvalidArgument."""
    key = read_text(arguments, ARGUMENT)
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_CHARACTERS or not key.isprintable():
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'{ARGUMENT}' takes 1 to {MAX_CHARACTERS} characters that can be printed",
            "A UUID made for this call will do; send it again only to repeat the same call.",
        )
    rest = {name: value for name, value in arguments.items() if name != ARGUMENT and value is not None}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    return Once(principal=caller.principal or "", tool=tool, key=key, digest=digest)
