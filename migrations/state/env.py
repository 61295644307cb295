"""Alembic's environment for the server's own store: the program gives the connection, in a transaction under a lock.

A further revision is a file in versions/ and its name in schema_mcp/state/store.py.
"""

from alembic import context

context.configure(connection=context.config.attributes["connection"], **context.config.attributes["options"])
context.run_migrations()
