"""`python -m schema_mcp`: the command line, for hosts that do not find the `schema-mcp` command on their PATH."""

import sys

from schema_mcp.cli import main

if __name__ == "__main__":
    sys.exit(main())
