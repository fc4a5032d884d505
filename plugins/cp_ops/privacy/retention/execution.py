"""Carrying one policy out: batch by batch, within the time, with a log row that is true at every moment."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cp_ops.privacy.retention.rows import START
from cp_ops.runtime.errors import CpOpsError, LeaseLostError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cp_ops.privacy.retention.plan import Policy, Survey
    from cp_ops.privacy.retention.rows import Position
    from cp_ops.privacy.retention.webhooks_and_sessions import CoveredRows
    from cp_ops.runtime.database import Tenant
    from cp_ops.runtime.job import JobRun

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far a policy has come."""

    done: Counter[str] = field(default_factory=Counter)
    left: int = 0
    oldest_left: datetime | None = None
    error: str = ""


class Execution:
    """One policy's execution: its row of core_retention_executions, and its batches.

    :param in_time: tells whether there is time for another batch.
    """

    def __init__(self, run: JobRun, tenant: Tenant, policy: Policy, in_time: Callable[[], bool]) -> None:
        self._run, self._tenant, self._policy, self._in_time = run, tenant, policy, in_time
        self._id = 0
        self.progress = Progress()

    def carry_out(self, covered: list[tuple[CoveredRows, Survey]]) -> None:
        """Log the beginning, do the batches of every table, log the end."""
        self._begin(skipped=sum(survey.kept for _, survey in covered))
        for rows, survey in covered:
            if survey.due.rows:
                self._carry_out(rows, survey)
        self._finish(
            {
                "run": self._run.run_id,
                "before": covered[0][0].assignment.cutoff_day.isoformat(),
                "rows": dict(self.progress.done),
                "kept": {
                    f"{survey.target}: {verdict.verdict}": verdict.rows
                    for _, survey in covered
                    for verdict in survey.verdicts
                    if verdict.verdict not in ("due", "done")
                },
                "left": self.progress.left,
                "oldest_left": self.progress.oldest_left and self.progress.oldest_left.isoformat(),
            }
        )

    def pass_over(self, reason: str, *, problem: bool) -> None:
        """Log a policy that did nothing."""
        self._begin(skipped=0)
        self.progress.error = reason if problem else ""
        self._finish({"run": self._run.run_id, "skipped": reason})

    def _carry_out(self, rows: CoveredRows, survey: Survey) -> None:
        before = self.progress.done[rows.name]
        planned = survey.due.rows
        try:
            with rows.collected(self._tenant):
                reached = self._batches(rows, planned)
        except LeaseLostError:
            raise
        except CpOpsError as error:
            self.progress.error = str(error)
            failed = max(planned - self.progress.done[rows.name] + before, 1)
            self._run.fail(f"{rows.name}:policy:{self._policy.id}", error, rows=failed)
            return
        if not (left := max(planned - self.progress.done[rows.name] + before, 0)):
            return
        if reached is None:
            self._run.skip(f"{rows.name}: changed or held by the application meanwhile", left)
            return
        self._run.skip("the time is up: left for the next run", left)
        self.progress.left += left
        oldest = survey.due.first if reached == START else reached[0]
        self.progress.oldest_left = min(filter(None, (self.progress.oldest_left, oldest)), default=None)

    def _batches(self, rows: CoveredRows, planned: int) -> Position | None:
        """Do batches until there are no more or the time is up; gives where the next one would begin, or None."""
        action, after, done = rows.assignment.action.value, START, 0
        while self._in_time():
            with self._run.write(self._tenant) as tx:
                batch = rows.apply(tx, after)
                if batch.done:
                    tx.execute("count_execution", id=self._id, rows=batch.done, action=action)
            if not batch.found:
                return None
            after = batch.after
            done += batch.done
            self.progress.done[rows.name] += batch.done
            self._run.done(f"{rows.name}_{action}", batch.done, self._policy.firm_id)
            self._run.progress(f"{rows.name}, firm {self._policy.firm_id}: {action} {done} of {planned}")
        return after

    def _begin(self, *, skipped: int) -> None:
        with self._run.write(self._tenant) as tx:
            row = tx.one(
                "begin_execution",
                firm_id=self._policy.firm_id,
                policy_id=self._policy.id,
                now=self._run.now,
                skipped=skipped,
                run_id=self._run.run_id,
            )
        assert row is not None
        self._id = row["id"]

    def _finish(self, result: dict[str, Any]) -> None:
        from psycopg.types.json import Jsonb

        with self._run.write(self._tenant) as tx:
            tx.execute(
                "finish_execution",
                id=self._id,
                status="failed" if self.progress.error else "completed",
                error=self.progress.error,
                result=Jsonb(result),
            )
