"""Who asks. Given to every handler, plan and handle, so that what belongs to one caller is never shown to another."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """`session`: the handshake session or the stdio connection, None in the stateless era over HTTP.

    `principal`: who signed in, None where nobody has to.
    """

    session: str | None = None
    principal: str | None = None
