"""The plan of an erasure: what is erased, pseudonymised or kept in each column, why, and what forbids it all. Pure.

Which rows that concerns is decided in `reach`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from cp_ops.privacy.erasure.entity import ScopeType
from cp_ops.runtime.errors import CpOpsError
from cp_ops.runtime.plan import Action, Payload, Plan, Skip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cp_ops.privacy.personal_data import Erasure
    from cp_ops.runtime.plan import Scalar

MAIL = "cp_ops.mail"
OBJECTS = "objects"


class Blocker(StrEnum):
    """What forbids an erasure until a person has settled it.

    The statements `client_blockers`, `engagement_blockers` and `legal_holds` count each of them.
    """

    LEGAL_HOLD = "legal hold"
    """A covered document is evidence: `documents_documents.legal_hold`. It is asked again before every deletion."""
    OPEN_INVOICES = "open invoices"
    """Of an account or an engagement: neither paid nor cancelled, refunded or charged back."""
    ACTIVE_ENGAGEMENTS = "active engagements"
    """Of an account, or the engagement itself: `current`."""
    ACTIVE_PROJECTS = "active projects"
    """Of an account, or under the engagement's contract: planned, in progress or on hold."""
    RETAINER_BALANCE = "retainer balance"
    """Money or hours of an account that are not used up."""


FORBIDDEN_BY = {
    ScopeType.ACCOUNT: (
        Blocker.OPEN_INVOICES,
        Blocker.ACTIVE_ENGAGEMENTS,
        Blocker.ACTIVE_PROJECTS,
        Blocker.RETAINER_BALANCE,
    ),
    ScopeType.ENGAGEMENT: (Blocker.ACTIVE_ENGAGEMENTS, Blocker.OPEN_INVOICES, Blocker.ACTIVE_PROJECTS),
}
"""Per kind of entity what forbids it beside a legal hold. A contact's account may go on without the contact."""


def left_outside(table: str, column: str) -> str:
    """Name the blocker that an address or a number is where no key leads: the erasure could not be completed."""
    return f"address or number left in {table}.{column}"


class ErasureBlockedError(CpOpsError):
    """Something forbids the erasure: nothing was changed."""


@dataclass(frozen=True, slots=True)
class ColumnChange:
    """What is left to erase in a column.

    :param why: the reason's name in the personal-data map.
    :param rows: rows in which it still holds something.
    """

    column: str
    treatment: Erasure
    why: str
    rows: int


@dataclass(frozen=True)
class TableChanges:
    """What is left to erase of one table's rows that were reached by the same keys.

    :param vias: the keys; '' is the whole row.
    :param rows: rows that still hold something.
    :param digest: of which rows these are; no values.
    """

    table: str
    vias: tuple[str, ...]
    rows: int
    digest: str
    columns: tuple[ColumnChange, ...]

    @property
    def held(self) -> tuple[ColumnChange, ...]:
        """The columns that still hold something."""
        return tuple(column for column in self.columns if column.rows)


@dataclass(frozen=True)
class KeptColumn:
    """A column that stays in the selected rows, and why."""

    table: str
    column: str
    why: str
    rows: int


@dataclass(frozen=True)
class PreviewCounts:
    """What the preview counted: the plan is made of it, and nothing else.

    :param blockers: `Blocker`, or what `left_outside` names, to how many rows.
    """

    changes: Sequence[TableChanges]
    kept: Sequence[KeptColumn]
    mails: int
    objects: int
    blockers: Mapping[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class EraseColumns(Payload):
    """Which rows of a table, and which of their columns.

    :param rows: the digest of which rows these are.
    """

    subject: str
    vias: tuple[str, ...]
    rows: str
    columns: tuple[ColumnChange, ...]

    def hashed(self) -> dict[str, Scalar]:
        """Give one line per key and per column: approvals that people have given cover this text."""
        # The digest tells plans apart that cover as many rows, but other ones: an approval holds for these rows.
        columns = (f"{change.column}:{change.treatment.value}:{change.rows}" for change in self.columns)
        return {
            "vias": "\n".join(self.vias),
            "rows": self.rows,
            "columns": "\n".join(columns),
            "subject": self.subject,
        }


@dataclass(frozen=True, slots=True, eq=False)
class ForgetMails(Payload):
    """Whose mails."""

    subject: str


@dataclass(frozen=True, slots=True, eq=False)
class DeleteObjects(Payload):
    """Whose stored files."""

    subject: str


def plan_erasure(counts: PreviewCounts, *, firm_id: int, subject: str) -> Plan:
    """Plan one action per table and kind of access, then mails, then objects. Holds counts, never values.

    :param subject: what is erased, such as ``contact:17``.
    """
    return Plan.of(_items(counts, firm_id, subject))


def _items(counts: PreviewCounts, firm_id: int, subject: str) -> Iterator[Action | Skip]:
    for change in counts.changes:
        if held := change.held:
            reason = ", ".join(f"{one.column}: {one.treatment.value} ({one.rows})" for one in held)
            payload = EraseColumns(subject, change.vias, change.digest, held)
            yield Action("erase", change.table, reason, firm_id, change.rows, payload)
    if counts.mails:
        reason = "outbox: address and text"
        yield Action("forget_mails", MAIL, reason, firm_id, counts.mails, ForgetMails(subject))
    if counts.objects:
        reason = "stored files, all versions"
        yield Action("delete_objects", OBJECTS, reason, firm_id, counts.objects, DeleteObjects(subject))
    for kept in counts.kept:
        yield Skip(f"{kept.table}.{kept.column}", f"kept: {kept.why}", firm_id, kept.rows)


def named_blockers(blockers: Mapping[str, int]) -> str:
    """Name what forbids the erasure, each with its count; '' when nothing does."""
    return ", ".join(f"{name} ({rows})" for name, rows in blockers.items() if rows)


def require_unblocked(blockers: Mapping[str, int]) -> None:
    """Refuse an erasure that something forbids.

    :raises ErasureBlockedError: naming every blocker with its count.
    """
    if named := named_blockers(blockers):
        raise ErasureBlockedError(
            f"the erasure is blocked by {named}: settle, release or remove them in the application, then look at a new "
            "preview"
        )


def approval_text(
    counts: PreviewCounts, plan: Plan, *, request_id: int, subject: str, reasons: Mapping[str, str]
) -> str:
    """Lay the plan out in Markdown for the person who approves it, in counts and reasons and without any value."""
    lines = [
        f"Erasure request **{request_id}** over **{subject}**. This cannot be undone.",
        "",
        "| Table | Column | What happens | Rows | Why |",
        "|---|---|---|---:|---|",
    ]
    lines += [
        f"| {change.table} | {one.column} | {one.treatment.value} | {one.rows} | {reasons.get(one.why, one.why)} |"
        for change in counts.changes
        for one in change.held
    ]
    if counts.mails:
        lines.append(f"| {MAIL} | address, text | erase | {counts.mails} | {reasons['identity']} |")
    if counts.objects:
        lines.append(
            f"| stored files | every version | delete | {counts.objects} | The file is the document. |"
        )
    lines += [
        f"| {kept.table} | {kept.column} | **keep** | {kept.rows} | {reasons.get(kept.why, kept.why)} |"
        for kept in counts.kept
    ]
    lines += [
        "",
        f"Blockers: {named_blockers(counts.blockers) or 'none'}.",
        "",
        f"Plan `sha256:{plan.sha256}`.",
        "Approval holds for exactly this plan: if the data changes before it is executed, nothing happens.",
    ]
    return "\n".join(lines)


def grouped_columns(
    columns: Mapping[str, tuple[str, ...]], vias: Iterable[str], passing: frozenset[str]
) -> dict[tuple[str, ...], list[str]]:
    """Group a table's columns by the keys through which a row must have been reached for them to be erased.

    :param columns: per column the keys that say whose its value is. Without any it is the row's.
    :param vias: the keys through which rows were reached, and '' for rows that are covered as a whole.
    :param passing: keys that merely mention the person (`PersonalDataMap.passing`). Through them only the column that
        holds the mention is erased, not the rest of the row.
    """
    reached = sorted(vias)
    groups: dict[tuple[str, ...], list[str]] = {}
    for column, whose in columns.items():
        allowed = tuple(via for via in reached if _opens(via, column, whose, passing))
        if allowed:
            groups.setdefault(allowed, []).append(column)
    return groups


def _opens(via: str, column: str, whose: tuple[str, ...], passing: frozenset[str]) -> bool:
    # A row that is covered as a whole, and a value that mentions the person, are erased whoever else is in the row.
    if via in ("", column):
        return True
    # Several people share the row: a value that says whose it is goes with that person's key only.
    if whose:
        return via in whose
    return via not in passing
