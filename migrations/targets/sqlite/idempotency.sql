-- Where schema-mcp keeps idempotency keys beside your data: the key of a call is stored in the same transaction as its
-- rows, so that a call with a key is done once whatever is lost or restarted, and whichever server repeats it. Opt-in
-- and optional: without it keys are kept in the server's own store.
--
--     sqlite3 FILE < idempotency.sql
--
-- Keys are forgotten after [state] idempotency_keep_s. Answers may hold values of the rows that were stored. Remove it
-- with: DROP TABLE schema_mcp_idempotency. The table never becomes a tool.

CREATE TABLE IF NOT EXISTS schema_mcp_idempotency (
    principal TEXT NOT NULL,
    tool TEXT NOT NULL,
    key TEXT NOT NULL,
    digest TEXT NOT NULL,
    answer TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (principal, tool, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS schema_mcp_idempotency_created_at ON schema_mcp_idempotency (created_at);
