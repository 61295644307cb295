-- Tells schema-mcp at each commit that rows of chosen tables were written, which ends the waits of wait_for_change in
-- milliseconds instead of a second or more, and not for what was rolled back. Opt-in and optional: without it the
-- database's statistics tell. Run it as the owner of the tables, who may create in the schema schema_mcp (or that
-- schema in the database), with their names as SQL has them:
--
--     psql -d DATABASE -v tables='{public.orders,public.customers}' -f row_trigger.sql
--
-- A notification names the table and nothing else: no row, no value, nor who wrote. Each statement that writes to the
-- table is told, also one that finds no row to change. Partitions and tables that inherit get the trigger too; run it
-- again for those that are made later. Remove it with row_trigger_uninstall.sql.
--
-- What it costs: 0.03 to 0.2 ms a statement; transactions that have written to such a table commit one after another in
-- the whole server, because PostgreSQL keeps notifications in order; and they cannot be prepared for two-phase commit
-- (PREPARE TRANSACTION refuses those that have notified). It is not for tables that many sessions write to all the time.

SET schema_mcp.tables = :'tables';

CREATE SCHEMA IF NOT EXISTS schema_mcp;

CREATE OR REPLACE FUNCTION schema_mcp.notify_rows() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('schema_mcp_rows', pg_catalog.format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME));
    RETURN NULL;
END
$$;

DO $$
DECLARE
    given text;
    found record;
BEGIN
    FOREACH given IN ARRAY pg_catalog.current_setting('schema_mcp.tables')::text[] LOOP
        IF (SELECT relkind NOT IN ('r', 'p') FROM pg_catalog.pg_class WHERE oid = given::regclass) THEN
            RAISE wrong_object_type USING MESSAGE = pg_catalog.format('%s is no table', given);
        END IF;
        FOR found IN
            WITH RECURSIVE tree AS (
                SELECT given::regclass::oid AS relation
                UNION
                SELECT inhrelid FROM tree JOIN pg_catalog.pg_inherits ON inhparent = relation
            )
            SELECT relation::regclass AS name, tgenabled AS enabled
            FROM tree
            JOIN pg_catalog.pg_class c ON c.oid = relation AND c.relkind IN ('r', 'p')
            LEFT JOIN pg_catalog.pg_trigger ON tgrelid = relation AND tgname = 'schema_mcp_rows'
            ORDER BY relation
        LOOP
            IF found.enabled IS NULL THEN
                EXECUTE pg_catalog.format(
                    'CREATE TRIGGER schema_mcp_rows AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s '
                    'FOR EACH STATEMENT EXECUTE FUNCTION schema_mcp.notify_rows()', found.name);
            END IF;
            IF found.enabled IS DISTINCT FROM 'A' THEN
                EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER schema_mcp_rows', found.name);
            END IF;
        END LOOP;
    END LOOP;
END
$$;
