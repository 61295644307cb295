"""One typed MCP tool per table of a live SQL database, kept in step with its schema."""
