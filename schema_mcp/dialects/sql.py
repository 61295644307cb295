"""What a product must be able to do so that a caller's own statement can run, and do no more than it may: `SqlAccess`.

The text goes to the database as it came, alone, behind nothing but our own EXPLAIN. It is never read here to find out
what it does: the database's own means bound it (a read-only transaction, an authorizer), on a connection that nobody
uses before or after.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from schema_mcp.errors import CallError

#: As in `dialects.base`, which imports this module.
_Connection: TypeAlias = Any

#: A hint, where writing is off.
ONLY_READS = "Send one statement that only reads: SELECT, or WITH ... SELECT. Writing is off here (access.sql)."


@dataclass(frozen=True, slots=True)
class SqlColumn:
    """A column of a result. `name` is unique within it; `type` as the product names it."""

    name: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlStatement:
    """`parameters`: JSON values. `prefix`: what we put in front of `sql`, with the space behind it. `within`: it runs
    in a transaction that is open already, and goes on after it.

    `max_bytes`: what an answer may have of rows, as JSON. Of a value that is larger alone the beginning will do, if it
    is larger than that too. `all_rows`: also those rows are looked at that come when a fetch has given more already.
    """

    sql: str
    max_bytes: int | None = None
    all_rows: bool = False
    parameters: tuple[Any, ...] = ()
    writes: bool = False
    prefix: str = ""
    within: bool = False

    @property
    def text(self) -> str:
        """What the database is sent."""
        return self.prefix + self.sql


class OpenSql(Protocol):
    """A statement under way, in a transaction that nobody has ended yet."""

    async def fetch(self, max_rows: int) -> list[bytes]:
        """The next rows as JSON objects; none at the end. A statement without columns has run when this returns."""
        ...

    @property
    def cut(self) -> Mapping[int, Sequence[str]]:
        """Of the rows of the last fetch, by their place: the columns of whose values the beginning alone is there, as a
        string."""
        ...

    @property
    def columns(self) -> tuple[SqlColumn, ...] | None:
        """The columns of the result, to be asked after the rows; None where the statement has none."""
        ...

    @property
    def affected(self) -> int | None:
        """Rows written by a statement without columns, where the database says so."""
        ...


class SqlAccess(Protocol):
    """One product's way. Stateless and shared. A connection is used for one statement, from `open` to `stop`; or, where
    the transaction goes on (`within`), to `leave`.
    """

    #: Placeholders, for descriptions and messages.
    placeholders: str
    #: A statement after which limits that a caller has set do not hold what ends the transaction; empty: none
    #: can be set.
    frees: str

    async def open(self, connection: _Connection, statement: SqlStatement) -> OpenSql:
        """The statement, in a transaction. Raises: CallError; whatever the driver raises, `translate` knows it.

        Within a transaction `fetch` raises TransactionEnded where the statement has ended it.
        """
        ...

    async def commit(self, connection: _Connection, opened: OpenSql) -> None:
        """Makes what a writing statement did last. Raises: as `open`."""
        ...

    async def stop(self, connection: _Connection) -> None:
        """Ends what runs on the connection, and rolls back what was not committed; the connection is closed then."""
        ...

    async def leave(self, connection: _Connection, opened: OpenSql | None) -> None:
        """Whatever was put in place on the connection for the statement is gone; what it did is as it was. `opened`:
        None where it was not to be opened. The connection is for nobody else all the same.
        """
        ...

    def lingers(self, connection: _Connection) -> bool:
        """Whether something still runs on it though it was stopped, because nothing could stop it."""
        ...

    def explaining(self, *, analyze: bool) -> str:
        """The prefix that asks for a statement's plan. Raises: CallError where there is no such thing."""
        ...

    def plan_text(self, rows: Sequence[bytes]) -> str:
        """The rows of an explanation as a text for people."""
        ...

    def translate(self, error: BaseException, statement: SqlStatement) -> CallError | None:
        """The driver's error in our words; None if it is not one of the driver's."""
        ...


def unique_names(names: Sequence[str]) -> list[str]:
    """A name a column: `n`, `n_2`, `n_3` where a result has the same one more than once."""
    taken = set(names)
    seen: dict[str, int] = {}
    made: list[str] = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        if seen[name] == 1:
            made.append(name)
            continue
        while (candidate := f"{name}_{seen[name]}") in taken:
            seen[name] += 1
        taken.add(candidate)
        made.append(candidate)
    return made
