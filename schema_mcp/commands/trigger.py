"""`schema-mcp trigger show|install|uninstall`: the opt-in triggers that tell of DDL at once, and of rows of tables."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from schema_mcp.app_source import url_of
from schema_mcp.config.model import SOURCE, Settings
from schema_mcp.dialects.base import SessionLimits
from schema_mcp.dialects.choose import choose_dialect
from schema_mcp.errors import SchemaMcpError, UsageError
from schema_mcp.execute.engines import Database

#: By whether it is for rows, and the action.
_SCRIPTS = {
    (False, "show"): "ddl_notify.sql",
    (False, "install"): "ddl_notify.sql",
    (False, "uninstall"): "ddl_notify_uninstall.sql",
    (True, "show"): "row_trigger.sql",
    (True, "install"): "row_trigger.sql",
    (True, "uninstall"): "row_trigger_uninstall.sql",
}
_ROWS_HINT = (
    "It takes the owner of the table, who may also create in schema schema_mcp, or that schema in the database: "
    "'schema-mcp trigger show --rows TABLE' tells what is done."
)


def script(action: str, tables: Sequence[str] = ()) -> str:
    """The SQL of an action, for the rows of `tables` (names as SQL has them) or else for DDL: out of the installed
    package, or out of the source tree."""
    parts = ("migrations", "targets", "postgresql", _SCRIPTS[bool(tables), action])
    packaged = files("schema_mcp").joinpath(*parts)
    if packaged.is_file():
        sql = packaged.read_text(encoding="utf-8")
    else:
        sql = Path(__file__).parent.parent.parent.joinpath(*parts).read_text(encoding="utf-8")
    return sql.replace("= :'tables'", f"= {_array(tables)}") if tables else sql


def _array(names: Sequence[str]) -> str:
    """As the SQL literal of an array of texts."""
    quoted = (name.replace("\\", "\\\\").replace('"', '\\"').replace("'", "''") for name in names)
    return "'{" + ",".join(f'"{name}"' for name in quoted) + "}'"


async def apply(settings: Settings, action: str, tables: Sequence[str] = ()) -> str:
    """Runs the SQL in one transaction; what was done, for a person.

    Raises: UsageError for another database product, and where one of several is to be chosen; SchemaMcpError with the
    database's reason when it refuses.
    """
    (source,) = settings.only(None).served
    url = url_of(source)
    dialect = choose_dialect(url)
    if dialect.name != "postgresql":
        raise UsageError("the trigger is for PostgreSQL; a SQLite file is looked at every 0.1 s anyway")
    if action == "show":
        return script("show", tables).rstrip()
    limits = SessionLimits(
        statement_timeout_s=settings.limits.statement_timeout_s,
        lock_timeout_s=settings.limits.lock_timeout_s,
        idle_in_transaction_timeout_s=settings.limits.call_timeout_s,
        read_only=False,
    )
    database = Database(SOURCE, url, dialect, limits, size=1, acquire_timeout_s=settings.pool.acquire_timeout_s)
    try:
        async with database.single() as connection, connection.transaction():
            await connection.execute(script(action, tables))
    except Exception as error:
        refused = dialect.translate(error, None)
        if refused is None:
            raise
        hint = _ROWS_HINT if tables else "An event trigger needs a superuser."
        raise SchemaMcpError(f"{refused.message.rstrip('.')}. {hint}") from error
    finally:
        await database.close()
    if tables:
        named = ", ".join(tables)
        return (
            f"installed: writes to {named} are told at their commit"
            if action == "install"
            else f"removed from {named}: the counters tell"
        )
    return "installed: changes of the schema are told at once" if action == "install" else "removed: the poll goes on"
