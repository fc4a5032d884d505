"""What is due after a backup was restored: which journaled erasures are carried out again, and which are not. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from cp_ops.privacy.erasure.journal import JournalState
from cp_ops.privacy.erasure.plan import named_blockers
from cp_ops.runtime.findings import Finding, Severity
from cp_ops.runtime.plan import Action, Payload, Plan, Skip

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from cp_ops.privacy.erasure.journal import JournalEntry, JournalKey


class LeftAlone(StrEnum):
    """Why an entry is not carried out again."""

    OTHER_DATABASE = "the firm is not in this database"
    GONE = "it is not in this database"
    REUSED = "another row has its id now"
    ERASED = "it is erased"
    END_UNKNOWN = "it was begun, and the journal does not say that it was completed"


class ReplayFinding(StrEnum):
    """What a person should know about an entry."""

    REUSED = "erased_id_in_use_again"
    END_UNKNOWN = "erasure_end_unknown"


ADVICE = {
    ReplayFinding.REUSED: "A row of this id was erased, and another one has the id now. If it is the erased person again, "
    "entered anew, and must go, make an erasure request",
    ReplayFinding.END_UNKNOWN: "An erasure was begun, and nothing says whether it was completed before the backup was "
    "restored. If it was approved, approve and execute a request over this entity again",
}


@dataclass(frozen=True, slots=True, eq=False)
class EraseAgain(Payload):
    """Which request erased it."""

    request: int


@dataclass(frozen=True)
class RestoredEntity:
    """What the restored database holds of an entry's entity.

    :ivar created_at: since when the row is there that has the entity's id now. None when there is none.
    :ivar left: what is left to erase. None when the row is not the entry's, or there is none.
    :ivar blockers: what forbids to erase it again.
    """

    created_at: datetime | None
    left: Plan | None
    blockers: Mapping[str, int]


@dataclass(frozen=True)
class ReplayDecision:
    """What becomes of an entry.

    :ivar plan_sha256: what is left to erase of it; '' when it is left alone.
    """

    entry: JournalEntry
    item: Action | Skip
    finding: ReplayFinding | None = None
    plan_sha256: str = ""


def target_of(entry: JournalEntry) -> str:
    """Name an entry's entity, such as ``contact:17``."""
    return f"{entry.scope_type}:{entry.entity_id}"


def is_somebody_else(entry: JournalEntry, created_at: datetime) -> bool:
    """Tell whether a row is another one than the entry's: a restored database hands out ids again."""
    return created_at > entry.executed_at


def ends_unknown(
    begun: Mapping[JournalKey, JournalEntry],
    done: Mapping[JournalKey, JournalEntry],
    under_way: Collection[JournalKey],
) -> list[JournalEntry]:
    """Give what was begun later than it was executed, if ever, and of which the database does not know the end either.

    :param under_way: what the database knows to be begun: the next run of its request completes it.
    """
    return [
        entry
        for key, entry in begun.items()
        if key not in under_way and (key not in done or done[key].executed_at < entry.executed_at)
    ]


def decide_replay(entry: JournalEntry, restored: RestoredEntity | None) -> ReplayDecision:
    """Decide whether an entry is carried out again.

    :param restored: None when the entry's firm is not in this database.
    """
    target = target_of(entry)
    if restored is None:
        return ReplayDecision(entry, Skip(target, LeftAlone.OTHER_DATABASE, None))
    if restored.created_at is None:
        return ReplayDecision(entry, Skip(target, LeftAlone.GONE, entry.firm_id))
    done = entry.state is JournalState.DONE
    if is_somebody_else(entry, restored.created_at):
        # What was only begun has perhaps erased nobody: that its id is in use is no news.
        finding = ReplayFinding.REUSED if done else None
        return ReplayDecision(entry, Skip(target, LeftAlone.REUSED, entry.firm_id), finding)
    if restored.left is None or not restored.left.actions:
        return ReplayDecision(entry, Skip(target, LeftAlone.ERASED, entry.firm_id))
    # Begun is not approved for good: the run may have been killed before its commit, and the request rejected since.
    if not done:
        skip = Skip(target, LeftAlone.END_UNKNOWN, entry.firm_id)
        return ReplayDecision(entry, skip, ReplayFinding.END_UNKNOWN)
    blocked = named_blockers(restored.blockers)
    reason = f"request {entry.request_id} erased it; a restored backup brought it back"
    reason += f"; blocked by {blocked}" if blocked else ""
    action = Action(
        "erase_again", target, reason, entry.firm_id, restored.left.rows, EraseAgain(entry.request_id)
    )
    return ReplayDecision(entry, action, plan_sha256=restored.left.sha256)


def findings_of(decisions: Iterable[ReplayDecision]) -> list[Finding]:
    """Give the findings, one for each entity and kind: the last of its entries speaks."""
    found = {
        (decision.entry.firm_id, decision.finding, decision.item.target): _finding(
            decision.finding, decision.entry
        )
        for decision in decisions
        if decision.finding is not None
    }
    return list(found.values())


def _finding(kind: ReplayFinding, entry: JournalEntry) -> Finding:
    details = {"request": entry.request_id, "executed_at": entry.executed_at.isoformat()}
    return Finding(kind, target_of(entry), Severity.WARNING, ADVICE[kind], entry.firm_id, details)
