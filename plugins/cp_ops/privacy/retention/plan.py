"""What becomes of the rows that the policies meet: pure. Which policies apply, and up to which day, is in policies.py."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from cp_ops.runtime.plan import Action, Payload, Plan, Skip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from cp_ops.privacy.retention.policies import AppliedPolicy, PassedOver


class Disposition(StrEnum):
    """What becomes of a row that is old enough; the SQL template `disposition` decides it.

    Besides these a row can be kept for a reason of its own table, which the table's statement words (`kept_because`).
    """

    DUE = "due"
    DONE = "done"
    """Archived or anonymised already."""
    LEGAL_HOLD = "legal hold"
    """Kept whatever the policy says, until somebody lifts the hold of the document that the row is, or has."""
    STILL_ACTIVE = "still active"
    """Kept by a policy that covers inactive rows only."""


@dataclass(frozen=True, slots=True)
class RowsByDisposition:
    """Rows that a policy meets and what becomes of them.

    :ivar disposition: a `Disposition`, or why rows of this table are kept.
    :ivar first: the age of the oldest row.
    :ivar last: the age of the youngest one.
    """

    disposition: str
    rows: int
    first: datetime | None = None
    last: datetime | None = None

    @property
    def is_kept(self) -> bool:
        """Whether the rows are old enough and stay."""
        return self.disposition not in (Disposition.DUE, Disposition.DONE)


@dataclass(frozen=True, slots=True)
class TableSurvey:
    """What a policy meets in one of its tables.

    :ivar name: what the rows are called in a plan.
    """

    applied: AppliedPolicy
    name: str
    met: tuple[RowsByDisposition, ...]

    @property
    def due(self) -> RowsByDisposition:
        """The rows that are due."""
        nothing = RowsByDisposition(Disposition.DUE, 0)
        return next((one for one in self.met if one.disposition == Disposition.DUE), nothing)

    @property
    def kept(self) -> dict[str, int]:
        """Rows that are old enough and stay: how many, by the reason."""
        return {f"{self.name}: {one.disposition}": one.rows for one in self.met if one.is_kept}


@dataclass(frozen=True, slots=True, eq=False)
class DueRows(Payload):
    """The rows of one table that a policy changes; all times as ISO text.

    :ivar policy: its id.
    :ivar before: the cutoff.
    """

    policy: int
    before: str
    first: str | None
    last: str | None


def plan_retention(surveys: Iterable[TableSurvey], passed: Iterable[PassedOver] = ()) -> Plan:
    """Plan one action per policy and table with rows that are due; kept rows are skips with their reason."""
    return Plan.of(_items(surveys, passed))


def _items(surveys: Iterable[TableSurvey], passed: Iterable[PassedOver]) -> Iterator[Action | Skip]:
    for item in passed:
        if not item.problem:
            yield Skip(f"policy:{item.policy.id}", item.reason, item.policy.firm_id)
    for survey in surveys:
        policy = survey.applied.policy
        for reason, rows in survey.kept.items():
            yield Skip(f"{survey.name}:policy:{policy.id}", reason, policy.firm_id, rows)
        if survey.due.rows:
            yield _action(survey)


def _action(survey: TableSurvey) -> Action:
    applied, due = survey.applied, survey.due
    return Action(
        applied.action.value,
        f"{survey.name}:policy:{applied.policy.id}",
        f"before {applied.cutoff_day}, from {_day(due.first)} to {_day(due.last)}",
        applied.policy.firm_id,
        due.rows,
        DueRows(applied.policy.id, applied.cutoff.isoformat(), _iso(due.first), _iso(due.last)),
    )


def _iso(instant: datetime | None) -> str | None:
    return instant.isoformat() if instant else None


def _day(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d}" if instant else "-"
