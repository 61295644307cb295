"""Sample databases of our own making, to try the server on."""
