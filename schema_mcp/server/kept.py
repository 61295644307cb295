"""Which calls may be answered from the cache of results, and under which key an answer is kept.

Alone, in no transaction, reading, without anything that the call would leave behind. The key is all that an answer can
depend on: who asks (its cursor is bound to that), the catalog, the tool, the arguments, and the statements that came of
them, into which go what a session has set.
"""

import hashlib
import json
from collections.abc import Hashable, Mapping
from typing import Any

from schema_mcp.caller import Caller
from schema_mcp.tools.base import Action, StatementPlan
from schema_mcp.tools.options import CallOptions


def may_be_kept(plan: StatementPlan, options: CallOptions) -> bool:
    """Whether the call's answer may come from the cache and go into it."""
    alone = options.left_s is None and options.transaction_id is None
    return alone and plan.action is Action.READ and not plan.writes and plan.once is None


def key_of(caller: Caller, generation: int, tool: str, arguments: Mapping[str, Any], plan: StatementPlan) -> Hashable:
    """Equal for two calls only if one answer serves both."""
    statements = [(statement.sql, statement.values) for statement in (*plan.statements, plan.total) if statement]
    text = json.dumps([dict(arguments), statements], sort_keys=True, default=repr)
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=20).digest()
    return caller, generation, tool, digest
