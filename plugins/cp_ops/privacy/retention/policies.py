"""Which retention policies apply, and up to which day: pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cp_ops.privacy.retention.covered_tables import COVERED_TABLES, CoveredTable, RetentionAction

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

COVERED_TYPES = {"emails": ("emails", "email_artifacts", "communications")}
"""The option `data_type` to the policies' data types, where the two differ."""
WEBHOOKS, SESSIONS = "webhooks", "sessions"
AUDIT_LOGS, AUDIT_YEARS = "audit_logs", 7
"""Audit events are kept for at least so many years, whatever a policy says."""
WEBHOOK_MIN_DAYS = 30
"""Providers deliver an event again for so long."""
LONGEST_DAYS = 36_500
"""A century: more is for ever."""
NEVER = datetime.min.replace(tzinfo=UTC)


class Cause(Enum):
    """Why a policy does nothing, as far as a decision hangs on it; `PassedOver.reason` has the words."""

    NOTHING_TO_DO = "it does not apply"
    KEEPS_FOR_EVER = "it keeps its rows for ever"
    NEEDS_CORRECTION = "something is wrong, and somebody has to correct it"


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

    @property
    def keeps_for_ever(self) -> bool:
        """Whether no row ever becomes old enough; 0 days is the application's word for it."""
        return self.retention_days == 0 or self.retention_days > LONGEST_DAYS


@dataclass(frozen=True, slots=True)
class FirmDay:
    """A firm's calendar day and time zone."""

    today: date
    timezone: str


@dataclass(frozen=True, slots=True)
class AppliedPolicy:
    """A policy that is carried out.

    :ivar cutoff_day: rows of an earlier day are due; the firm's calendar.
    :ivar cutoff: the same as an instant: that day's midnight in the firm's time zone.
    """

    policy: Policy
    action: RetentionAction
    cutoff_day: date
    cutoff: datetime


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A policy that does nothing, and why."""

    policy: Policy
    reason: str
    cause: Cause = Cause.NOTHING_TO_DO

    @property
    def problem(self) -> bool:
        """Whether somebody has to correct something: the task fails and names it."""
        return self.cause is Cause.NEEDS_CORRECTION


Decision = AppliedPolicy | PassedOver


def covered_types(data_type: str | None) -> tuple[str, ...] | None:
    """Give the policies' data types that the option `data_type` means; None for all."""
    return None if data_type is None else COVERED_TYPES.get(data_type, (data_type,))


def decide(
    policies: Iterable[Policy],
    days: Mapping[int, FirmDay],
    undated: Mapping[int, str],
    scope: Container[int],
) -> list[Decision]:
    """Decide what becomes of each policy of the run's firms, in the order in which they are carried out.

    :param policies: those of the run's firms and, where sessions are covered, of every served firm.
    :param undated: firms whose day is not known to the reason; their policies fail, and no other firm's.
    :param scope: the run's firms.
    """
    listed = list(policies)
    own = [policy for policy in listed if policy.data_type != SESSIONS and policy.firm_id in scope]
    # A session belongs to no firm in SQL. So every firm's policy is heard, also in a run for one firm, but only the
    # run's own firms log what was decided.
    sessions = [policy for policy in listed if policy.data_type == SESSIONS]
    winner, others = decide_sessions(_decisions(sessions, days, undated))
    heard: list[Decision] = [*others, winner] if winner else [*others]
    return [
        *_decisions(own, days, undated),
        *(decision for decision in heard if decision.policy.firm_id in scope),
    ]


def _decisions(
    policies: Iterable[Policy], days: Mapping[int, FirmDay], undated: Mapping[int, str]
) -> Iterator[Decision]:
    listed = list(policies)
    yield from assign((policy for policy in listed if policy.firm_id in days), days)
    for policy in sorted(listed, key=lambda policy: (policy.firm_id, policy.id)):
        if policy.firm_id in undated:
            yield PassedOver(policy, undated[policy.firm_id], Cause.NEEDS_CORRECTION)


def assign(policies: Iterable[Policy], days: Mapping[int, FirmDay]) -> Iterator[Decision]:
    """Decide for each policy whether and up to which day it applies; longest without an execution first.

    Where two policies of a firm cover the same table, the one that keeps longer wins.
    """
    # Where the time is up before every policy had its turn, the ones that waited are the first of the next run.
    ordered = sorted(policies, key=lambda p: (p.last_executed_at or NEVER, p.firm_id, p.data_type, p.id))
    for policy in ordered:
        yield _assigned(policy, days[policy.firm_id], _rival(policy, ordered))


def _rival(policy: Policy, policies: Iterable[Policy]) -> Policy | None:
    """Give another policy of the firm that covers the same table and keeps it longer."""
    tables = _tables(policy)
    rivals = [
        other
        for other in policies
        if other.firm_id == policy.firm_id and tables & _tables(other) and _rank(other) > _rank(policy)
    ]
    return max(rivals, key=_rank, default=None)


def _tables(policy: Policy) -> set[str]:
    return {covered.table for covered in COVERED_TABLES.get(policy.data_type, ())}


def _rank(policy: Policy) -> tuple[float, int]:
    # Of two policies that keep equally long the older one wins, so that exactly one of them applies.
    return (policy.retention_days or float("inf"), -policy.id)


def _assigned(policy: Policy, day: FirmDay, rival: Policy | None) -> Decision:
    if reason := _wrong(policy):
        return PassedOver(policy, reason, Cause.NEEDS_CORRECTION)
    if passed := _nothing_to_do(policy, rival):
        return passed
    cutoff_day = _cutoff_day(policy, day.today)
    # A plan of midnights: a preview and the run of the same day have the same cutoffs, and so the same plan.
    midnight = datetime.combine(cutoff_day, time(), ZoneInfo(day.timezone)).astimezone(UTC)
    return AppliedPolicy(policy, RetentionAction(policy.action), cutoff_day, midnight)


def _wrong(policy: Policy) -> str:
    """Say what somebody has to correct; '' when nothing."""
    if policy.retention_days < 0:
        return f"retention_days is {policy.retention_days}: correct the policy"
    if policy.action not in set(RetentionAction):
        return f"action is {policy.action!r}, not archive, anonymize or delete: correct the policy"
    return ""


def _nothing_to_do(policy: Policy, rival: Policy | None) -> PassedOver | None:
    """Give the policy as passed over, when it does nothing; None when it applies."""
    data_type, supported = policy.data_type, _supported_actions(policy.data_type)
    if supported is None:
        return PassedOver(policy, f"unknown data type {data_type}")
    if policy.keeps_for_ever:
        reason = f"{data_type}: keep for ever ({policy.retention_days} days)"
        return PassedOver(policy, reason, Cause.KEEPS_FOR_EVER)
    if RetentionAction(policy.action) not in supported:
        return PassedOver(policy, f"{data_type}: the application has no way to {policy.action} them")
    if rival is not None:
        reason = f"{data_type}: the policy {rival.data_type} covers the same rows and keeps longer"
        return PassedOver(policy, reason)
    return None


def _supported_actions(data_type: str) -> frozenset[RetentionAction] | None:
    if data_type in (WEBHOOKS, SESSIONS):
        return frozenset({RetentionAction.DELETE})
    tables: tuple[CoveredTable, ...] | None = COVERED_TABLES.get(data_type)
    return None if tables is None else frozenset.intersection(*(covered.actions for covered in tables))


def _cutoff_day(policy: Policy, today: date) -> date:
    days = policy.retention_days
    if policy.data_type == WEBHOOKS:
        days = max(days, WEBHOOK_MIN_DAYS)
    # Calendar years: 7 * 365 days would let an event go one or two days early.
    cutoff = today - timedelta(days=days)
    return min(cutoff, _years_before(today, AUDIT_YEARS)) if policy.data_type == AUDIT_LOGS else cutoff


def _years_before(day: date, years: int) -> date:
    try:
        return day.replace(year=day.year - years)
    except ValueError:  # 29 February
        return day.replace(year=day.year - years, day=28)


def decide_sessions(decisions: Iterable[Decision]) -> tuple[AppliedPolicy | None, list[PassedOver]]:
    """Find the one policy that decides over all sessions: the longest retention of all active and trial firms.

    A session belongs to no firm in SQL, so a firm that keeps them for ever keeps everybody's. So does a firm whose
    policy has to be corrected: it may want to keep them for ever.
    """
    passed: list[PassedOver] = []
    candidates: list[AppliedPolicy] = []
    for decision in decisions:
        if isinstance(decision, PassedOver):
            passed.append(decision)
        else:
            candidates.append(decision)
    vetoed = any(one.cause in (Cause.KEEPS_FOR_EVER, Cause.NEEDS_CORRECTION) for one in passed)
    if vetoed or not candidates:
        reason = "sessions: a firm keeps them for ever, and a session belongs to no firm"
        return None, passed + [PassedOver(one.policy, reason) for one in candidates]
    winner = min(candidates, key=lambda one: (one.cutoff, one.policy.id))
    reason = "sessions: the longest retention of all firms decides, another firm's"
    return winner, passed + [PassedOver(one.policy, reason) for one in candidates if one is not winner]
