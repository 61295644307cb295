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
