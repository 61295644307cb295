-- Idempotency keys beside the data, where migrations/targets/postgresql/idempotency.sql was applied. All but the first
-- run within the transaction of the call. Parameters: $1 principal, $2 tool, $3 key.

-- name: installed
-- A row if the table is there and the role may use it.
select c.oid
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'schema_mcp' and c.relname = 'schema_mcp_idempotency' and c.relkind = 'r'
  and pg_catalog.has_schema_privilege(n.oid, 'USAGE')
  and pg_catalog.has_table_privilege(c.oid, 'SELECT') and pg_catalog.has_table_privilege(c.oid, 'INSERT')
  and pg_catalog.has_table_privilege(c.oid, 'UPDATE') and pg_catalog.has_table_privilege(c.oid, 'DELETE')

-- name: claim
-- A row if the key is ours now: nobody has it, or whoever had it is forgotten after $5 seconds. $4: the digest. Waits
-- for another transaction that is about to have it.
insert into schema_mcp.schema_mcp_idempotency as held (principal, tool, key, digest) values ($1, $2, $3, $4)
on conflict (principal, tool, key) do update set digest = excluded.digest, answer = null, created_at = now()
where held.created_at < now() - make_interval(secs => $5::double precision)
returning 1

-- name: held
-- Digest and answer of whoever has the key.
select digest, answer from schema_mcp.schema_mcp_idempotency where principal = $1 and tool = $2 and key = $3

-- name: keep
-- Stores the answer $4.
update schema_mcp.schema_mcp_idempotency set answer = $4 where principal = $1 and tool = $2 and key = $3

-- name: forget
-- Removes some keys that are older than $1 seconds, and waits for nobody.
delete from schema_mcp.schema_mcp_idempotency
where (principal, tool, key) in (
    select principal, tool, key from schema_mcp.schema_mcp_idempotency
    where created_at < now() - make_interval(secs => $1::double precision)
    order by created_at limit 100 for update skip locked
)
