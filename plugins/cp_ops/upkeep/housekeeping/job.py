"""cp_ops_housekeeping: remove the package's own old records, so that schema cp_ops does not grow for ever."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.options import JobOptions
from cp_ops.runtime.plan import Action, Plan

if TYPE_CHECKING:
    from collections.abc import Iterable

BATCH = 5_000
"""Rows per DELETE."""


@dataclass(frozen=True)
class OldRecords:
    """How many records of one table are old enough to go."""

    table: str
    records: int


def plan_housekeeping(old: Iterable[OldRecords], *, cutoff: datetime) -> Plan:
    """Plan one deletion per table that has old records. Pure."""
    return Plan.of(
        Action(
            "delete",
            f"cp_ops.{table.table}",
            f"older than {cutoff:%Y-%m-%d}",
            rows=table.records,
            data={"table": table.table, "before": cutoff.isoformat()},
        )
        for table in old
        if table.records
    )


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
            table = action.data["table"]
            deleted = BATCH
            while deleted == BATCH:
                with run.write() as tx:
                    deleted = tx.execute(f"delete_old_{table}", cutoff=cutoff, batch=BATCH)
                run.done(f"{table}_deleted", deleted)
