"""What watching costs: the gate while nothing changes, and looks that find nothing while rows change."""

import time
from collections.abc import Sequence
from statistics import median

import anyio

from benchmarks.client import PROGRAM, serving
from benchmarks.databases import LABELS, PRODUCTS, Changer, Databases, opened
from benchmarks.figures import Budget, Figure
from benchmarks.timing import Contender, cpu_ms, interleaved

SUBJECT = "gate"
ROUNDS = 40
CALLS = 25
#: How long the server is watched while rows change, some rests between looks included, and how often they do.
WATCHED_S = 6.0
WATCHED_LONG_S = 25.0
COMMIT_EVERY_S = 0.1

_CPU = Budget(limit=1.0, text="1 ms (10,000 tables)")
_SHARE = Budget(limit=5.0, text="5 % of a core (10,000 tables)")

_INSERT = "INSERT INTO item_0000 (code, name) VALUES (left(md5(random()::text), 20), 'x')"
_WATCHER = "SELECT min(pid) FROM pg_stat_activity WHERE application_name = 'schema-mcp'"


async def measure(databases: Databases, counts: Sequence[int]) -> list[Figure]:
    """The gate of both products at each number of tables, then PostgreSQL while rows change."""
    figures = []
    for count in counts:
        for product in PRODUCTS:
            figures += await _gate(databases, product, count)
    for count in counts:
        figures += await _while_rows_change(databases, count)
    return figures


async def _gate(databases: Databases, product: str, count: int) -> list[Figure]:
    database, dialect = opened(databases.tables(product, count))
    async with database.single() as connection:

        async def floor() -> None:
            if product == "postgresql":
                await connection.fetchval("SELECT 1")
            else:
                await connection.run(lambda raw: raw.execute("SELECT 1").fetchone())

        async def gate() -> None:
            await dialect.gate(connection)

        times = await interleaved({"floor": floor, "gate": gate}, rounds=ROUNDS, calls=CALLS)
        backend = connection.get_server_pid() if product == "postgresql" else None
        cpu = await _cpu(gate, backend)
    await database.close()
    figures = [
        Figure(
            subject=SUBJECT,
            what=f"the gate, {LABELS[product]}, {count:,} tables",
            unit="ms",
            values=times["gate"],
            floor=median(times["floor"]),
            floor_name="SELECT 1",
        )
    ]
    figures += [
        Figure(subject=SUBJECT, what=f"  of it CPU of {whose}", unit="ms", values=(value,), budget=_CPU)
        for whose, value in cpu.items()
    ]
    return figures


async def _cpu(run: Contender, backend: int | None) -> dict[str, float]:
    """Milliseconds of processor time a call: ours, and PostgreSQL's where the system tells."""
    calls = ROUNDS * CALLS
    before, ours = cpu_ms(backend) if backend else None, time.process_time()
    for _ in range(calls):
        await run()
    found = {"the server": (time.process_time() - ours) * 1000 / calls}
    if backend and before is not None and (after := cpu_ms(backend)) is not None:
        found["PostgreSQL"] = (after - before) / calls
    return found


async def _while_rows_change(databases: Databases, count: int) -> list[Figure]:
    """The share of a core that the real server and its watching connection take at the default poll interval."""
    url = databases.changing("postgresql", count)
    changer = Changer(url)
    with serving(PROGRAM, url, tools__surface="tables", tools__page_size=100_000) as peer:
        peer.ask("tools/list", {})
        backend = int(databases.server.execute(_WATCHER))
        watched_s = WATCHED_S if count <= 1_000 else WATCHED_LONG_S
        before = (cpu_ms(peer.pid), cpu_ms(backend))
        started = time.monotonic()
        while time.monotonic() - started < watched_s:
            await changer.execute(_INSERT)
            await anyio.sleep(COMMIT_EVERY_S)
        elapsed_ms = (time.monotonic() - started) * 1000
        after = (cpu_ms(peer.pid), cpu_ms(backend))
    await changer.close()
    return [
        Figure(
            subject=SUBJECT,
            what=f"watching while rows change, {count:,} tables: {whose}",
            unit="% of a core",
            values=((end - start) / elapsed_ms * 100,),
            budget=_SHARE,
        )
        for whose, start, end in zip(("the server", "PostgreSQL"), before, after, strict=True)
        if start is not None and end is not None
    ]
