"""The log: one line on stderr for each observation, with its level. stdout belongs to the protocol."""

import logging
import sys

from schema_mcp.observe.events import (
    CallFinished,
    CallRetried,
    CatalogRead,
    CatalogReadFailed,
    CatalogReplaced,
    HistoryKept,
    HistoryUnavailable,
    InternalFailure,
    ListChangedSent,
    ListCosts,
    ListeningChanged,
    Observation,
    ReadingPostponed,
    RelationsLeftOut,
    RoleExceeds,
    ServerStarted,
    ServerStopped,
    SettingsRefused,
    SettingsReread,
)

logger = logging.getLogger("schema_mcp")


def configure(level: str) -> None:
    """Sends every log line of the process to stderr, this program's from `level` on, libraries' from warning on."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    logger.setLevel(level.upper())
    # APScheduler warns when a tick finds the one before still waiting to run; the watcher bounds that itself.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


def log(observation: Observation) -> None:
    """Writes one observation."""
    level, text = _line(observation)
    logger.log(level, text)


def _line(observation: Observation) -> tuple[int, str]:
    match observation:
        case ServerStarted(transport=transport, address=address):
            return logging.INFO, f"serving on {transport}{' at ' + address if address else ''}"
        case ServerStopped(reason=reason):
            return logging.INFO, f"stopped: {reason}"
        case CatalogRead(source=source, tables=tables, changed=changed, duration_ms=duration_ms):
            state = "changed" if changed else "unchanged"
            return logging.DEBUG, f"read the schema of '{source}' in {duration_ms:.0f} ms: {tables} tables, {state}"
        case CatalogReadFailed(message=message, retry_in_s=retry_in_s):
            return logging.WARNING, f"{message} (the last good schema stays; next try within {retry_in_s:.1f} s)"
        case ReadingPostponed(source=source, tables=tables):
            return logging.INFO, f"'{source}': locked by somebody, read later: {', '.join(tables)}"
        case RelationsLeftOut(source=source, relations=relations):
            names = _names(relations)
            return logging.WARNING, f"'{source}': not served, for the database itself cannot describe it: {names}"
        case RoleExceeds(source=source):
            return logging.WARNING, f"'{source}': {observation.message}"
        case ListeningChanged(source=source, listening=listening):
            state = "are told at once by the database" if listening else "are found by the poll alone"
            return logging.INFO, f"changes of the schema of '{source}' {state}"
        case HistoryKept(where=where):
            return logging.INFO, f"changes of the schema are recorded in {where}"
        case HistoryUnavailable(where=where, reason=reason, hint=hint):
            return logging.WARNING, f"no history is kept in {where}: {reason}. {hint} Everything else goes on."
        case CatalogReplaced():
            return logging.INFO, _replaced(observation)
        case SettingsReread(changed=changed, later=later):
            return logging.INFO, f"read the configuration again: {_reread(changed, later)}"
        case SettingsRefused(mistakes=mistakes):
            return logging.WARNING, f"the configuration cannot be used, the last good one stays: {'; '.join(mistakes)}"
        case ListCosts(surface=surface, listed_tools=tools, listed_bytes=size, others=others):
            cost = "; ".join(f'"{name}": {count} tools, {_tokens(bytes_)}' for name, count, bytes_ in others)
            now = f"{tools} tools, {_tokens(size)}"
            return logging.INFO, f'what a model pays for the list, tools.surface = "{surface}": {now} ({cost})'
        case ListChangedSent(sessions=sessions, dropped=dropped):
            lost = f", {dropped} did not take it" if dropped else ""
            return logging.INFO, f"told clients that the list of tools changed ({sessions} sessions{lost})"
        case CallRetried(source=source, attempt=attempt, code=code, sqlstate=sqlstate, wait_ms=wait_ms):
            why = f"{code}, {sqlstate}" if sqlstate else code
            return (
                logging.DEBUG,
                f"'{source}': try {attempt} of a call failed ({why}), the next one in {wait_ms:.0f} ms",
            )
        case CallFinished(tool=tool, duration_ms=duration_ms, rows=rows, code=code):
            return logging.DEBUG, f"{tool}: {code or f'{rows} rows'} in {duration_ms:.1f} ms"
        case InternalFailure(where=where, traceback=traceback):
            return logging.ERROR, f"internal failure in {where}\n{traceback}"


def _replaced(observation: CatalogReplaced) -> str:
    cost = f"{observation.listed_tools} tools, {_tokens(observation.listed_bytes)}"
    parts = [
        f"{word} {_names(names)}"
        for word, names in (
            ("added", observation.added),
            ("removed", observation.removed),
            ("changed", observation.changed),
        )
        if names
    ]
    return f"schema {observation.generation}: {'; '.join(parts) or _NO_TABLES} ({cost})"


def _reread(changed: tuple[str, ...], later: tuple[str, ...]) -> str:
    parts = [
        f"{word}: {', '.join(keys)}" for word, keys in (("changed", changed), ("at the next start", later)) if keys
    ]
    return "; ".join(parts) or "nothing differs"


#: At the first reading, where most often it is the configuration.
_NO_TABLES = "no table that the role may use in the schemas served (database.schemas, else those of its search path)"


def _tokens(size: int) -> str:
    return f"{size / 1000:.1f} kB, about {size / 4:,.0f} tokens"


def _names(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more
