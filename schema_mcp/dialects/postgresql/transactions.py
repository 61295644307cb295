"""A transaction over several calls on PostgreSQL: one round trip to begin it, to mark a call, to end it."""

from schema_mcp.dialects.base import Connection
from schema_mcp.dialects.transactions import Isolation

#: Behind our own limit, so that the server ends a transaction by itself only where we do not.
SLACK_S = 5.0
#: The first version that has transaction_timeout.
_HAS_TIMEOUT = 17


class PostgresqlTransactions:
    """See `TransactionAccess`."""

    isolation = Isolation.READ_COMMITTED

    def isolates(self, asked: Isolation) -> Isolation:
        """Each of them."""
        return asked

    async def begin(self, connection: Connection, isolation: Isolation, *, read_only: bool, max_age_s: float) -> None:
        """The limit is this transaction's alone: the session has none."""
        sql = f"BEGIN ISOLATION LEVEL {isolation} {'READ ONLY' if read_only else 'READ WRITE'}"
        if connection.get_server_version().major >= _HAS_TIMEOUT:
            sql = f"{sql}; SET LOCAL transaction_timeout = {round((max_age_s + SLACK_S) * 1000)}"
        await connection.execute(sql)

    async def mark(self, connection: Connection, *, first: bool, limits_s: tuple[float, float] | None = None) -> None:
        """A savepoint of one name: its subtransaction ends with the next one, so that none pile up. The limits stand
        before it, so that undoing the call does not lift them."""
        parts = [] if first else ["RELEASE SAVEPOINT call"]
        if limits_s is not None:
            for name, limit_s in zip(("statement_timeout", "lock_timeout"), limits_s, strict=True):
                parts.append(f"SET LOCAL {name} = {round(limit_s * 1000)}")
        await connection.execute("; ".join([*parts, "SAVEPOINT call"]))

    async def undo(self, connection: Connection) -> None:
        """The savepoint stays."""
        await connection.execute("ROLLBACK TO SAVEPOINT call")

    async def commit(self, connection: Connection) -> bool:
        """COMMIT of a transaction in which something has failed answers ROLLBACK."""
        return bool(await connection.execute("COMMIT") == "COMMIT")

    def outcome(self, connection: Connection) -> bool | None:
        """The server knows, and is asked by the transaction's mark."""
        return None

    async def roll_back(self, connection: Connection) -> None:
        """See `TransactionAccess`."""
        await connection.execute("ROLLBACK")

    def is_open(self, connection: Connection) -> bool:
        """As the server said with the end of the last statement."""
        return not connection.is_closed() and connection.is_in_transaction()
