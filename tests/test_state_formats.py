"""What an earlier version of the program left in the store."""

from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from schema_mcp.schema.codec import dumps
from schema_mcp.schema.model import Privilege
from schema_mcp.state.history import Outcome
from tests.test_state import ONE, history_of, seen, store_at, table


async def test_a_schema_of_the_format_before_is_loaded_and_rights_it_could_not_tell_are_no_change(
    tmp_path: Path,
) -> None:
    """Format 1 knew of no right to update or delete: what stands in it without any right named had those it knew."""
    store = store_at(str(tmp_path / "state.sqlite"))
    await store.open()
    reads = replace(table("dogs", "id"), privileges=frozenset({Privilege.SELECT}))
    reads = replace(reads, columns=(replace(reads.columns[0], privileges=frozenset({Privilege.SELECT})),))
    both = frozenset({Privilege.SELECT, Privilege.INSERT})
    inserts = replace(table("birds", "id"), privileges=both)
    inserts = replace(inserts, columns=(replace(inserts.columns[0], privileges=both),))
    await history_of(store).record(seen(1, ONE, reads, inserts))
    async with store.writing() as connection:
        # Of `birds` as format 1 wrote it: the rights to insert and select were all that there were.
        bare = dumps(table("birds", "id"))
        await connection.execute(
            sa.text("UPDATE schema_mcp_table SET value = :value, digest = '' WHERE name = 'birds'"),
            {"value": bare},
        )
        await connection.execute(sa.text("UPDATE schema_mcp_source SET format = 1"))
    later = history_of(store)
    loaded = (await later.load(schema=True)).schema
    assert loaded is not None
    assert {one.name.name: (one.privileges, one.columns[0].privileges) for one in loaded.tables.values()} == {
        ONE.name.name: (both, both),
        "dogs": (reads.privileges, reads.privileges),
        "birds": (both, both),
    }
    assert await later.record(seen(2, ONE, reads, inserts)) is Outcome.UNCHANGED
    assert (await history_of(store).load(schema=True)).schema == seen(2, ONE, reads, inserts).schema
