"""`schema-mcp trigger show|install|uninstall`: the opt-in trigger that tells of DDL at once."""

from importlib.resources import files
from pathlib import Path

from schema_mcp.app_source import url_of
from schema_mcp.config.model import SOURCE, Settings
from schema_mcp.dialects.base import SessionLimits
from schema_mcp.dialects.choose import choose_dialect
from schema_mcp.errors import SchemaMcpError, UsageError
from schema_mcp.execute.engines import Database

_SCRIPTS = {"show": "ddl_notify.sql", "install": "ddl_notify.sql", "uninstall": "ddl_notify_uninstall.sql"}


def script(action: str) -> str:
    """The SQL of an action: out of the installed package, or out of the source tree."""
    parts = ("migrations", "targets", "postgresql", _SCRIPTS[action])
    packaged = files("schema_mcp").joinpath(*parts)
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return Path(__file__).parent.parent.parent.joinpath(*parts).read_text(encoding="utf-8")


async def apply(settings: Settings, action: str) -> str:
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
        return script("show").rstrip()
    limits = SessionLimits(
        statement_timeout_s=settings.limits.statement_timeout_s,
        lock_timeout_s=settings.limits.lock_timeout_s,
        idle_in_transaction_timeout_s=settings.limits.call_timeout_s,
        read_only=False,
    )
    database = Database(SOURCE, url, dialect, limits, size=1, acquire_timeout_s=settings.pool.acquire_timeout_s)
    try:
        async with database.single() as connection, connection.transaction():
            await connection.execute(script(action))
    except Exception as error:
        refused = dialect.translate(error, None)
        if refused is None:
            raise
        raise SchemaMcpError(f"{refused.message.rstrip('.')}. An event trigger needs a superuser.") from error
    finally:
        await database.close()
    return "installed: changes of the schema are told at once" if action == "install" else "removed: the poll goes on"
