"""`begin_transaction`: opens a transaction that further calls run in."""

from collections.abc import Mapping
from typing import Any

import orjson

from schema_mcp.caller import Caller
from schema_mcp.dialects.transactions import Isolation
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.tools.arguments import read_boolean, read_text, refuse_unknown, source_property
from schema_mcp.tools.base import Action, JsonSchema
from schema_mcp.tools.kinds.execute_sql import read_one_source
from schema_mcp.tools.target import ToolLimits
from schema_mcp.tools.times import iso
from schema_mcp.tools.transactions import BeginPlan, OpenTransaction
from schema_mcp.tools.values import shown
from schema_mcp.tools.view import CatalogView

#: Longest description, in characters.
MAX_DESCRIPTION = 200


class BeginTransactionTool:
    """The tool. Stateless."""

    name = "begin_transaction"
    action = Action.TRANSACTION
    title = "Begin a transaction"
    description = (
        "Open a transaction; pass its transaction_id to other tools to run in it. Nothing of it lasts until "
        "commit_transaction. A call that fails in it undoes itself alone. Idle for too long, it is rolled back."
    )

    def input_schema(self, limits: ToolLimits) -> JsonSchema:
        """Nothing is required, unless there are several sources."""
        source = source_property(limits.sources)
        return {
            "type": "object",
            "properties": {
                "isolation": {"type": "string", "enum": [str(each) for each in Isolation]},
                "read_only": {"type": "boolean"},
                "description": {"type": "string", "description": "What it is for; server_status shows it."},
                **source,
            },
            **({"required": list(source)} if source else {}),
            "additionalProperties": False,
        }

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> BeginPlan:
        """The server opens it. Raises: InvalidArgument."""
        refuse_unknown(arguments, ("isolation", "read_only", "description", *source_property(view.limits.sources)))
        description = read_text(arguments, "description") or ""
        if len(description) > MAX_DESCRIPTION:
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT,
                f"'description' has {len(description)} characters, and at most {MAX_DESCRIPTION} are taken",
                "Say it in a few words.",
            )
        return BeginPlan(
            source=read_one_source(view, arguments),
            isolation=_read_isolation(arguments),
            read_only=read_boolean(arguments, "read_only"),
            description=description,
            answer=_answer,
        )


def _read_isolation(arguments: Mapping[str, Any]) -> Isolation | None:
    given = read_text(arguments, "isolation")
    if given is None:
        return None
    try:
        return Isolation(" ".join(given.lower().replace("_", " ").split()))
    except ValueError:
        raise InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            f"'isolation' takes one of {', '.join(Isolation)}, got {shown(given)}",
            "Leave it out for what is usual for the database.",
        ) from None


def _answer(opened: OpenTransaction) -> bytes:
    return orjson.dumps(
        {
            "transaction_id": opened.id,
            "source": opened.source,
            "isolation": str(opened.isolation),
            "read_only": opened.read_only,
            "idle_timeout_s": opened.idle_timeout_s,
            "max_age_s": opened.max_age_s,
            "expires_at": iso(opened.ends_at),
        }
    )
