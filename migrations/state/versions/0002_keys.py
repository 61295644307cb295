"""Idempotency keys of calls, with the answers that they were given."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    schema = "schema_mcp" if op.get_bind().dialect.name == "postgresql" else None
    op.create_table(
        "schema_mcp_key",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("principal", sa.Text, primary_key=True),
        sa.Column("tool", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("answer", sa.Text),
        sa.Column("created_at", sa.Double, nullable=False),
        schema=schema,
    )
    op.create_index("schema_mcp_key_created_at", "schema_mcp_key", ["created_at"], schema=schema)
