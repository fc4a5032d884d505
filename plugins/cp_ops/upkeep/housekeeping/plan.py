"""Which of the package's own records are old enough to go: the planner of cp_ops_housekeeping."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from cp_ops.runtime.plan import Action, Payload, Plan

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

DELETE = "delete"


class RecordTable(StrEnum):
    """The tables of schema `cp_ops` whose records grow old."""

    JOB_RUN = "job_run"
    FINDING = "finding"


@dataclass(frozen=True)
class OldRecords:
    """How many records of one table are old enough to go."""

    table: str
    records: int


@dataclass(frozen=True, slots=True, eq=False)
class DeleteOld(Payload):
    """Delete a table's records that ended before an instant (ISO text)."""

    table: RecordTable
    before: str


def plan_housekeeping(old: Iterable[OldRecords], *, cutoff: datetime) -> Plan:
    """Plan one deletion per table that has old records. Pure."""
    return Plan.of(
        Action(
            DELETE,
            f"cp_ops.{table.table}",
            f"older than {cutoff:%Y-%m-%d}",
            rows=table.records,
            data=DeleteOld(RecordTable(table.table), cutoff.isoformat()),
        )
        for table in old
        if table.records
    )
