"""cp_ops_housekeeping: remove the package's own old records, so that schema cp_ops does not grow for ever."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.options import JobOptions
from cp_ops.upkeep.housekeeping.plan import DeleteOld, OldRecords, RecordTable, plan_housekeeping

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Housekeeping"]  # operators name their job as text

BATCH = 5_000
"""Rows per DELETE."""
DELETIONS: Mapping[RecordTable, tuple[str, str]] = {
    RecordTable.JOB_RUN: ("delete_old_job_run", "job_run_deleted"),
    RecordTable.FINDING: ("delete_old_finding", "finding_deleted"),
}
"""Per table, the statement that deletes its old records, and what the outcome counts them as."""


class Housekeeping(Job[JobOptions]):
    """Remove finished runs and resolved findings that are older than the deployment keeps them."""

    command = "cp_ops_housekeeping"
    statements = "upkeep/housekeeping"
    options = JobOptions

    def run(self, run: JobRun, options: JobOptions) -> None:  # noqa: ARG002 - the base's signature
        """Count, plan, delete in batches."""
        day = run.now.astimezone(UTC).date() - timedelta(days=run.settings.run_retention_days)
        cutoff = datetime.combine(day, time(), UTC)
        with run.read() as tx:
            plan = plan_housekeeping(tx.rows("old_records", OldRecords, cutoff=cutoff), cutoff=cutoff)
        if not run.accept(plan):
            return
        for action in plan.actions:
            statement, counted_as = DELETIONS[action.payload(DeleteOld).table]
            # A batch that is not full was the last. Counting again would scan the table once more.
            deleted = BATCH
            while deleted == BATCH:
                with run.write() as tx:
                    deleted = tx.execute(statement, cutoff=cutoff, batch=BATCH)
                run.done(counted_as, deleted)
