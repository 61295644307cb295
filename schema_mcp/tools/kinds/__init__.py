"""One module a kind of tool."""
