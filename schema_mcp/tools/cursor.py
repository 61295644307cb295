"""Cursors: where a page ended, opaque and signed. Pure.

A cursor is bound to the table as it is (its digest), to the filters and the order it was made with, and to its caller.
"""

import base64
import binascii
import hmac
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import orjson

from schema_mcp.caller import Caller
from schema_mcp.dialects.base import LARGE_KEY_CHARACTERS, DriverValue
from schema_mcp.errors import ErrorCode, InvalidArgument

_MAC_BYTES = 16
#: Why an answer that goes on has no cursor.
LONG_KEY_HINT = (
    "More rows match, but a page cannot begin behind a value as long as the last one of the order: "
    "order by another column, or narrow the filters."
)
_AGAIN = "Repeat the query without 'cursor' to begin at the first page."


class CursorSecret:
    """What cursors are signed with: this process's own key, or from `share` on one that other processes have too.

    What was signed with the own key before stays good.
    """

    def __init__(self, own: bytes) -> None:
        self._keys: tuple[bytes, ...] = (own,)

    def share(self, key: bytes) -> None:
        """Signs with `key` from now on."""
        self._keys = (key, self._keys[-1])

    def mac(self, text: bytes) -> bytes:
        """The signature."""
        return _mac(self._keys[0], text)

    def made(self, mac: bytes, text: bytes) -> bool:
        """Whether the signature is one of ours."""
        return any(hmac.compare_digest(mac, _mac(key, text)) for key in self._keys)


def query_digest(*parts: object) -> str:
    """What filters and order are compared by: equal for equal values, and hard to make equal for others."""
    return blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=9).hexdigest()


def is_sealable(keys: Sequence[DriverValue], max_bytes: int) -> bool:
    """Whether a page can begin behind these: a key as long as an answer may be has perhaps come cut."""
    longest = max(max_bytes, LARGE_KEY_CHARACTERS)
    return not any(isinstance(key, str | bytes) and len(key) >= longest for key in keys)


def seal(secret: CursorSecret, caller: Caller, table_digest: str, query: str, keys: Sequence[DriverValue]) -> str:
    """The cursor that stands behind the row with these order keys."""
    payload = orjson.dumps([table_digest, query, [_pack(key) for key in keys]])
    return base64.urlsafe_b64encode(payload + secret.mac(_signed(caller, payload))).decode().rstrip("=")


def unseal(
    secret: CursorSecret, caller: Caller, table_digest: str, query: str, cursor: str, count: int
) -> tuple[DriverValue, ...]:
    """The order keys in a cursor.

    Raises: InvalidArgument (`invalid_cursor`) for one that is altered, somebody else's, or of another query or table.
    """
    try:
        sealed = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
    except (binascii.Error, ValueError):
        raise _refused("'cursor' is not one that this server made") from None
    payload, mac = sealed[:-_MAC_BYTES], sealed[-_MAC_BYTES:]
    if (
        not secret.made(mac, _signed(caller, payload))
        or base64.urlsafe_b64encode(sealed).decode().rstrip("=") != cursor
    ):
        raise _refused("'cursor' is not one that this server made")
    made_for, made_by, keys = orjson.loads(payload)
    if made_for != table_digest:
        raise _refused("'cursor' belongs to another table, or the table has changed since")
    if made_by != query or len(keys) != count:
        raise _refused("'cursor' belongs to a query with other filters or another order")
    return tuple(_unpack(key) for key in keys)


def _signed(caller: Caller, payload: bytes) -> bytes:
    owner = orjson.dumps([caller.session, caller.principal])
    return len(owner).to_bytes(4, "big") + owner + payload


def _mac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")[:_MAC_BYTES]


def _pack(key: DriverValue) -> Any:
    match key:
        case float():
            return {"f": repr(key)}
        case bytes():
            return {"b": base64.b64encode(key).decode()}
    return key


def _unpack(packed: Any) -> DriverValue:
    if isinstance(packed, dict):
        return float(packed["f"]) if "f" in packed else base64.b64decode(packed["b"])
    value: DriverValue = packed
    return value


def _refused(message: str) -> InvalidArgument:
    return InvalidArgument(ErrorCode.INVALID_CURSOR, message, _AGAIN)
