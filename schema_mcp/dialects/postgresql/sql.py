"""A caller's own statement on PostgreSQL: prepared by the extended protocol, which takes one statement and no more.

Reading, in this order, so that the database itself holds it: (1) `BEGIN READ ONLY`; (2) Parse and Describe, which run
nothing: what gives no rows (COMMIT, SET, LISTEN, DO, COPY ...) is refused; (3) a query of our own for the types, after
which nothing can make the transaction read-write (manual, SET TRANSACTION); (4) a portal, read a few rows at a time;
(5) ROLLBACK, so that not even a NOTIFY goes out, and the connection is closed, and with it whatever a function did to
the session.
COPY from and to the client, which nobody could serve, is met where it begins (`copying.py`).
Whether a statement writes is never found out from its words. What functions do outside of any transaction is bounded by
the role's rights alone.

Values come as PostgreSQL's texts, so that no codec of the driver's changes one, and of those that no answer could hold
the beginnings alone are taken in (`shortening.py`).
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import asyncpg
import orjson

from schema_mcp.dialects.base import Connection
from schema_mcp.dialects.postgresql import errors, parameters
from schema_mcp.dialects.postgresql.copying import CopyWatch
from schema_mcp.dialects.postgresql.fetch import QUERIES
from schema_mcp.dialects.postgresql.shortening import Shortening
from schema_mcp.dialects.postgresql.texts import beginning, writer
from schema_mcp.dialects.postgresql.types import TypeGone, Types
from schema_mcp.dialects.postgresql.values import checked_text
from schema_mcp.dialects.sql import ONLY_READS, OpenSql, SqlColumn, SqlStatement, unique_names
from schema_mcp.dialects.transactions import TransactionEnded
from schema_mcp.errors import CallError, ErrorCode, InvalidArgument, StatementRefused, Unavailable
from schema_mcp.schema.types import SqlType

#: What comes before a statement: within an open transaction or not, and whether it writes. Within, what makes the
#: transaction read-only ends where the statement is undone; a savepoint of ours tells afterwards whether it goes on.
_OPENING = {
    (False, True): "BEGIN",
    (False, False): "BEGIN READ ONLY",
    (True, True): "SAVEPOINT statement",
    (True, False): "SET LOCAL transaction_read_only = on",
}
COPIES = "COPY from and to the client cannot be used here"
INSTEAD_OF_COPY = "Insert rows with insert_<table> or insert_rows, and read them with SELECT."
_SEVERAL = "cannot insert multiple commands"
#: So many times as long as its JSON the text of a value is at most: that of bytes, of which each is two digits, is so
#: 1.5 times, and every other one is no longer.
_TEXT_LENGTH = 2


class PostgresqlSql:
    """See the module."""

    placeholders = "$1, $2, ..."
    frees = "SET LOCAL statement_timeout = 0"

    async def open(self, connection: Connection, statement: SqlStatement) -> "OpenPostgresqlSql":
        """See `SqlAccess`."""
        try:
            checked_text(statement.text)
        except ValueError as refused:
            raise InvalidArgument(ErrorCode.INVALID_ARGUMENT, f"'sql': {refused}", "Leave it out.") from None
        await connection.execute(_OPENING[statement.within, statement.writes])
        if not statement.within:
            return await self._open(connection, statement, set())
        as_texts: set[int] = set()
        try:
            return await self._open(connection, statement, as_texts)
        except BaseException:
            _give_back(connection, as_texts)
            raise

    async def _open(self, connection: Connection, statement: SqlStatement, as_texts: set[int]) -> "OpenPostgresqlSql":
        taken, given = await _described(connection, statement.text, as_texts)
        if not statement.writes:
            refuse_commands(given)
        if len(taken) != len(statement.parameters):
            raise InvalidArgument(
                ErrorCode.INVALID_ARGUMENT,
                f"the statement has {len(taken)} parameters, and {len(statement.parameters)} were given",
                "Give 'parameters' a value for each of $1, $2, ... in their order.",
            )
        kinds = {type_.oid for type_ in (*taken, *(attribute.type for attribute in given))}
        found = await connection.fetch(QUERIES["types"].sql, list(kinds))
        types = Types(found)
        names = {row["oid"]: row["name"] for row in found}
        try:
            by_oid = {oid: types.column_type(oid, -1, None).type for oid in kinds}
        except TypeGone as gone:
            raise Unavailable(ErrorCode.BUSY, f"{gone} since the statement was read", "Send it again.") from None
        _take_texts(connection, kinds, as_texts)
        values = [
            _bound(place, by_oid[type_.oid], value)
            for place, (type_, value) in enumerate(zip(taken, statement.parameters, strict=True), start=1)
        ]
        columns = tuple(
            SqlColumn(name, names[attribute.type.oid])
            for name, attribute in zip(unique_names([one.name for one in given]), given, strict=True)
        )
        prepared = await connection.prepare(statement.text)
        shown = [by_oid[attribute.type.oid] for attribute in given]
        return OpenPostgresqlSql(
            connection, prepared, values, columns, shown, statement, as_texts if statement.within else None
        )

    async def commit(self, connection: Connection, opened: OpenSql) -> None:
        """See `SqlAccess`."""
        await connection.execute("COMMIT")

    async def stop(self, connection: Connection) -> None:
        """Waits for a cancelled statement to end, as asyncpg does before the next one."""
        await connection.execute("ROLLBACK")

    async def leave(self, connection: Connection, opened: OpenSql | None) -> None:
        """Values come and go again as the driver has them."""
        if isinstance(opened, OpenPostgresqlSql):
            opened.leave()
            _give_back(connection, opened.as_texts or ())

    def lingers(self, connection: Connection) -> bool:
        """What runs on is the database's own."""
        return False

    def explaining(self, *, analyze: bool) -> str:
        """The options in parentheses, after which no further ones are taken from the statement."""
        return "EXPLAIN (ANALYZE) " if analyze else "EXPLAIN (ANALYZE FALSE) "

    def plan_text(self, rows: Sequence[bytes]) -> str:
        """A line a row."""
        return "\n".join(str(line) for row in rows for line in orjson.loads(row).values())

    def translate(self, error: BaseException, statement: SqlStatement) -> CallError | None:
        """As of any statement, and what is wrong with this one by its place."""
        if isinstance(error, UnicodeDecodeError):
            return StatementRefused(
                ErrorCode.DATABASE_ERROR,
                "a value is not in the encoding that the database names",
                "Select it as bytes: convert_to(column, 'SQL_ASCII'), or without the column.",
            )
        state = getattr(error, "sqlstate", None) or ""
        if isinstance(error, asyncpg.PostgresError) and state.startswith("42") and state != "42501":
            return _wrong(error, state, statement)
        known = errors.translate(error, None)
        if known is not None and known.code is ErrorCode.READ_ONLY and not statement.writes:
            known.hint = ONLY_READS
        return known


class OpenPostgresqlSql:
    """A prepared statement in its transaction. `as_texts`: types that it has made texts of, where that has to end."""

    def __init__(
        self,
        connection: Connection,
        prepared: Any,
        values: Sequence[str | None],
        columns: tuple[SqlColumn, ...],
        types: Sequence[SqlType],
        statement: SqlStatement,
        as_texts: set[int] | None,
    ) -> None:
        self.as_texts = as_texts
        self._connection = connection
        self._prepared = prepared
        self._values = values
        self._types = types
        self._writers = [writer(type_) for type_ in types]
        self._shortening: Shortening | None = None
        if columns and statement.max_bytes is not None:
            most = _TEXT_LENGTH * statement.max_bytes
            enough = None if statement.all_rows else most
            self._shortening = Shortening(connection, len(columns), value_bytes=most, enough_bytes=enough)
        self._labels = [orjson.dumps(column.name).decode() + ":" for column in columns]
        self._cursor: Any = None
        self.columns = columns or None
        self.affected: int | None = None

    async def fetch(self, max_rows: int) -> list[bytes]:
        """See `OpenSql`. Raises: CallError (`not_allowed`) if the statement has ended the transaction, or is a COPY
        from or to the client."""
        if self.columns is None:
            await self._run()
            status = self._prepared.get_statusmsg() or ""
            count = status.rpartition(" ")[2]
            self.affected = int(count) if count.isdigit() else None
            if self.as_texts is not None:
                await self._require_to_go_on(status)
            self._require_transaction()
            return []
        if self._cursor is None:
            self._cursor = await self._prepared.cursor(*self._values)
        if self._shortening is not None:
            self._shortening.begin()
        records = await self._cursor.fetch(max_rows)
        self._require_transaction()
        if self._shortening is None:
            return [self._object(record) for record in records]
        cut = self._shortening.cut
        return [
            self._shortened(record, cut[place]) if place in cut else self._object(record)
            for place, record in enumerate(records[: self._shortening.empty_from])
        ]

    @property
    def cut(self) -> Mapping[int, Sequence[str]]:
        """See `OpenSql`."""
        if self._shortening is None or self.columns is None:
            return {}
        return {row: [self.columns[place].name for place in places] for row, places in self._shortening.cut.items()}

    def leave(self) -> None:
        """What comes over the connection is as it was."""
        if self._shortening is not None:
            self._shortening.leave()

    def _shortened(self, record: Any, cut: Sequence[int]) -> bytes:
        values = [
            label + ("null" if text is None else beginning(type_, text) if place in cut else write(text))
            for place, (label, type_, write, text) in enumerate(
                zip(self._labels, self._types, self._writers, record, strict=True)
            )
        ]
        return f"{{{','.join(values)}}}".encode()

    def _object(self, record: Any) -> bytes:
        values = (
            label + ("null" if text is None else write(text))
            for label, write, text in zip(self._labels, self._writers, record, strict=True)
        )
        return f"{{{','.join(values)}}}".encode()

    async def _run(self) -> None:
        watch = CopyWatch(self._connection)
        running = asyncio.ensure_future(self._prepared.fetch(*self._values))
        try:
            await asyncio.wait({running, watch.begun}, return_when=asyncio.FIRST_COMPLETED)
            if watch.begun.done():
                raise StatementRefused(ErrorCode.NOT_ALLOWED, COPIES, "Nothing was done. " + INSTEAD_OF_COPY)
            running.result()
        finally:
            running.cancel()
            await asyncio.wait({running})
            watch.leave()
            if not running.cancelled():
                running.exception()  # no error is reported as lost

    async def _require_to_go_on(self, status: str) -> None:
        """Raises: TransactionEnded. `COMMIT AND CHAIN` ends one too, and begins another; so does ROLLBACK, which may
        also have taken away no more than the mark of the call."""
        if status == "COMMIT" or not self._connection.is_in_transaction():
            raise TransactionEnded(status)
        try:
            await self._connection.execute("RELEASE SAVEPOINT statement")
        except asyncpg.PostgresError as error:
            raise TransactionEnded("ROLLBACK") from error

    def _require_transaction(self) -> None:
        if not self._connection.is_in_transaction():
            hint = "Nothing was done. A statement runs in a transaction of its own, which ends by itself."
            raise StatementRefused(ErrorCode.NOT_ALLOWED, "the statement ended the transaction that it ran in", hint)


def refuse_commands(attributes: Sequence[Any]) -> None:
    """Raises: CallError (`not_allowed`) for a statement that gives no rows."""
    if not attributes:
        message = "only statements that give rows can be run here, and this one gives none"
        raise StatementRefused(ErrorCode.NOT_ALLOWED, message, ONLY_READS)


async def _described(connection: Connection, text: str, as_texts: set[int]) -> tuple[Sequence[Any], Sequence[Any]]:
    """The parameters and the columns of the statement, as asyncpg's `prepare` has them but for the types that it does
    not know: those it would look into, and it refuses some (a record with an aclitem in it)."""
    state = await connection._protocol.prepare("", text, None, record_class=asyncpg.Record)
    _take_texts(connection, state._init_types(), as_texts)
    return state._get_parameters(), state._get_attributes()


def _take_texts(connection: Connection, oids: Iterable[int], as_texts: set[int]) -> None:
    """All values of these types, which are put to `as_texts`, come and go as text from now on.

    By the part of asyncpg beneath `set_type_codec`, which itself takes neither arrays nor ranges nor records.
    """
    settings = connection._protocol.get_settings()
    for oid in oids:
        as_texts.add(oid)
        settings.add_python_codec(oid, "", "", (), "scalar", _same, _same, "text")


def _give_back(connection: Connection, as_texts: Iterable[int]) -> None:
    if not connection.is_closed():
        settings = connection._protocol.get_settings()
        for oid in as_texts:
            settings.remove_python_codec(oid, "", "")
        connection._drop_local_statement_cache()  # what it holds was prepared for texts


def _same(text: str) -> str:
    return text


def _bound(place: int, type_: SqlType, value: Any) -> str | None:
    try:
        return parameters.text(type_, value)
    except ValueError as refused:
        raise InvalidArgument(
            ErrorCode.INVALID_VALUE,
            f"parameter ${place} takes a value of type {type_.native}: {refused}",
            "A string is read as PostgreSQL reads it; a cast in the statement ($1::date) says the type.",
        ) from None


def _wrong(error: asyncpg.PostgresError, state: str, statement: SqlStatement) -> CallError:
    message = errors.reason(error)
    if _SEVERAL in message:
        return InvalidArgument(
            ErrorCode.INVALID_ARGUMENT,
            "'sql' holds more than one statement",
            "Send one statement a call.",
            sqlstate=state,
        )
    details: dict[str, object] = {}
    at = ""
    if (position := error.position) is not None and (place := int(position) - len(statement.prefix)) > 0:
        details["position"] = place
        at = f" at character {place}: {statement.sql[place - 1 : place + 39]!r}"
    words = [str(part) for part in (error.hint, error.detail) if part]
    hint = " ".join([*words, "list_tables and describe_table tell the names; then send the statement again."])
    return InvalidArgument(ErrorCode.INVALID_ARGUMENT, f"{message}{at}", hint, sqlstate=state, details=details or None)
