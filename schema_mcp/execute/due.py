"""When the time of an open transaction is over, and what its owner is told of it then.

Pure.
"""

from schema_mcp.tools.transactions import OpenTransaction


def due(facts: OpenTransaction, began: float, idle_since: float | None) -> tuple[float, str]:
    """By the clock of `began` and `idle_since`; the latter is None while a call runs: then it is not idle."""
    too_old = began + facts.max_age_s
    if idle_since is None or idle_since + facts.idle_timeout_s >= too_old:
        return too_old, f"it was rolled back {facts.max_age_s:g} s after it had begun (transactions.max_age_s)"
    return (
        idle_since + facts.idle_timeout_s,
        f"it was rolled back after {facts.idle_timeout_s:g} s in which nothing was called in it "
        "(transactions.idle_timeout_s)",
    )
