"""Plans that run one after the other, in one transaction if they are more than one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schema_mcp.errors import CallError
from schema_mcp.schema.model import Table
from schema_mcp.tools.base import Result, StatementPlan


@dataclass(frozen=True, slots=True)
class Step:
    """A plan, and the table that it is for. `instead`: steps in its place where the database refuses it, to find out
    which part of it that is about. `tag`: what whoever made it knows it by; None where it cannot be told which part of
    it has failed. `begins`: called when it does, once a try.
    """

    plan: StatementPlan
    table: Table
    tag: int | None = 0
    instead: "Callable[[], Sequence[Step]] | None" = None
    begins: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What a step gave."""

    step: Step
    result: Result

    @property
    def writes(self) -> bool:
        """Whether rows were written, to stay if all is committed."""
        return self.step.plan.writes and not self.step.plan.dry_run and self.result.affected > 0


class StepFailed(CallError):
    """One of several steps could not be done, and so none is."""

    def __init__(self, step: Step, error: CallError) -> None:
        super().__init__(error.code, error.message, error.hint, retryable=error.retryable)
        self.step = step
        self.error = error
