-- Idempotency keys beside the data, where migrations/targets/sqlite/idempotency.sql was applied. All but the first run
-- within the transaction of the call, which has locked the file. Parameters: ?1 principal, ?2 tool, ?3 key.

-- name: installed
-- A row if the table is there.
SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = 'schema_mcp_idempotency'

-- name: claim
-- A row if the key is ours now: nobody has it, or whoever had it is forgotten after ?5 seconds. ?4: the digest.
INSERT INTO main.schema_mcp_idempotency (principal, tool, key, digest, created_at)
VALUES (?1, ?2, ?3, ?4, CAST(strftime('%s', 'now') AS INTEGER))
ON CONFLICT (principal, tool, key) DO UPDATE
SET digest = excluded.digest, answer = NULL, created_at = excluded.created_at
WHERE schema_mcp_idempotency.created_at < excluded.created_at - ?5
RETURNING 1

-- name: held
-- Digest and answer of whoever has the key.
SELECT digest, answer FROM main.schema_mcp_idempotency WHERE principal = ?1 AND tool = ?2 AND key = ?3

-- name: keep
-- Stores the answer ?4.
UPDATE main.schema_mcp_idempotency SET answer = ?4 WHERE principal = ?1 AND tool = ?2 AND key = ?3

-- name: forget
-- Removes some keys that are older than ?1 seconds.
DELETE FROM main.schema_mcp_idempotency WHERE (principal, tool, key) IN (
    SELECT principal, tool, key FROM main.schema_mcp_idempotency
    WHERE created_at < CAST(strftime('%s', 'now') AS INTEGER) - ?1 ORDER BY created_at LIMIT 100
)
