"""The command line: parses, calls a command, prints what it gave. No logic.

Results go to stdout, everything else to stderr. Exit 0: done (also after SIGTERM); 1: failed; 2: wrong usage,
configuration, or a bind that is refused.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schema_mcp.commands.collector import ease
from schema_mcp.config.origin import Origin
from schema_mcp.errors import ConfigurationError, SchemaMcpError, UsageError

COMMANDS = ("serve", "demo", "tools", "call", "schema", "history", "trigger")

_DATABASE_HELP = "URL (postgresql://, sqlite:///), path of a SQLite file, or 'sample'"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; its exit code."""
    ease()
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or (words[0] not in COMMANDS and words[0] not in ("-h", "--help", "--version")):
        words.insert(0, "serve")
    arguments = _parser().parse_args(words)
    try:
        return _run(arguments)
    except ConfigurationError as error:
        print("schema-mcp: the configuration cannot be used:", file=sys.stderr)
        for mistake in error.mistakes:
            print(f"  {mistake}", file=sys.stderr)
        return 2
    except UsageError as error:
        print(f"schema-mcp: {error}", file=sys.stderr)
        return 2
    except SchemaMcpError as error:
        print(f"schema-mcp: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(arguments: argparse.Namespace) -> int:
    # Commands are imported late: `serve` must not pay for the client that `demo` needs.
    if arguments.command == "demo":
        from schema_mcp.commands.demo import demo

        return asyncio.run(demo(print))
    if arguments.command == "call":
        arguments.json, arguments.database = _json_and_database(arguments.words)
    if arguments.command == "trigger" and arguments.action == "show" and arguments.database is None:
        from schema_mcp.commands.trigger import script

        print(script("show", arguments.rows), end="")
        return 0
    origin = _origin(arguments)
    settings = origin.read()
    if getattr(arguments, "source", None) is not None:
        settings = settings.only(arguments.source)
    if arguments.command == "serve":
        from schema_mcp.commands.serve import serve

        return asyncio.run(serve(settings, origin))
    if arguments.command == "trigger":
        from schema_mcp.commands.trigger import apply

        print(asyncio.run(apply(settings, arguments.action, arguments.rows)))
        return 0
    if arguments.command == "history":
        from schema_mcp.commands.history import history

        return _show(
            *asyncio.run(
                history(
                    settings,
                    since=arguments.since,
                    table=arguments.table,
                    limit=arguments.limit,
                    as_json=arguments.json,
                )
            )
        )
    from schema_mcp.commands import inspect

    match arguments.command:
        case "tools":
            text, note = asyncio.run(inspect.tools(settings, as_json=arguments.json))
        case "schema":
            text, note = asyncio.run(inspect.schema(settings, arguments.format))
        case _:
            text, failed = asyncio.run(inspect.call(settings, arguments.tool, arguments.json))
            print(text)
            return 1 if failed else 0
    return _show(text, note)


def _show(text: str, note: str) -> int:
    if text:
        print(text)
    if note:
        print(note, file=sys.stderr)
    return 0


def _origin(arguments: argparse.Namespace) -> Origin:
    mode = "read" if getattr(arguments, "read_only", False) else "write" if getattr(arguments, "write", False) else None
    flags: dict[str, Any] = {
        "database.url": arguments.database,
        "access.mode": mode,
        "server.transport": getattr(arguments, "transport", None),
        "server.host": getattr(arguments, "host", None),
        "server.port": getattr(arguments, "port", None),
    }
    return Origin(file=arguments.config, environment=dict(os.environ), flags=flags, directory=Path.cwd())


def _json_and_database(words: list[str]) -> tuple[str, str | None]:
    """An argument that begins with `{` is the JSON, the other the database. Raises: UsageError."""
    json = [word for word in words if word.lstrip().startswith("{")]
    databases = [word for word in words if not word.lstrip().startswith("{")]
    if len(json) > 1 or len(databases) > 1:
        raise UsageError("usage: schema-mcp call TOOL [JSON] [DATABASE], the JSON as one argument that begins with {")
    return (json[0] if json else "{}"), (databases[0] if databases else None)


def _parser() -> argparse.ArgumentParser:
    from importlib.metadata import version

    parser = argparse.ArgumentParser(
        prog="schema-mcp",
        description="One typed MCP tool per table of a live SQL database, kept in step with its schema.",
        epilog="Without a command: serve. Without DATABASE: config.toml, then DATABASE_URL.",
    )
    parser.add_argument("--version", action="version", version=f"schema-mcp {version('schema-mcp')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = _command(commands, "serve", "serve a database to MCP clients (the default command)")
    serve.add_argument("--transport", choices=("stdio", "http"), help="how clients reach it (default: stdio)")
    serve.add_argument("--host", help="address for HTTP (default: 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port for HTTP (default: 8765; 0 takes a free one)")

    demo = commands.add_parser("demo", help="watch it work on a bundled sample; ends by itself")
    demo.set_defaults(config=None, database=None)

    tools = _command(commands, "tools", "show the tools that a client would be offered, and what they cost a model")
    tools.add_argument("--json", action="store_true", help="the tools as MCP sends them")

    call = commands.add_parser("call", help="call one tool and print its answer")
    call.add_argument("tool", metavar="TOOL", help="a tool's name, as 'schema-mcp tools' shows it")
    call.add_argument("words", nargs="*", metavar="JSON|DATABASE", help="arguments as JSON; " + _DATABASE_HELP)
    _options(call)

    schema = _command(commands, "schema", "show the schema that the tools are made from")
    schema.add_argument("--format", choices=("text", "json", "mermaid"), default="text")
    _source(schema)

    history = _command(commands, "history", "show what changed in the schema, newest first")
    history.add_argument("--since", metavar="TIME", help="only later than this ISO 8601 time")
    history.add_argument("--table", metavar="TABLE", help="only of this table, also one that is gone")
    history.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many changes (default: 50)")
    history.add_argument("--json", action="store_true", help="as the tool schema_changes gives them")
    _source(history)

    trigger = commands.add_parser(
        "trigger", help="let PostgreSQL tell of changes at once (opt-in; of the schema: a superuser)"
    )
    trigger.add_argument("action", choices=("show", "install", "uninstall"))
    trigger.add_argument("database", nargs="?", metavar="DATABASE", help=_DATABASE_HELP)
    trigger.add_argument(
        "--rows",
        metavar="TABLE",
        action="append",
        default=[],
        help="of rows of this table instead of the schema, as its owner; may be given several times",
    )
    trigger.add_argument("--config", type=Path, metavar="FILE", help="configuration file (default: ./config.toml)")
    _source(trigger)
    return parser


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text)
    parser.add_argument("database", nargs="?", metavar="DATABASE", help=_DATABASE_HELP)
    _options(parser)
    return parser


def _source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", metavar="NAME", help="only this one of several databases ([[sources]])")


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file (default: ./config.toml)")
    access = parser.add_mutually_exclusive_group()
    access.add_argument("--read-only", action="store_true", help="no writes; the database itself refuses them")
    access.add_argument("--write", action="store_true", help="rows may also be updated and deleted")
