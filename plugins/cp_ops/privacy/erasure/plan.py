"""The plan of an erasure: per table and column what is erased, pseudonymised or kept, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cp_ops.runtime.errors import CpOpsError
from cp_ops.runtime.plan import Action, Plan, Skip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cp_ops.privacy.personal_data import Erasure

MAIL = "cp_ops.mail"
OBJECTS = "objects"


class ErasureBlockedError(CpOpsError):
    """Something forbids the erasure: nothing was changed."""


@dataclass(frozen=True)
class TableChanges:
    """What is left to erase of one table's rows that were reached by the same keys.

    :param vias: the keys; '' is the whole row.
    :param rows: rows that still hold something.
    :param digest: of which rows these are; no values.
    :param columns: per column its treatment, the reason's name, and the rows in which it still holds something.
    """

    table: str
    vias: tuple[str, ...]
    rows: int
    digest: str
    columns: tuple[tuple[str, Erasure, str, int], ...]


@dataclass(frozen=True)
class Kept:
    """A column that stays in the selected rows, and why."""

    table: str
    column: str
    why: str
    rows: int


@dataclass(frozen=True)
class Findings:
    """What the preview found."""

    changes: Sequence[TableChanges]
    kept: Sequence[Kept]
    mails: int
    objects: int
    blockers: Mapping[str, int]


def plan_erasure(found: Findings, *, firm_id: int, subject: str) -> Plan:
    """Plan one action per table and kind of access, then mails, then objects. Holds counts, never values.

    :param subject: what is erased, such as ``contact:17``.
    """
    return Plan.of(_items(found, firm_id, subject))


def _items(found: Findings, firm_id: int, subject: str) -> Iterator[Action | Skip]:
    for change in found.changes:
        held = [(column, treatment, rows) for column, treatment, _, rows in change.columns if rows]
        if held:
            yield Action(
                "erase",
                change.table,
                ", ".join(f"{column}: {treatment.value} ({rows})" for column, treatment, rows in held),
                firm_id,
                change.rows,
                {
                    "vias": "\n".join(change.vias),
                    "rows": change.digest,
                    "columns": "\n".join(
                        f"{column}:{treatment.value}:{rows}" for column, treatment, rows in held
                    ),
                    "subject": subject,
                },
            )
    if found.mails:
        yield Action(
            "forget_mails", MAIL, "outbox: address and text", firm_id, found.mails, {"subject": subject}
        )
    if found.objects:
        yield Action(
            "delete_objects",
            OBJECTS,
            "stored files, all versions",
            firm_id,
            found.objects,
            {"subject": subject},
        )
    for kept in found.kept:
        yield Skip(f"{kept.table}.{kept.column}", f"kept: {kept.why}", firm_id, kept.rows)


def require_unblocked(blockers: Mapping[str, int]) -> None:
    """Refuse an erasure that something forbids.

    :raises ErasureBlockedError: naming every blocker with its count.
    """
    named = [f"{name} ({rows})" for name, rows in blockers.items() if rows]
    if named:
        raise ErasureBlockedError(
            "the erasure is blocked by "
            + ", ".join(named)
            + ": settle, release or remove them in the application, then look at a new preview"
        )


def approval_text(
    found: Findings, plan: Plan, *, request_id: int, subject: str, reasons: Mapping[str, str]
) -> str:
    """Lay the plan out in Markdown for the person who approves it: counts, tables, legal reasons; no values."""
    lines = [
        f"Erasure request **{request_id}** over **{subject}**. This cannot be undone.",
        "",
        "| Table | Column | What happens | Rows | Why |",
        "|---|---|---|---:|---|",
    ]
    lines += [
        f"| {change.table} | {column} | {treatment.value} | {rows} | {reasons.get(why, why)} |"
        for change in found.changes
        for column, treatment, why, rows in change.columns
        if rows
    ]
    if found.mails:
        lines.append(f"| {MAIL} | address, text | erase | {found.mails} | {reasons['identity']} |")
    if found.objects:
        lines.append(
            f"| stored files | every version | delete | {found.objects} | The file is the document. |"
        )
    lines += [
        f"| {kept.table} | {kept.column} | **keep** | {kept.rows} | {reasons.get(kept.why, kept.why)} |"
        for kept in found.kept
    ]
    blocked = [f"{name} ({rows})" for name, rows in found.blockers.items() if rows]
    lines += [
        "",
        f"Blockers: {', '.join(blocked) if blocked else 'none'}.",
        "",
        f"Plan `sha256:{plan.sha256}`.",
    ]
    lines += [
        "Approval holds for exactly this plan: if the data changes before it is executed, nothing happens."
    ]
    return "\n".join(lines)


def grouped_columns(
    columns: Mapping[str, tuple[str, ...]], vias: Iterable[str], passing: frozenset[str]
) -> dict[tuple[str, ...], list[str]]:
    """Group a table's columns by the keys through which a row must have been reached for them to be erased.

    :param columns: per column the keys that say whose its value is; none: the row's.
    :param vias: the keys through which rows were reached; '' is the whole row.
    :param passing: keys by which only values that name the person are erased, not the rest of the row; or the column
        itself, which mentions the person.
    """
    reached = sorted(vias)
    groups: dict[tuple[str, ...], list[str]] = {}
    for column, whose in columns.items():
        allowed = tuple(
            via for via in reached if via in ("", column) or (via in whose if whose else via not in passing)
        )
        if allowed:
            groups.setdefault(allowed, []).append(column)
    return groups
