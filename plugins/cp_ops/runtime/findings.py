"""Findings: what a run found and a person should know. Opened once, seen again, resolved when gone."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from cp_ops.runtime.outcome import FindingCounts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cp_ops.runtime.audit import Category
    from cp_ops.runtime.database import Transaction

SEEN_AGAIN_HOURS = 12
"""A finding's `last_seen_at` moves at most this often, so that a second run right after the first writes nothing."""


class Severity(StrEnum):
    """How much a finding matters, in the words of the application's audit severities."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


@dataclass(frozen=True, slots=True)
class Advice:
    """How much a kind of finding matters, and what a person can do about it."""

    severity: Severity
    proposed_action: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a person should know.

    :param subject: ``table:id`` or another stable key; one open finding per (command, kind, firm, subject).
    :param details: numbers and states; no personal data, no object keys, no secrets.
    :param proposed_action: what a person can do about it, in words.
    """

    kind: str
    subject: str
    severity: Severity
    proposed_action: str
    firm_id: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settled:
    """What settling findings did.

    :ivar by_firm: per firm ``findings_opened`` and ``findings_resolved``, as far as there were any.
    """

    counts: FindingCounts
    by_firm: Mapping[int, Mapping[str, int]]

    @property
    def opened(self) -> int:
        """Findings that are new."""
        return self.counts.opened

    @property
    def resolved(self) -> int:
        """Findings whose condition has ended."""
        return self.counts.resolved


class FindingsLedger:
    """Settles what a run saw against the open findings, in a handful of statements however many there are.

    What was seen is staged in the temporary table ``seen_finding``, by COPY from Python (`saw`) or by a statement of the
    job itself; `settle` then opens, refreshes and resolves.
    """

    def __init__(self, tx: Transaction, command: str, run_id: int) -> None:
        self._tx = tx
        self._command = command
        self._run_id = run_id

    def saw(self, findings: Iterable[Finding]) -> int:
        """Stage findings; gives how many."""
        return self._tx.copy(
            "runtime/stage_seen_findings",
            (
                (f.kind, f.subject, f.firm_id, f.severity.value, f.proposed_action, Jsonb(dict(f.details)))
                for f in findings
            ),
        )

    def settle(
        self,
        *,
        kinds: Sequence[str],
        firm_ids: Sequence[int],
        category: Category,
        subjects: Sequence[str] | None = None,
        subject_prefix: str = "",
    ) -> Settled:
        """Open what is new (one audit event each), refresh what is known, resolve what was examined and is gone.

        :param kinds: the kinds of finding that this run examined.
        :param firm_ids: the firms that this run examined.
        :param subjects: the subjects that this run examined, when it did not examine all of a firm.
        :param subject_prefix: what the subjects that this run examined start with, such as one bucket's.
        """
        scope = {
            "command": self._command,
            "run_id": self._run_id,
            "kinds": list(kinds),
            "firm_ids": list(firm_ids),
            "subjects": None if subjects is None else list(subjects),
            "subject_prefix": subject_prefix,
        }
        opened = self._tx.rows("runtime/open_findings", category=category.value, **scope)
        seen = self._tx.one("runtime/count_seen_findings")
        self._tx.execute("runtime/refresh_findings", hours=SEEN_AGAIN_HOURS, **scope)
        resolved = self._tx.rows("runtime/resolve_findings", **scope)
        counts = FindingCounts(
            opened=sum(row["findings"] for row in opened), resolved=sum(row["findings"] for row in resolved)
        )
        counts.seen_again = (seen or {"findings": 0})["findings"] - counts.opened
        by_firm: dict[int, dict[str, int]] = {}
        for label, rows in (("findings_opened", opened), ("findings_resolved", resolved)):
            for row in rows:
                if row["firm_id"] is not None:
                    by_firm.setdefault(row["firm_id"], {})[label] = row["findings"]
        return Settled(counts, by_firm)


@contextmanager
def ledger(tx: Transaction, command: str, run_id: int) -> Iterator[FindingsLedger]:
    """Open a ledger in a transaction. Its staging table goes with it."""
    tx.execute("runtime/create_seen_finding")
    yield FindingsLedger(tx, command, run_id)
    tx.execute("runtime/drop_seen_finding")
