"""The server's own optional store: the history of the schemas, and the last one over a restart."""
