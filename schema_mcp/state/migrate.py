"""Applies migrations/state to a store: the only importer of Alembic."""

from importlib.resources import files
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory


def upgrade(connection: sa.Connection, version_table: str, version_table_schema: str | None) -> None:
    """To the newest revision, in the transaction that the connection is in."""
    config = _config()
    config.attributes["connection"] = connection
    config.attributes["options"] = {"version_table": version_table, "version_table_schema": version_table_schema}
    command.upgrade(config, "head")


def revisions() -> tuple[str, ...]:
    """All that there are, oldest first."""
    script = ScriptDirectory.from_config(_config())
    return tuple(reversed([revision.revision for revision in script.walk_revisions()]))


def _config() -> Config:
    config = Config()
    # Out of the installed package, or out of the source tree. A percent sign would be read as a reference.
    packaged = Path(str(files("schema_mcp").joinpath("migrations", "state")))
    folder = packaged if packaged.is_dir() else Path(__file__).parent.parent.parent / "migrations" / "state"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config
