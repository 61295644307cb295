-- Where schema-mcp keeps idempotency keys beside your data: the key of a call is stored in the same transaction as its
-- rows, so that a call with a key is done once whatever is lost or restarted, and whichever server repeats it. Opt-in
-- and optional: without it keys are kept in the server's own store. Give the role that schema-mcp connects as:
--
--     psql -d DATABASE -v writer=schema_mcp -f idempotency.sql
--
-- Keys are forgotten after [state] idempotency_keep_s. Answers may hold values of the rows that were stored. Remove it
-- with: DROP TABLE schema_mcp.schema_mcp_idempotency. The table never becomes a tool.

CREATE SCHEMA IF NOT EXISTS schema_mcp;

CREATE TABLE IF NOT EXISTS schema_mcp.schema_mcp_idempotency (
    principal text NOT NULL,
    tool text NOT NULL,
    key text NOT NULL,
    digest text NOT NULL,
    answer text,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (principal, tool, key)
);
CREATE INDEX IF NOT EXISTS schema_mcp_idempotency_created_at ON schema_mcp.schema_mcp_idempotency (created_at);

GRANT USAGE ON SCHEMA schema_mcp TO :"writer";
GRANT SELECT, INSERT, UPDATE, DELETE ON schema_mcp.schema_mcp_idempotency TO :"writer";
