"""Carrying one policy out: batch by batch, within the time, with a log row that is true at every moment."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from cp_ops.runtime.batches import START
from cp_ops.runtime.errors import CpOpsError, LeaseLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from cp_ops.privacy.retention.plan import RowsByDisposition, TableSurvey
    from cp_ops.privacy.retention.policies import PassedOver, Policy
    from cp_ops.privacy.retention.rows import RowsUnderPolicy
    from cp_ops.runtime.batches import Position
    from cp_ops.runtime.database import Tenant
    from cp_ops.runtime.job import JobRun

    SurveyedRows = tuple[RowsUnderPolicy, TableSurvey]


@dataclass
class Progress:
    """How far a policy has come.

    :ivar left: rows that were not reached in time.
    """

    done: Counter[str] = field(default_factory=Counter)
    left: int = 0
    oldest_left: datetime | None = None
    error: str = ""


class PolicyExecution:
    """One policy's execution: its row of core_retention_executions, and its batches.

    :param in_time: tells whether there is time for another batch.
    """

    def __init__(self, run: JobRun, tenant: Tenant, policy: Policy, in_time: Callable[[], bool]) -> None:
        self._run, self._tenant, self._policy, self._in_time = run, tenant, policy, in_time
        self._id = 0
        self.progress = Progress()

    def carry_out(self, covered: Sequence[SurveyedRows]) -> None:
        """Log the beginning, do the batches of every table, log the end."""
        kept = {reason: rows for _, survey in covered for reason, rows in survey.kept.items()}
        self._begin(skipped=sum(kept.values()))
        for rows, survey in covered:
            if survey.due.rows:
                self._carry_out(rows, survey.due)
        self._finish(
            {
                "run": self._run.run_id,
                "before": covered[0][0].applied.cutoff_day.isoformat(),
                "rows": dict(self.progress.done),
                "kept": kept,
                "left": self.progress.left,
                "oldest_left": self.progress.oldest_left and self.progress.oldest_left.isoformat(),
            }
        )

    def pass_over(self, passed: PassedOver) -> None:
        """Log a policy that did nothing."""
        self._begin(skipped=0)
        self.progress.error = passed.reason if passed.problem else ""
        self._finish({"run": self._run.run_id, "skipped": passed.reason})

    def _carry_out(self, rows: RowsUnderPolicy, due: RowsByDisposition) -> None:
        """Do one table; what fails is counted, and the policy's other tables go on."""
        try:
            with rows.collected(self._tenant):
                reached = self._batches(rows, due.rows)
        except LeaseLostError:
            raise
        except CpOpsError as error:
            self.progress.error = str(error)
            # More may have become due than was planned: a failure is never counted as nothing.
            failed = max(due.rows - self.progress.done[rows.name], 1)
            self._run.fail(f"{rows.name}:policy:{self._policy.id}", error, rows=failed)
            return
        left = max(due.rows - self.progress.done[rows.name], 0)
        if not left:
            return
        if reached is None:  # every row was looked at: what is left was passed over
            self._run.skip(f"{rows.name}: changed or held by the application meanwhile", left)
            return
        self._run.skip("the time is up: left for the next run", left)
        self._leave(left, due.first if reached == START else reached[0])

    def _leave(self, rows: int, oldest: datetime | None) -> None:
        """Note what the next run will find."""
        self.progress.left += rows
        self.progress.oldest_left = min(filter(None, (self.progress.oldest_left, oldest)), default=None)

    def _batches(self, rows: RowsUnderPolicy, planned: int) -> Position | None:
        """Do batches until there are no more or the time is up; gives where the next one would begin, or None."""
        # The position moves on whatever a batch did: rows that are held or changed are met once, not for ever.
        action, after, done = rows.applied.action.value, START, 0
        while self._in_time():
            with self._run.write(self._tenant) as tx:
                batch = rows.apply(tx, after)
                if batch.done:
                    # In the batch's own transaction: the log says what happened also when the run is killed next.
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
        with self._run.write(self._tenant) as tx:
            tx.execute(
                "finish_execution",
                id=self._id,
                status="failed" if self.progress.error else "completed",
                error=self.progress.error,
                result=Jsonb(result),
            )
