-- Tells schema-mcp of each change of the schema at once, instead of at its next poll. Opt-in and optional: the tools
-- follow the schema without it. Needs a superuser (an event trigger does), and costs about 0.1 ms a DDL statement.
-- Remove it with ddl_notify_uninstall.sql.
--
-- It tells that something changed, never what: a server that hears it looks at the catalog itself. Not seen are changes
-- of shared objects (role memberships, ALTER ROLE), which the poll finds.

CREATE SCHEMA IF NOT EXISTS schema_mcp;

CREATE OR REPLACE FUNCTION schema_mcp.notify_ddl() RETURNS event_trigger
LANGUAGE plpgsql
SET search_path = pg_catalog
AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('schema_mcp', tg_tag);
END
$$;

DROP EVENT TRIGGER IF EXISTS schema_mcp_ddl;
CREATE EVENT TRIGGER schema_mcp_ddl ON ddl_command_end EXECUTE FUNCTION schema_mcp.notify_ddl();
ALTER EVENT TRIGGER schema_mcp_ddl ENABLE ALWAYS;

DROP EVENT TRIGGER IF EXISTS schema_mcp_drop;
CREATE EVENT TRIGGER schema_mcp_drop ON sql_drop EXECUTE FUNCTION schema_mcp.notify_ddl();
ALTER EVENT TRIGGER schema_mcp_drop ENABLE ALWAYS;
