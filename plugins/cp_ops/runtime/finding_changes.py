"""The plan of a job that only reports: which findings it would open, and which have ended. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from cp_ops.runtime.plan import Action, Payload, Plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Change(StrEnum):
    """What becomes of a finding."""

    OPEN = "open"
    RESOLVE = "resolve"


REASONS: Mapping[Change, str] = {
    Change.OPEN: "found and not known yet",
    Change.RESOLVE: "known and not found any more",
}


@dataclass(frozen=True, slots=True)
class FindingChange:
    """Findings of one kind and firm that open or are resolved; a row of the job's own statement.

    :param change: ``open`` or ``resolve``.
    :param firm_id: None for what several firms share, such as a bucket.
    :param subjects_sha256: digest over the subjects, so that a plan's hash tells which findings they are.
    """

    change: str
    kind: str
    firm_id: int | None
    findings: int
    subjects_sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class FindingSubjects(Payload):
    """Which findings are opened or resolved, as a digest over their subjects."""

    subjects: str


def plan_findings(changes: Iterable[FindingChange]) -> Plan:
    """Plan what to open and resolve, per kind and firm."""
    return Plan.of(
        Action(
            f"{found.change}_{found.kind}",
            f"{found.kind}:firm:{found.firm_id or 'shared'}",
            REASONS[Change(found.change)],
            found.firm_id,
            found.findings,
            FindingSubjects(found.subjects_sha256),
        )
        for found in changes
    )
