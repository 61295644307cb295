-- Takes the trigger of row_trigger.sql from tables, their partitions and those that inherit from them:
--
--     psql -d DATABASE -v tables='{public.orders,public.customers}' -f row_trigger_uninstall.sql
--
-- The function goes with the last trigger that calls it, and the schema only if nothing else is in it.

SET schema_mcp.tables = :'tables';

DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        WITH RECURSIVE tree AS (
            SELECT given::regclass::oid AS relation
            FROM pg_catalog.unnest(pg_catalog.current_setting('schema_mcp.tables')::text[]) AS given
            UNION
            SELECT inhrelid FROM tree JOIN pg_catalog.pg_inherits ON inhparent = relation
        )
        SELECT relation::regclass AS name
        FROM tree JOIN pg_catalog.pg_trigger ON tgrelid = relation AND tgname = 'schema_mcp_rows'
        ORDER BY relation
    LOOP
        EXECUTE pg_catalog.format('DROP TRIGGER schema_mcp_rows ON %s', found.name);
    END LOOP;
    BEGIN
        DROP FUNCTION IF EXISTS schema_mcp.notify_rows();
    EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege OR invalid_schema_name THEN
        NULL;
    END;
    BEGIN
        DROP SCHEMA IF EXISTS schema_mcp;
    EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
        NULL;
    END;
END
$$;
