"""SQLite through aiosqlite: reading sqlite_schema, values, statements, errors."""
