-- Removes what ddl_notify.sql installed. The schema goes only if nothing else is in it.

DROP EVENT TRIGGER IF EXISTS schema_mcp_drop;
DROP EVENT TRIGGER IF EXISTS schema_mcp_ddl;
DROP FUNCTION IF EXISTS schema_mcp.notify_ddl();

DO $$
BEGIN
    DROP SCHEMA IF EXISTS schema_mcp;
EXCEPTION WHEN dependent_objects_still_exist THEN
    NULL;
END
$$;
