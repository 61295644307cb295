"""What telling of progress costs a call over stdio: one row by its key, and ten thousand, with a token and without."""

from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median

from benchmarks.client import PROGRAM, Peer, serving
from benchmarks.databases import LABELS, PRODUCTS, Databases
from benchmarks.figures import Figure
from benchmarks.timing import Contender, interleaved

SUBJECT = "progress"
ROUNDS, CALLS = 30, 40
ROUNDS_OF_MANY = 9
#: The cap on the bytes of an answer must not cut what is compared.
MAX_BYTES = 100_000_000
_QUIET = "without a token"
_CALLS: dict[str, dict[str, object]] = {"one row by its key": {"where": {"id": 77}}, "10,000 rows": {"limit": 10_000}}


async def measure(databases: Databases, counts: Sequence[int]) -> list[Figure]:
    """The number of tables does not matter here."""
    figures: list[Figure] = []
    for product in PRODUCTS:
        with ExitStack() as stack:
            peer = stack.enter_context(serving(PROGRAM, databases.items(product), results__max_bytes=MAX_BYTES))
            for what, arguments in _CALLS.items():
                many = "limit" in arguments
                contenders = {
                    _QUIET: _asking(peer, arguments, {}),
                    "with one": _asking(peer, arguments, {"progressToken": 7}),
                }
                times = await interleaved(
                    contenders, rounds=ROUNDS_OF_MANY if many else ROUNDS, calls=1 if many else CALLS, warm=5
                )
                figures += [
                    Figure(
                        subject=SUBJECT,
                        what=f"{what}, {LABELS[product]}: {name}",
                        unit="ms",
                        values=values,
                        floor=None if name == _QUIET else median(times[_QUIET]),
                        floor_name="" if name == _QUIET else _QUIET,
                    )
                    for name, values in times.items()
                ]
    return figures


def _asking(peer: Peer, arguments: dict[str, object], meta: dict[str, object]) -> Contender:
    async def ask() -> None:
        peer.exchange(peer.request("tools/call", {"name": "query_items", "arguments": arguments, "_meta": meta}))
        peer.forget_notifications()

    return ask
