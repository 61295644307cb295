"""Who is told of writes through the server."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from schema_mcp.schema.model import TableName


@dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """`ended`: of the end of each write, however it was, for who must not go on with what was read before.

    `committed`: in which tables rows have been written, for who waits for that.
    """

    ended: Callable[[], None] = lambda: None
    committed: Callable[[Iterable[TableName]], None] = lambda tables: None


#: Nobody is told.
UNTOLD = Writes()
