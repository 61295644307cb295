"""PostgreSQL through asyncpg: reading pg_catalog, values, statements, errors."""
