"""A wish that an operation be stopped, told to another server than the one that runs it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    schema = "schema_mcp" if op.get_bind().dialect.name == "postgresql" else None
    op.add_column("schema_mcp_operation", sa.Column("stop_wanted_at", sa.Double), schema=schema)
