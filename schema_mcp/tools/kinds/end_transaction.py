"""`commit_transaction` and `rollback_transaction`: what calls did in a transaction lasts, or is undone."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import orjson

from schema_mcp.caller import Caller
from schema_mcp.errors import ErrorCode, InvalidArgument
from schema_mcp.schema.model import TableName
from schema_mcp.tools.arguments import read_text, refuse_unknown
from schema_mcp.tools.base import Action, JsonSchema
from schema_mcp.tools.target import ToolLimits
from schema_mcp.tools.transactions import EndedTransaction, EndPlan, Operation
from schema_mcp.tools.view import CatalogView


class EndTransactionTool:
    """Either of the two. Stateless."""

    def __init__(self, name: str, action: Action, title: str, description: str) -> None:
        self.name = name
        self.action = action
        self.title = title
        self.description = description

    def input_schema(self, limits: ToolLimits) -> JsonSchema:
        """Which transaction."""
        return {
            "type": "object",
            "properties": {"transaction_id": {"type": "string"}},
            "required": ["transaction_id"],
            "additionalProperties": False,
        }

    def plan(self, view: CatalogView, arguments: Mapping[str, Any], caller: Caller) -> EndPlan:
        """The server ends it. Raises: InvalidArgument."""
        refuse_unknown(arguments, ("transaction_id",))
        given = read_text(arguments, "transaction_id")
        if given is None:
            raise InvalidArgument(
                ErrorCode.MISSING_ARGUMENT,
                "'transaction_id' is needed: which transaction is to end",
                "begin_transaction answers it, and server_status tells those that are open.",
            )
        return EndPlan(id=given, commit=self.action is Action.COMMIT, answer=partial(_answer, view))


COMMIT = EndTransactionTool(
    "commit_transaction",
    Action.COMMIT,
    "Commit a transaction",
    "Make everything that was done in the transaction last, and end it. Answers what was done.",
)
ROLLBACK = EndTransactionTool(
    "rollback_transaction",
    Action.TRANSACTION,
    "Roll a transaction back",
    "Undo everything that was done in the transaction, and end it. Answers what is undone.",
)


def told_operations(view: CatalogView, operations: Iterable[Operation]) -> list[dict[str, Any]]:
    """What was done, an object for each kind of tool and table."""
    told: list[dict[str, Any]] = []
    for done in operations:
        table = {} if done.table is None else {"table": _display(view, done.table)}
        told.append({"tool": done.tool, **table, "calls": done.calls, "rows": done.rows})
    return told


def _display(view: CatalogView, table: TableName) -> str:
    target = view.targets.get(table)
    return table.name if target is None else target.display


def _answer(view: CatalogView, ended: EndedTransaction) -> bytes:
    return orjson.dumps(
        {
            "transaction_id": ended.id,
            "outcome": "committed" if ended.committed else "rolled_back",
            "operations": told_operations(view, ended.operations),
            "calls": sum(done.calls for done in ended.operations),
            "rows": sum(done.rows for done in ended.operations),
            "duration_ms": round(ended.duration_ms, 1),
        }
    )
