"""The last schema of each source, its changes, and the key that cursors are signed with."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    schema = "schema_mcp" if op.get_bind().dialect.name == "postgresql" else None
    source = "schema_mcp.schema_mcp_source.id" if schema else "schema_mcp_source.id"
    # BIGINT is no alias of SQLite's rowid, INTEGER is: only that counts by itself.
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "schema_mcp_secret",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
        schema=schema,
    )
    op.create_table(
        "schema_mcp_source",
        sa.Column("id", number, primary_key=True),
        sa.Column("identity", sa.Text, nullable=False, unique=True),
        sa.Column("product", sa.Text, nullable=False),
        sa.Column("default_schema", sa.Text, nullable=False),
        sa.Column("format", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("era", sa.Text, nullable=False),
        sa.Column("instant", sa.Text, nullable=False),
        sa.Column("taken_at", sa.Double, nullable=False),
        sa.Column("confirmed_at", sa.Double, nullable=False),
        sa.Column("first_at", sa.Double, nullable=False),
        schema=schema,
    )
    op.create_table(
        "schema_mcp_table",
        sa.Column("source", number, sa.ForeignKey(source), primary_key=True),
        sa.Column("schema", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        schema=schema,
    )
    op.create_table(
        "schema_mcp_change",
        sa.Column("id", number, primary_key=True),
        sa.Column("source", number, sa.ForeignKey(source), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("since", sa.Double),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("schema", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sentences", sa.Text, nullable=False),
        sa.Column("gone", sa.Text),
        schema=schema,
    )
    op.create_index("schema_mcp_change_source", "schema_mcp_change", ["source", "id"], schema=schema)
