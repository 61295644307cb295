-- A role for schema-mcp that may do what you permit and nothing else. Opt-in: read it, adapt it, run it with psql:
--
--     psql -d DATABASE -v reader=schema_mcp -v schema=public -f roles.sql
--
-- It creates a role that may connect and read every present and future relation of one schema. It is no superuser, owns
-- nothing and bypasses no row-level security. Give it a password yourself: ALTER ROLE schema_mcp PASSWORD '...'.
-- To let it add rows to a table as well: GRANT INSERT ON table TO schema_mcp. The tools follow each grant and revoke.

CREATE ROLE :"reader" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), :'reader') \gexec

GRANT USAGE ON SCHEMA :"schema" TO :"reader";
GRANT SELECT ON ALL TABLES IN SCHEMA :"schema" TO :"reader";

-- Future relations: only those that the role running this script creates. Repeat it for each role that creates tables.
ALTER DEFAULT PRIVILEGES IN SCHEMA :"schema" GRANT SELECT ON TABLES TO :"reader";
