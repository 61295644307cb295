"""A TCP proxy that a test puts between the program and PostgreSQL, to lose what a network can lose.

It passes everything on until told otherwise. `stall`: nothing moves and nothing is closed. `forget`: that of the
connections there are, for ever, while new ones are served. `reset`: every connection breaks. `lose`: what a pattern is
in does not arrive, or the server's answer to it does not or by half, and its connection breaks. `swallow`: it does not
arrive, and nothing breaks. `withhold`: the same of the server's answer to it. `delay`: it arrives after its connection
has broken. `slow`: what the server answers comes in small pieces.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

#: What goes through at once where replies are slowed down.
PIECE_BYTES = 16


class Proxy:
    """`url` leads through here. `opened`: how many connections there were; `lost`: how many `lose` has broken."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._serving: set[asyncio.Task[None] | None] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._moving = _set()
        self._pattern = b""
        self._reply = False
        self._times = 0
        self._half = False
        self._bytes_per_s: float | None = None
        self._breaks = True
        self._late_s = 0.0
        self._then: Callable[[], None] = _nothing
        self.url = ""
        self.lost = 0
        self.opened = 0
        #: How many requests were held back because nothing moved.
        self.held = 0
        #: How many connections have ended, by whomever.
        self.over = 0

    def listens_on(self, port: int) -> None:
        """Told once, before anybody connects."""
        credentials = self._target.netloc.rpartition("@")[0]
        self.url = self._target._replace(netloc=f"{credentials}@127.0.0.1:{port}").geturl()

    def stall(self) -> None:
        """From now on nothing is passed on, of new connections either."""
        self._moving.clear()

    def go_on(self) -> None:
        """Passes on what was held back, and all that follows."""
        self._moving.set()

    def forget(self) -> Callable[[], None]:
        """The connections there are lead nowhere any more, as behind a firewall that has forgotten them; until what
        this gives is called.
        """
        held, self._moving = self._moving, _set()
        held.clear()
        return held.set

    def reset(self) -> None:
        """Breaks every open connection; new ones are served."""
        for pump in self._pumps:
            pump.cancel()

    def lose(
        self,
        pattern: bytes,
        *,
        reply: bool = False,
        half: bool = False,
        times: int = 1,
        then: "Callable[[], None] | None" = None,
    ) -> None:
        """Loses the next `times` requests with the pattern, or only the replies to them, or the second `half` of these;
        `then` is called each time."""
        self._pattern, self._reply, self._half, self._times = pattern, reply or half, half, times
        self._breaks, self._late_s, self._then = True, 0.0, then or _nothing

    def delay(self, pattern: bytes, late_s: float, then: "Callable[[], None] | None" = None) -> None:
        """Breaks the connection of the next request with the pattern; the server gets it so much later, and later still
        sees its end of the connection break."""
        self.lose(pattern, then=then)
        self._late_s = late_s

    def swallow(self, pattern: bytes) -> None:
        """Loses the next request with the pattern and what follows it, and nobody is told."""
        self.lose(pattern)
        self._breaks = False

    def withhold(self, pattern: bytes) -> None:
        """Loses the reply to the next request with the pattern and what follows it, and nobody is told."""
        self.lose(pattern, reply=True)
        self._breaks = False

    def slow(self, bytes_per_s: float | None) -> None:
        """Passes replies on at this rate, a connection; at any again with None."""
        self._bytes_per_s = bytes_per_s

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        task = asyncio.current_task()
        self._serving.add(task)
        self.opened += 1
        moving, asked = self._moving, asyncio.Event()  # asked: something was passed on whose reply is to be lost
        with suppress(OSError):
            onward_reader, onward = await asyncio.open_connection(self._target.hostname, self._target.port)
            requests = asyncio.create_task(self._pass_requests(reader, onward, writer, moving, asked))
            replies = asyncio.create_task(self._pass_replies(onward_reader, writer, moving, asked))
            self._pumps |= {requests, replies}
            await asyncio.wait({requests, replies}, return_when=asyncio.FIRST_COMPLETED)
            for pump in (requests, replies):
                pump.cancel()
                self._pumps.discard(pump)
            onward.transport.abort()
        writer.transport.abort()
        self._serving.discard(task)
        self.over += 1

    async def ended(self) -> None:
        """Breaks every connection; returns when nothing runs any more."""
        self.reset()
        if serving := [task for task in self._serving if task is not None]:
            await asyncio.wait(serving)

    async def _pass_requests(
        self,
        reader: asyncio.StreamReader,
        onward: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        moving: asyncio.Event,
        asked: asyncio.Event,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                self.held += not moving.is_set()
                await moving.wait()
                if self._times and self._pattern in data:
                    self._times -= 1
                    self.lost += 1
                    if not self._reply:
                        self._then()
                        if late_s := self._late_s:
                            back.transport.abort()
                            await asyncio.sleep(late_s)
                            onward.write(data)
                            await asyncio.sleep(late_s)
                        if self._breaks:
                            return
                        await asyncio.Event().wait()  # not even the end of the connection is passed on
                    asked.set()
                onward.write(data)

    async def _pass_replies(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, moving: asyncio.Event, asked: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await moving.wait()
                if asked.is_set():
                    if self._half:
                        writer.write(data[: len(data) // 2])
                        await writer.drain()
                    self._then()
                    if not self._breaks:
                        await asyncio.Event().wait()
                    return
                while self._bytes_per_s is not None and data:
                    writer.write(data[:PIECE_BYTES])
                    data = data[PIECE_BYTES:]
                    await asyncio.sleep(PIECE_BYTES / self._bytes_per_s)
                writer.write(data)


def _nothing() -> None:
    """What follows from a loss unless a test says otherwise."""


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[Proxy]:
    """A proxy to the server of that PostgreSQL URL."""
    proxy = Proxy(url)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.listens_on(server.sockets[0].getsockname()[1])
    try:
        yield proxy
    finally:
        server.close()
        await proxy.ended()
        await server.wait_closed()
