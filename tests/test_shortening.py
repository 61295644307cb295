"""Messages of PostgreSQL on their way to the driver: whole as they came, but for rows that are too large."""

import asyncio
import struct
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, TypeAlias

from hypothesis import example, given
from hypothesis import strategies as st

from schema_mcp.dialects.postgresql.shortening import LEAST_BYTES, ROW_VALUES, Shortening, whole_characters

Values: TypeAlias = Sequence[bytes | None]

COLUMNS, MOST = 3, 100


class Behind(asyncio.Protocol):
    """Stands for the driver, as far as bytes go."""

    def __init__(self) -> None:
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data


class Wire(asyncio.Transport):
    """A connection that nobody is at the other end of."""

    def __init__(self, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def leads_to(self, protocol: object) -> bool:
        return self.protocol is protocol

    def arrives(self, data: bytes) -> None:
        assert isinstance(self.protocol, asyncio.Protocol)
        self.protocol.data_received(data)


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", 4 + len(body)) + body


def row(values: Values) -> bytes:
    parts = (struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value for value in values)
    return message(b"D", struct.pack("!h", len(values)) + b"".join(parts))


def shortening(value_bytes: int = MOST, enough_bytes: int | None = None) -> tuple[Wire, Behind, Shortening]:
    behind = Behind()
    wire = Wire(behind)
    connection: Any = SimpleNamespace(_transport=wire)
    return wire, behind, Shortening(connection, COLUMNS, value_bytes=value_bytes, enough_bytes=enough_bytes)


def kept(values: Values) -> Values:
    """What is to come of a row."""
    if sum(len(value) for value in values if value is not None) <= MOST:
        return values
    left, short = ROW_VALUES * MOST, []
    for value in values:
        short.append(value if value is None else value[: min(MOST, max(LEAST_BYTES, left))])
        left -= len(short[-1] or b"")
    return short


def pieces(data: bytes, ends: Sequence[int]) -> list[bytes]:
    places = sorted({0, len(data), *(end % (len(data) + 1) for end in ends)})
    return [data[start:end] for start, end in pairwise(places)]


values = st.lists(
    st.none() | st.sampled_from([b"", b"x", b"y" * 40, b"z" * MOST, b"z" * (MOST + 1), b"a" * 1_000]),
    min_size=COLUMNS,
    max_size=COLUMNS,
)
others = st.builds(message, st.sampled_from([b"C", b"Z", b"T", b"N", b"2", b"s"]), st.binary(max_size=300))


@given(st.lists(values | others, max_size=12), st.lists(st.integers(min_value=0), max_size=40))
@example([[b"a" * 1_000, None, b""], message(b"C", b"D" * 9)], list(range(1_100)))
def test_a_row_that_is_too_large_keeps_the_beginnings_of_its_values(
    sent: list[Values | bytes], ends: list[int]
) -> None:
    wire, behind, filter_ = shortening()
    expected, place = b"", -1
    cut: dict[int, list[int]] = {}
    for one in sent:
        if isinstance(one, bytes):
            expected += one
            continue
        place += 1
        expected += row(kept(one))
        large = [at for at, (value, short) in enumerate(zip(one, kept(one), strict=True)) if value != short]
        cut |= {place: large} if large else {}
    data = b"".join(one if isinstance(one, bytes) else row(one) for one in sent)
    for piece in pieces(data, ends):
        wire.arrives(piece)
    assert (behind.received, filter_.cut, filter_.empty_from) == (expected, cut, None)
    filter_.leave()
    assert wire.leads_to(behind)


@given(st.lists(values, max_size=12), st.lists(st.integers(min_value=0), max_size=40))
def test_rows_behind_so_many_bytes_come_empty(sent: list[Values], ends: list[int]) -> None:
    wire, behind, filter_ = shortening(enough_bytes=300)
    expected, size, empty_from = b"", 0, None
    for place, one in enumerate(sent):
        if size > 300:
            empty_from = place if empty_from is None else empty_from
            expected += row([None] * COLUMNS)
        else:
            expected += row(kept(one))
        size += sum(len(value) for value in one if value is not None)
    for piece in pieces(b"".join(map(row, sent)), ends):
        wire.arrives(piece)
    assert (behind.received, filter_.empty_from) == (expected, empty_from)
    assert all(empty_from is None or place < empty_from for place in filter_.cut)


def test_of_a_row_with_many_large_values_the_last_ones_are_shortest() -> None:
    wire, behind, filter_ = shortening(value_bytes=1_000)
    wire.arrives(row([b"a" * 2_000, b"b" * 950, b"c" * 900]))
    assert behind.received == row([b"a" * 1_000, b"b" * 950, b"c" * LEAST_BYTES])
    assert filter_.cut == {0: [0, 2]}


def test_a_connection_that_is_left_in_the_midst_of_a_row_is_left_behind_it() -> None:
    wire, behind, filter_ = shortening()
    large, small = row([b"a" * 1_000, None, b""]), row([b"b" * 1_000, b"", b""])
    wire.arrives(large[:500])
    filter_.leave()
    assert wire.leads_to(filter_)
    wire.arrives(large[500:] + small[:300])
    assert wire.leads_to(filter_)
    wire.arrives(small[300:])
    assert wire.leads_to(behind)
    assert behind.received == row([b"a" * MOST, None, b""]) + small


def test_no_character_is_cut_in_two() -> None:
    text = "aé€😀"
    encoded = text.encode()
    wholes = {"".join(text[:n]).encode() for n in range(len(text) + 1)}
    assert {whole_characters(encoded[:end]) for end in range(len(encoded) + 1)} == wholes
    # What is no UTF-8 is left for its reader to refuse.
    assert whole_characters(b"ab\x80\x80\x80\x80\x80") == b"ab\x80\x80\x80\x80\x80"
    assert whole_characters(b"\xff") == b""
