"""Which policies apply, up to which day, and what they would do: pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cp_ops.privacy.retention.covered_tables import TARGETS, RetentionAction, Target
from cp_ops.runtime.plan import Action, Plan, Skip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

COVERED = {"emails": ("emails", "email_artifacts", "communications")}
"""The option `data_type` to the policies' data types, where the two differ."""
WEBHOOKS, SESSIONS = "webhooks", "sessions"
AUDIT_LOGS, AUDIT_YEARS = "audit_logs", 7
"""Audit events are kept for at least so many years, whatever a policy says."""
WEBHOOK_MIN_DAYS = 30
"""Providers deliver an event again for so long."""
LONGEST_DAYS = 36_500
"""A century: more is for ever."""
DUE, DONE = "due", "done"
NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Policy:
    """An active row of core_retention_policies."""

    id: int
    firm_id: int
    data_type: str
    retention_days: int
    action: str
    only_if_inactive: bool
    last_executed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class FirmDay:
    """A firm's calendar day and time zone."""

    today: date
    timezone: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """A policy that is carried out.

    :ivar cutoff_day: rows of an earlier day are due; the firm's calendar.
    :ivar cutoff: the same as an instant: that day's midnight in the firm's time zone.
    """

    policy: Policy
    action: RetentionAction
    cutoff_day: date
    cutoff: datetime


@dataclass(frozen=True, slots=True)
class Passed:
    """A policy that does nothing, and why; `problem`: it is wrong, and somebody has to correct it."""

    policy: Policy
    reason: str
    problem: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """Rows that a policy meets and what becomes of them: ``due``, ``done``, or why they are kept."""

    verdict: str
    rows: int
    first: datetime | None = None
    last: datetime | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """What a policy meets in one of its tables."""

    assignment: Assignment
    target: str
    verdicts: tuple[Verdict, ...]

    @property
    def due(self) -> Verdict:
        """The rows that are due."""
        return next((verdict for verdict in self.verdicts if verdict.verdict == DUE), Verdict(DUE, 0))

    @property
    def kept(self) -> int:
        """Rows that are old enough and stay."""
        return sum(verdict.rows for verdict in self.verdicts if verdict.verdict not in (DUE, DONE))


def covered_types(data_type: str | None) -> tuple[str, ...] | None:
    """Give the policies' data types that the option `data_type` means; None for all."""
    return None if data_type is None else COVERED.get(data_type, (data_type,))


def assign(policies: Iterable[Policy], days: Mapping[int, FirmDay]) -> Iterator[Assignment | Passed]:
    """Decide for each policy whether and up to which day it applies; longest without an execution first.

    Where two policies of a firm cover the same table, the one that keeps longer wins.
    """
    ordered = sorted(policies, key=lambda p: (p.last_executed_at or NEVER, p.firm_id, p.data_type, p.id))
    for policy in ordered:
        yield _assigned(policy, days[policy.firm_id], _rival(policy, ordered))


def _rival(policy: Policy, policies: Iterable[Policy]) -> Policy | None:
    """Give another policy of the firm that covers the same table and keeps it longer."""
    tables = {target.table for target in TARGETS.get(policy.data_type, ())}
    rivals = [
        other
        for other in policies
        if other.firm_id == policy.firm_id
        and other.id != policy.id
        and tables & {target.table for target in TARGETS.get(other.data_type, ())}
        and _rank(other) > _rank(policy)
    ]
    return max(rivals, key=_rank, default=None)


def _rank(policy: Policy) -> tuple[float, int]:
    return (policy.retention_days or float("inf"), -policy.id)


def _assigned(policy: Policy, day: FirmDay, rival: Policy | None) -> Assignment | Passed:
    if reason := _wrong(policy):
        return Passed(policy, reason, problem=True)
    if reason := _nothing_to_do(policy, rival):
        return Passed(policy, reason)
    cutoff_day = _cutoff_day(policy, day.today)
    midnight = datetime.combine(cutoff_day, time(), ZoneInfo(day.timezone)).astimezone(UTC)
    return Assignment(policy, RetentionAction(policy.action), cutoff_day, midnight)


def _wrong(policy: Policy) -> str:
    """Say what somebody has to correct; '' when nothing."""
    if policy.retention_days < 0:
        return f"retention_days is {policy.retention_days}: correct the policy"
    if policy.action not in set(RetentionAction):
        return f"action is {policy.action!r}, not archive, anonymize or delete: correct the policy"
    return ""


def _nothing_to_do(policy: Policy, rival: Policy | None) -> str:
    """Say why the policy does nothing; '' when it applies."""
    supported = _supported_actions(policy.data_type)
    if supported is None:
        return f"unknown data type {policy.data_type}"
    if policy.retention_days == 0 or policy.retention_days > LONGEST_DAYS:
        return f"{policy.data_type}: keep for ever ({policy.retention_days} days)"
    if RetentionAction(policy.action) not in supported:
        return f"{policy.data_type}: the application has no way to {policy.action} them"
    if rival is not None:
        return f"{policy.data_type}: the policy {rival.data_type} covers the same rows and keeps longer"
    return ""


def _supported_actions(data_type: str) -> frozenset[RetentionAction] | None:
    if data_type in (WEBHOOKS, SESSIONS):
        return frozenset({RetentionAction.DELETE})
    targets: tuple[Target, ...] | None = TARGETS.get(data_type)
    return None if targets is None else frozenset.intersection(*(target.actions for target in targets))


def _cutoff_day(policy: Policy, today: date) -> date:
    days = policy.retention_days
    if policy.data_type == WEBHOOKS:
        days = max(days, WEBHOOK_MIN_DAYS)
    cutoff = today - timedelta(days=days)
    return min(cutoff, _years_before(today, AUDIT_YEARS)) if policy.data_type == AUDIT_LOGS else cutoff


def _years_before(day: date, years: int) -> date:
    try:
        return day.replace(year=day.year - years)
    except ValueError:  # 29 February
        return day.replace(year=day.year - years, day=28)


def decide_sessions(assigned: Iterable[Assignment | Passed]) -> tuple[Assignment | None, list[Passed]]:
    """Find the one policy that decides over all sessions: the longest retention of all active firms.

    A session belongs to no firm in SQL, so a firm that keeps them for ever keeps everybody's.
    """
    voices = list(assigned)
    passed = [voice for voice in voices if isinstance(voice, Passed)]
    candidates = [voice for voice in voices if isinstance(voice, Assignment)]
    keeper = next((voice for voice in passed if "for ever" in voice.reason or voice.problem), None)
    if keeper is not None or not candidates:
        reason = "sessions: a firm keeps them for ever, and a session belongs to no firm"
        return None, passed + [Passed(voice.policy, reason) for voice in candidates]
    winner = min(candidates, key=lambda voice: (voice.cutoff, voice.policy.id))
    reason = "sessions: the longest retention of all firms decides, another firm's"
    others = [Passed(voice.policy, reason) for voice in candidates if voice is not winner]
    return winner, passed + others


def plan_retention(surveys: Iterable[Survey], passed: Iterable[Passed] = ()) -> Plan:
    """Plan one action per policy and table with rows that are due; kept rows are skips with their reason."""
    return Plan.of(_items(surveys, passed))


def _items(surveys: Iterable[Survey], passed: Iterable[Passed]) -> Iterator[Action | Skip]:
    for item in passed:
        if not item.problem:
            yield Skip(f"policy:{item.policy.id}", item.reason, item.policy.firm_id)
    for survey in surveys:
        policy, due = survey.assignment.policy, survey.due
        for verdict in survey.verdicts:
            if verdict.verdict not in (DUE, DONE):
                reason = f"{survey.target}: {verdict.verdict}"
                yield Skip(f"{survey.target}:policy:{policy.id}", reason, policy.firm_id, verdict.rows)
        if due.rows:
            yield Action(
                survey.assignment.action.value,
                f"{survey.target}:policy:{policy.id}",
                f"before {survey.assignment.cutoff_day}, from {_day(due.first)} to {_day(due.last)}",
                policy.firm_id,
                due.rows,
                {
                    "policy": policy.id,
                    "before": survey.assignment.cutoff.isoformat(),
                    "first": due.first.isoformat() if due.first else None,
                    "last": due.last.isoformat() if due.last else None,
                },
            )


def _day(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d}" if instant else "-"
