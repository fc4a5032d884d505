"""What another task of the same run left behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """A task's recorded `Outcome`, typed as far as other tasks read it.

    :ivar failures: the targets of the rows that failed and are named.
    :ivar plan: the hash of the plan, empty when there was nothing to do.
    :ivar error: why the run stopped, empty when it did not.
    :ivar recorded: all of it, as it was recorded.
    """

    planned: int
    done: int
    skipped: int
    failed: int
    reasons: Mapping[str, int]
    failures: tuple[str, ...]
    plan: str
    error: str
    recorded: Mapping[str, Any]

    @classmethod
    def of_task(cls, context: Context, task_id: str) -> Self | None:
        """Read what the task pushed; None when it did not get as far as its job."""
        recorded: Any = context["ti"].xcom_pull(task_ids=task_id, key="outcome")
        if not isinstance(recorded, dict):
            return None
        return cls(
            planned=recorded["planned"],
            done=recorded["done"],
            skipped=recorded["skipped"],
            failed=recorded["failed"],
            reasons=recorded["reasons"],
            failures=tuple(failure["target"] for failure in recorded["failures"]),
            plan=recorded["plan"],
            error=recorded["error"],
            recorded=recorded,
        )
