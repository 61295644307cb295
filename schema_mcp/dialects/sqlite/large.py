"""Values that are too large to be taken in whole: how a statement that reads meets none, and the beginning of each.

SQLite lives in this process, and so does every value that it looks at. A statement that reads runs under a limit
(sqlite.org/c3ref/limit.html), at which SQLite stops before it loads the value. Then it is run in a form that names the
place of each text and blob instead (`CUT_BYTES` among its execution options), and what is there is read one by one: of
what is larger than an answer may be the beginning alone (sqlite.org/c3ref/blob_open.html). Writes run without a limit.
"""

import codecs
import re
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from schema_mcp.dialects.base import CUT_BYTES, LargeRows, Statement
from schema_mcp.dialects.sqlite.tagged import Beginning, decode

#: A value up to here comes as it is.
LARGE_BYTES = 2_000_000
#: Largest value that a statement may look at, to filter or to order by it, or to make another of it.
MAX_VALUE_BYTES = 16_000_000
#: Names of a table's own key (sqlite.org/lang_createtable.html#rowid), of which a column may have taken some.
_ROWIDS = ("rowid", "_rowid_", "oid")
#: What SQLite says of tables without it, and of views.
_NO_ROWID = re.compile(rf"no such column: .*\.({'|'.join(_ROWIDS)})", re.DOTALL)

Y = TypeVar("Y")
R = TypeVar("R")


class ValueTooLarge(sqlite3.DataError):
    """A value is larger than a statement may look at, and has no beginning that could be read instead."""


class Placed(FunctionElement[Any]):
    """A column of a table; where large values are among them, the place of each text and each blob."""

    inherit_cache = False

    def __init__(self, column: "sa.ColumnClause[Any]") -> None:
        super().__init__(column)
        self.type = column.type


def placed(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """The column as `Placed`, if it is one of a table: what is computed has no place."""
    if type(column) is not sa.ColumnClause or _table(column) is None:
        return column
    return Placed(column)


def _table(column: "sa.ColumnClause[Any]") -> sa.TableClause | None:
    source: Any = column.table
    while isinstance(source, sa.Alias):
        source = source.element
    return source if isinstance(source, sa.TableClause) else None


@compiles(Placed)
def _compile_placed(element: Placed, compiler: SQLCompiler, **options: Any) -> str:
    (column,) = element.clauses.clauses
    value = compiler.process(column, **options)
    writes = compiler.isinsert or compiler.isupdate or compiler.isdelete
    if CUT_BYTES not in compiler.execution_options or writes:
        return value
    assert isinstance(column, sa.ColumnClause)
    table = _table(column)
    assert table is not None
    taken = {name.lower() for name in table.c.keys()}  # noqa: SIM118 - a collection of columns
    rowid = next((name for name in _ROWIDS if name not in taken), None)
    if rowid is None:
        return value
    options.pop("add_to_result_map", None)
    key = compiler.process(sa.column(rowid, _selectable=column.table), **options)

    def place(kind: str) -> str:
        what = [kind, table.schema or "main", table.name, column.name, rowid, compiler.execution_options[CUT_BYTES]]
        beginning = orjson.dumps(what).decode().removesuffix("]") + ","
        return f"{compiler.render_literal_value(beginning, sa.String())} || ifnull({key}, 'null') || ']'"

    return f"CASE typeof({value}) WHEN 'text' THEN {place('text')} WHEN 'blob' THEN {place('blob')} ELSE {value} END"


def bounded(raw: sqlite3.Connection, statement: Statement, run: Generator[Y, None, R]) -> Generator[Y, None, R]:
    """What `run` gives, under the limit of a statement that reads.

    Raises: LargeRows where it met a value over the limit; ValueTooLarge where that was its second run.
    """
    if not statement.labels or not (statement.cut or statement.sized):
        return (yield from run)
    with _limit(raw, LARGE_BYTES if statement.cut else MAX_VALUE_BYTES):
        try:
            return (yield from run)
        except sqlite3.DataError as error:
            if not _is_too_big(error):
                raise
            raise (LargeRows if statement.cut else ValueTooLarge) from error
        except sqlite3.OperationalError as error:
            if statement.cut is None and _NO_ROWID.fullmatch(str(error)):
                raise ValueTooLarge from error
            raise


def fetched(raw: sqlite3.Connection, cursor: sqlite3.Cursor, columns: int) -> Generator[tuple[Any, ...], None, None]:
    """The rows of a statement that gives places, with the values or the beginnings of those.

    In a transaction, or else another's commit could come between a row and its values. `columns`: how many of each row
    may be places. Raises: ValueTooLarge.
    """
    own = not raw.in_transaction
    if own:
        raw.execute("BEGIN")
    raw.text_factory = decode
    try:
        for row in cursor:
            yield (
                *(_value(raw, value) if isinstance(value, str) else value for value in row[:columns]),
                *row[columns:],
            )
    finally:
        cursor.close()
        if own and raw.in_transaction:
            raw.execute("ROLLBACK")


def _value(raw: sqlite3.Connection, place: str) -> Any:
    kind, schema, table, column, rowid, most, key = orjson.loads(place)
    columns = raw.execute("SELECT name FROM pragma_table_xinfo(?, ?)", (table, schema))
    if key is None or rowid in {name.lower() for (name,) in columns}:  # hidden, or it would not have been taken
        raise ValueTooLarge
    source = f"{_quoted(schema)}.{_quoted(table)}"
    room = 2 * most  # characters of UTF-16 take two bytes, of which an answer's take one
    try:
        with _limit(raw, room):
            found = raw.execute(f"SELECT {_quoted(column)} FROM {source} WHERE {rowid} = ?", (key,))  # noqa: S608
            return found.fetchone()[0]
    except sqlite3.DataError as error:
        if not _is_too_big(error):
            raise
    try:
        blob = raw.blobopen(table, column, key, readonly=True, name=schema)
    except sqlite3.OperationalError as error:  # generated, or of a virtual table
        raise ValueTooLarge from error
    with blob:
        data = blob.read(room)
    if kind == "blob":
        return data
    (encoding,) = raw.execute("PRAGMA encoding").fetchone()
    try:
        return Beginning(codecs.getincrementaldecoder(encoding)().decode(data))
    except UnicodeDecodeError:
        return decode(data)


@contextmanager
def _limit(raw: sqlite3.Connection, max_bytes: int) -> Iterator[None]:
    before = raw.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max_bytes)
    try:
        yield
    finally:
        raw.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, before)


def _is_too_big(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_TOOBIG


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
