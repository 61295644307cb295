"""What the rooms are given of the settings: the one place that knows both the keys and what becomes of them. Pure."""

from dataclasses import replace
from types import MappingProxyType

from schema_mcp.catalog.surface import Surface
from schema_mcp.config.model import Settings
from schema_mcp.config.rules import parse_rule
from schema_mcp.dialects.base import SessionLimits
from schema_mcp.execute.cache import CacheLimits
from schema_mcp.execute.operations import OperationLimits
from schema_mcp.execute.perform import ExecutionLimits
from schema_mcp.execute.queue import QueueLimits
from schema_mcp.execute.transactions import TransactionLimits
from schema_mcp.security.policy import AccessMode, Policy, SqlMode
from schema_mcp.tools.base import LimitsInForce
from schema_mcp.tools.target import ToolLimits

#: Seconds after which the database ends an idle transaction that the server should have ended before.
IDLE_SLACK_S = 5.0


def policy(settings: Settings) -> Policy:
    """Who may do what."""
    return Policy(
        mode=AccessMode(settings.access.mode),
        sql=SqlMode(settings.access.sql),
        rules=tuple(parse_rule(rule) for rule in settings.access.rules),
        masks=MappingProxyType({source.name: source.mask_columns for source in settings.served}),
    )


def readable(settings: Settings) -> str:
    """What decides which values callers may see: the same text for the same rules."""
    shown = [
        (source.name, source.include, source.exclude, source.hide_columns, source.mask_columns)
        for source in settings.served
    ]
    return repr((settings.access.rules, settings.access.sql == "off", sorted(shown)))


def surface(settings: Settings) -> Surface:
    """What is listed."""
    return Surface(
        kind=settings.tools.surface,
        max_listed=settings.tools.max_listed,
        pin=settings.tools.pin,
        groups=frozenset(settings.tools.groups),
    )


def tool_limits(settings: Settings) -> ToolLimits:
    """What a call may ask for."""
    return ToolLimits(
        default_limit=settings.results.default_limit,
        max_rows=settings.results.max_rows,
        include_rows=settings.results.include_rows,
        max_filters=settings.limits.filters,
        max_insert_rows=settings.limits.insert_rows,
        max_affected_rows=settings.access.max_affected_rows,
        max_bytes=settings.results.max_bytes,
        sources=tuple(source.name for source in settings.served),
    )


def limits_in_force(settings: Settings) -> LimitsInForce:
    """What clients are told of the limits."""
    return LimitsInForce(
        mode=settings.access.mode,
        max_rows=settings.results.max_rows,
        call_timeout_s=settings.limits.call_timeout_s,
        statement_timeout_s=settings.limits.statement_timeout_s,
        lock_timeout_s=settings.limits.lock_timeout_s,
    )


def execution_limits(settings: Settings) -> ExecutionLimits:
    """What a call may take."""
    return ExecutionLimits(
        statement_timeout_s=settings.limits.statement_timeout_s,
        call_timeout_s=settings.limits.call_timeout_s,
        max_bytes=settings.results.max_bytes,
        lock_timeout_s=settings.limits.lock_timeout_s,
        idempotency_keep_s=settings.state.idempotency_keep_s,
        attempts=settings.retry.attempts,
    )


def cache_limits(settings: Settings) -> CacheLimits:
    """How long and how many answers are kept."""
    return CacheLimits(
        ttl_s=settings.cache.ttl_s, max_entries=settings.cache.max_entries, max_bytes=settings.cache.max_bytes
    )


def queue_limits(settings: Settings) -> QueueLimits:
    """How many calls may have, and wait for, a connection."""
    return QueueLimits(concurrent_calls=settings.limits.concurrent_calls, queued_calls=settings.limits.queued_calls)


def operation_limits(settings: Settings) -> OperationLimits:
    """How many operations may run, and how large their results may be."""
    given = settings.operations
    return OperationLimits(
        max_running=given.max_running,
        per_caller=given.per_caller,
        max_rows=given.max_rows,
        max_result_bytes=given.max_result_bytes,
        max_kept_bytes=given.max_kept_bytes,
        keep_s=given.keep_s,
    )


def operation_execution_limits(settings: Settings) -> ExecutionLimits:
    """What the call of an operation may take."""
    max_s = settings.operations.max_s
    return replace(
        execution_limits(settings),
        statement_timeout_s=max_s,
        call_timeout_s=max_s,
        call_limit="operations.max_s",
        statement_limit="operations.max_s",
    )


def operation_session_limits(settings: Settings) -> SessionLimits:
    """As `session_limits`, for sessions that operations use."""
    return replace(session_limits(settings), statement_timeout_s=settings.operations.max_s)


def operation_sql_session_limits(settings: Settings) -> SessionLimits:
    """As `sql_session_limits`, for sessions that operations use."""
    return replace(operation_session_limits(settings), read_only=not policy(settings).sql_writes)


def session_limits(settings: Settings) -> SessionLimits:
    """How the database itself holds sessions to it."""
    return SessionLimits(
        statement_timeout_s=settings.limits.statement_timeout_s,
        lock_timeout_s=settings.limits.lock_timeout_s,
        idle_in_transaction_timeout_s=settings.limits.call_timeout_s,
        read_only=policy(settings).engine_read_only,
    )


def transaction_session_limits(settings: Settings) -> SessionLimits:
    """The same for sessions whose transactions stay open: the database ends what is idle, should the server be gone."""
    return replace(
        session_limits(settings), idle_in_transaction_timeout_s=settings.transactions.idle_timeout_s + IDLE_SLACK_S
    )


def transaction_limits(settings: Settings) -> TransactionLimits:
    """How many transactions may be open, and for how long."""
    return TransactionLimits(
        idle_timeout_s=settings.transactions.idle_timeout_s,
        max_age_s=settings.transactions.max_age_s,
        per_session=settings.transactions.per_session,
        size=settings.pool.transaction_size,
    )


def sql_session_limits(settings: Settings) -> SessionLimits:
    """The same for sessions that run a caller's own SQL."""
    return replace(session_limits(settings), read_only=not policy(settings).sql_writes)
