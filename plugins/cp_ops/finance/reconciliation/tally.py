"""One verdict per compared invoice, counted, and the findings of those that differ. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cp_ops.finance.reconciliation.invoices import LocalInvoice
from cp_ops.finance.reconciliation.kinds import INVOICE_KINDS, KINDS, FindingKind
from cp_ops.finance.reconciliation.plan import compare
from cp_ops.runtime.errors import ImplausibleError
from cp_ops.runtime.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from cp_ops.finance.reconciliation.kinds import Mismatch


class InvoiceVerdict(StrEnum):
    """What the comparison of one invoice ended in."""

    MATCHED = "matched"
    MISMATCHED = "mismatched"
    MISSING = "missing"
    MOVING = "moving"


@dataclass
class Tally:
    """Counts the verdicts, and gives the findings.

    :ivar local: invoices that were compared.
    :ivar population: invoices that should have been compared.
    :ivar orphans: Stripe objects that name an invoice which knows nothing of them.
    :ivar moving: subjects of the invoices of which nothing is concluded in this run.
    """

    local: int = 0
    population: int = 0
    orphans: int = 0
    moving: list[str] = field(default_factory=list)
    _verdicts: Counter[InvoiceVerdict] = field(default_factory=Counter)
    _kinds: Counter[FindingKind] = field(default_factory=Counter)

    def judge(self, rows: Iterable[dict[str, Any]], *, changed_after: datetime) -> Iterator[Finding]:
        """Compare invoices and give what was found.

        :param rows: of the statement `stripe_comparison`.
        :param changed_after: an invoice that differs and that the application has changed since is moving: what Stripe
            was asked may be older than what it says, so that nothing is concluded before the next run.
        """
        for row in rows:
            updated_at = row.pop("updated_at")
            local = LocalInvoice.of(**row)
            mismatches = compare(local)
            verdict = _verdict(mismatches, moving=updated_at >= changed_after)
            subject = f"finance_invoices:{local.id}"
            self.local += 1
            self._verdicts[verdict] += 1
            if verdict is InvoiceVerdict.MOVING:
                self.moving.append(subject)
                continue
            for mismatch in _one_per_kind(mismatches):
                self._kinds[mismatch.kind] += 1
                yield _finding(mismatch.kind, subject, local.firm_id, _details(local, mismatch))

    def take_orphans(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
        """Give the findings of Stripe objects that name an invoice which knows nothing of them.

        :param rows: of the statement `missing_locally`.
        """
        for row in rows:
            self.orphans += 1
            known = "refers to another object" if row["refers_to_another"] else "no reference to Stripe"
            details = {
                "invoice": row["invoice_id"],
                "local": known if row["exists"] else "no such invoice",
                "stripe": f"{row['status']}, {row['amount']} {row['currency']} in Stripe's units",
            }
            yield _finding(FindingKind.MISSING_LOCALLY, f"stripe:{row['id']}", row["firm_id"], details)

    def require_complete(self) -> None:
        """Assert local = matched + mismatched + missing + moving, and that none was left out.

        :raises ImplausibleError: when an invoice got no verdict, or more than one.
        """
        if not self.population == self.local == self._verdicts.total():
            raise ImplausibleError(
                f"{self.population} invoices refer to Stripe, {self.local} were compared, "
                f"{self._verdicts.total()} got a verdict: nothing was concluded; run it again"
            )

    def numbers(self) -> dict[str, int]:
        """Give the counts for the outcome."""
        verdicts = {verdict.value: self._verdicts[verdict] for verdict in InvoiceVerdict}
        kinds = {kind.value: self._kinds[kind] for kind in INVOICE_KINDS}
        return {"local": self.local, **verdicts, **kinds, FindingKind.MISSING_LOCALLY.value: self.orphans}


def _verdict(mismatches: Sequence[Mismatch], *, moving: bool) -> InvoiceVerdict:
    if not mismatches:
        return InvoiceVerdict.MATCHED
    if moving:
        return InvoiceVerdict.MOVING
    missing = mismatches[0].kind is FindingKind.MISSING_IN_STRIPE
    return InvoiceVerdict.MISSING if missing else InvoiceVerdict.MISMATCHED


def _one_per_kind(mismatches: Sequence[Mismatch]) -> list[Mismatch]:
    """Give the first mismatch of each kind: one open finding is kept per invoice and kind."""
    # In a dict the last one of a kind wins, so they are put in from the back.
    return list({mismatch.kind: mismatch for mismatch in reversed(mismatches)}.values())


def _details(local: LocalInvoice, mismatch: Mismatch) -> dict[str, Any]:
    references = {
        "stripe_invoice": local.stripe_invoice_id,
        "payment_intent": local.stripe_payment_intent_id,
        "other_stripe_invoices": list(local.other_invoices),
    }
    return {
        **{name: value for name, value in references.items() if value},
        **mismatch.details,
        "local": mismatch.local,
        "stripe": mismatch.stripe,
    }


def _finding(kind: FindingKind, subject: str, firm_id: int, details: Mapping[str, Any]) -> Finding:
    advice = KINDS[kind]
    return Finding(kind.value, subject, advice.severity, advice.proposed_action, firm_id, details)
