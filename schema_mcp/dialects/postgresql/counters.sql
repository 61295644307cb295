-- What is counted of tables (`dialects/counters.py`).

-- name: counters
-- Rows inserted, updated and deleted since the statistics began, partitions and tables that inherit included, of the
-- tables of those schemas and names ($1, $2), and the sum of the numbers of their files, which TRUNCATE changes. Rows of
-- transactions that were rolled back count too (manual 27.2.1).
WITH RECURSIVE asked AS (
    SELECT place, c.oid
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS given (schema, name, place)
    JOIN pg_catalog.pg_namespace n ON n.nspname = given.schema
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = given.name
), tree AS (
    SELECT place, oid FROM asked
    UNION
    SELECT tree.place, i.inhrelid FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid
)
SELECT
    tree.place,
    sum(pg_catalog.pg_stat_get_tuples_inserted(c.oid))::bigint AS inserted,
    sum(pg_catalog.pg_stat_get_tuples_updated(c.oid))::bigint AS updated,
    sum(pg_catalog.pg_stat_get_tuples_deleted(c.oid))::bigint AS deleted,
    sum(c.relfilenode::bigint)::bigint AS files
FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.oid
GROUP BY tree.place

-- name: row_triggers
-- Of the tables of those schemas and names ($1, $2) those that the opt-in trigger tells of: what it calls them, their
-- partitions and the tables that inherit from them, and a state. There is none where a write may go untold: the trigger
-- is missing on one of them, not always enabled or altered; a statement may name a table above it, whose trigger fires
-- instead; a subscription writes to it, which fires no triggers of statements (manual 29.8); or this backend is not the
-- one ($3) that the client knows. The state holds the versions of all that this rests on, so that what was otherwise for
-- a moment makes another one; for names that of the row's type, which is renamed with its table and left by TRUNCATE.
WITH RECURSIVE function AS (
    SELECT p.oid, p.xmin
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = 'schema_mcp' AND p.proname = 'notify_rows' AND p.pronargs = 0
), asked AS (
    SELECT place, c.oid
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS given (schema, name, place)
    JOIN pg_catalog.pg_namespace n ON n.nspname = given.schema
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = given.name
    WHERE EXISTS (SELECT FROM function)
), tree AS (
    SELECT place, oid FROM asked
    UNION
    SELECT tree.place, i.inhrelid FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid
), member AS (
    SELECT
        tree.place,
        c.oid,
        pg_catalog.format('%I.%I', n.nspname, c.relname) AS name,
        t.oid IS NOT NULL AS told,
        c.relkind IN ('r', 'p')
            AND coalesce(t.tgenabled = 'A' AND t.tgtype = 60 AND t.tgqual IS NULL AND t.tgattr::text = '', false)
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_subscription_rel s WHERE s.srrelid = c.oid)
            AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_inherits i
                WHERE i.inhrelid = c.oid
                    AND NOT EXISTS (SELECT FROM tree above WHERE above.place = tree.place AND above.oid = i.inhparent)
            ) AS always,
        pg_catalog.concat_ws(' ', c.oid, y.xmin, n.xmin, t.oid, t.xmin, function.xmin) AS version
    FROM tree
    JOIN pg_catalog.pg_class c ON c.oid = tree.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_type y ON y.oid = c.reltype
    CROSS JOIN function
    LEFT JOIN pg_catalog.pg_trigger t
        ON t.tgrelid = c.oid AND t.tgname = 'schema_mcp_rows' AND t.tgfoid = function.oid
)
SELECT
    place,
    array_agg(name) FILTER (WHERE told) AS names,
    CASE
        WHEN bool_and(always) AND pg_catalog.pg_backend_pid() = $3::integer
        THEN pg_catalog.md5(string_agg(version, ',' ORDER BY oid))
    END AS state
FROM member
GROUP BY place
HAVING bool_or(told)
