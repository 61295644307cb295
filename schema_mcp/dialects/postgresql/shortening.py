"""Rows on their way from PostgreSQL to asyncpg: of what no answer could hold, the beginning alone goes on.

asyncpg takes a row in whole and has it several times over before anybody could shorten it. So the server's messages are
met before it has them (`between.py`): a DataRow that is too large is made anew out of the beginnings of its values, and
what is behind them is dropped as it arrives. Every other message goes on as it came, in the pieces that it came in.

For statements that are not of our making: around the columns of others an expression does the same in the database
(`row_object.py`). It knows no types; values are texts here.
"""

import math
import struct

from schema_mcp.dialects.base import Connection
from schema_mcp.dialects.postgresql.between import HEAD, Between

#: Of a row so many times as much is kept as of one value, and then of each further value no more than `LEAST_BYTES`.
ROW_VALUES = 2
LEAST_BYTES = 80

_DATA_ROW = ord("D")
#: In a DataRow: the number of values, then the length of each.
_LENGTH = struct.Struct("!i")
_COUNT = struct.Struct("!h")
_NULL = -1


class Shortening(Between):
    """`columns`: of the rows that come. `value_bytes`: a row of more is looked at, and a value of more is shortened to
    so many. `enough_bytes`: once a fetch has given more than so many, nobody looks at its further rows, which come
    empty.
    """

    def __init__(
        self, connection: Connection, columns: int, *, value_bytes: int, enough_bytes: int | None = None
    ) -> None:
        super().__init__(connection)
        #: Of the length of a row's message, what is no value.
        self._frame_bytes = _LENGTH.size + _COUNT.size + columns * _LENGTH.size
        self._value_bytes = value_bytes
        self._enough_bytes = math.inf if enough_bytes is None else enough_bytes
        #: Of which not all goes on.
        self._row: _Row | None = None
        self.begin()

    def begin(self) -> None:
        """The next row is the first one of a fetch.

        `cut`: of each row that was shortened, by its place, the places of the values. `empty_from`: the first row that
        came empty.
        """
        self.cut: dict[int, list[int]] = {}
        self.empty_from: int | None = None
        self._place = -1
        self._size = 0

    def data_received(self, data: bytes) -> None:
        """Called by the transport, with whatever came."""
        if self._head:
            data, self._head = self._head + data, b""
        start = at = 0
        end = len(data)
        while at < end:
            if self._row is not None:
                start = at = self._row.take(data, at)
                self._pass_row()
            elif self._missing:
                step = min(self._missing, end - at)
                self._missing -= step
                at += step
            elif end - at < HEAD.size:
                self._head = data[at:]
                break
            else:
                kind, length = HEAD.unpack_from(data, at)
                if kind == _DATA_ROW and not self._leaving:
                    self._place += 1
                    size = length - self._frame_bytes
                    if size > self._value_bytes or self._size > self._enough_bytes:
                        self._pass(data, start, at)
                        self._row = self._shortened(size)
                        start = at = at + HEAD.size
                        continue
                    self._size += size
                self._missing = 1 + length
        self._pass(data, start, at)
        self._step_aside()

    def _pass(self, data: bytes, start: int, end: int) -> None:
        if start < end:
            self._behind.data_received(data[start:end])

    def _pass_row(self) -> None:
        """Sends the row on, if it has come in whole."""
        assert self._row is not None
        if self._row.ended:
            if self._row.cut:
                self.cut[self._place] = self._row.cut
            message, self._row = self._row.message(), None
            self._behind.data_received(message)

    def _shortened(self, size: int) -> "_Row":
        """What makes another row of the one that comes."""
        if self._size > self._enough_bytes:
            if self.empty_from is None:
                self.empty_from = self._place
            return _Row(0)
        self._size += size
        return _Row(self._value_bytes)

    def _is_half_through(self) -> bool:
        return self._row is not None or super()._is_half_through()


class _Row:
    """A DataRow that comes in piece by piece, from behind its head on. `value_bytes`: 0 makes every value null.

    `cut`: the places of values that are shorter than they were.
    """

    def __init__(self, value_bytes: int) -> None:
        self.cut: list[int] = []
        self.ended = False
        self._value_bytes = value_bytes
        self._left_bytes = ROW_VALUES * value_bytes
        self._number = bytearray()
        self._count: int | None = None
        self._made: list[bytes] = []
        #: Of the value that comes: what is kept, how much more may be, and how much is still to come.
        self._value = bytearray()
        self._room = self._missing = 0
        self._in_value = False

    def take(self, data: bytes, at: int) -> int:
        """Where in `data` its part of it ends."""
        end = len(data)
        while not self.ended:
            if self._in_value:
                step = min(self._missing, end - at)
                kept = min(step, self._room)
                self._value += data[at : at + kept]
                self._room -= kept
                self._missing -= step
                at += step
                if self._missing:
                    return at
                self._close()
                continue
            number = _COUNT if self._count is None else _LENGTH
            step = min(number.size - len(self._number), end - at)
            self._number += data[at : at + step]
            at += step
            if len(self._number) < number.size:
                return at
            (value,) = number.unpack(self._number)
            self._number.clear()
            if self._count is None:
                self._count = value
                self.ended = value == 0
            else:
                self._open(value)
        return at

    def message(self) -> bytes:
        """The row as a message."""
        assert self._count is not None
        body = _COUNT.pack(self._count) + b"".join(self._made)
        return bytes([_DATA_ROW]) + _LENGTH.pack(_LENGTH.size + len(body)) + body

    def _open(self, length: int) -> None:
        if length == _NULL:
            self._add(_LENGTH.pack(_NULL))
            return
        self._room = min(length, self._value_bytes, max(LEAST_BYTES, self._left_bytes))
        self._missing = length
        self._in_value = True
        if self._room < length and self._value_bytes:
            self.cut.append(len(self._made))

    def _close(self) -> None:
        self._in_value = False
        place = len(self._made)
        value = bytes(self._value)
        self._value.clear()
        if self._value_bytes == 0:
            self._add(_LENGTH.pack(_NULL))
            return
        if self.cut and self.cut[-1] == place:
            value = whole_characters(value)
        self._left_bytes -= len(value)
        self._add(_LENGTH.pack(len(value)) + value)

    def _add(self, value: bytes) -> None:
        self._made.append(value)
        self.ended = len(self._made) == self._count


def whole_characters(text: bytes) -> bytes:
    """UTF-8 without a character that is cut off at its end (RFC 3629 section 3); what else is wrong with it stays."""
    for behind in range(1, min(4, len(text)) + 1):
        byte = text[-behind]
        if byte & 0b1100_0000 != 0b1000_0000:  # where a character begins
            needed = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return text[:-behind] if behind < needed else text
    return text
