"""What was done in a transaction so far: to be told at its end, and while it is open."""

from dataclasses import replace

from schema_mcp.execute.steps import Done
from schema_mcp.schema.model import Table, TableName
from schema_mcp.tools.base import Action, SqlPlan, SqlResult
from schema_mcp.tools.transactions import Operation


class Tally:
    """Counts what has succeeded. What was rehearsed is not done."""

    def __init__(self) -> None:
        self._operations: dict[tuple[str, TableName | None], Operation] = {}
        #: What an error of COMMIT is told by: the table that was written last, or one of which not all may be told.
        self.judged_by: Table | None = None
        self.written: set[TableName] = set()

    @property
    def operations(self) -> tuple[Operation, ...]:
        """By kind of tool and table, as they were first done."""
        return tuple(self._operations.values())

    def count(self, done: Done) -> None:
        """A plan's step."""
        plan = done.step.plan
        if plan.dry_run:
            return
        kind = "query" if plan.action is Action.READ else str(plan.action)
        self._add(kind, plan.table, done.result.affected if plan.writes else 0)
        if done.writes:
            self.written.add(plan.table)
        known = self.judged_by
        if plan.writes and not (known is not None and (known.hides_columns or known.masks_columns)):
            self.judged_by = done.step.table

    def count_sql(self, plan: SqlPlan, result: SqlResult) -> None:
        """A statement of the caller's own."""
        self._add("explain_query" if plan.explain else "execute_sql", None, result.affected or 0)

    def _add(self, tool: str, table: TableName | None, rows: int) -> None:
        before = self._operations.get((tool, table), Operation(tool=tool, table=table, calls=0, rows=0))
        self._operations[tool, table] = replace(before, calls=before.calls + 1, rows=before.rows + rows)
