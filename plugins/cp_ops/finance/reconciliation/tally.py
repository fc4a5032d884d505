"""One verdict per compared invoice, and the rows of what was found."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from cp_ops.finance.reconciliation.invoices import LocalInvoice
from cp_ops.finance.reconciliation.kinds import (
    INVOICE_KINDS,
    KINDS,
    MISSING_IN_STRIPE,
    MISSING_LOCALLY,
    Mismatch,
)
from cp_ops.finance.reconciliation.plan import compare
from cp_ops.runtime.errors import ImplausibleError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime


class Verdicts:
    """One verdict per compared invoice, counted: matched, mismatched, missing or moving."""

    def __init__(self) -> None:
        self.local = self.population = self.orphans = 0
        self.counts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.moving: list[str] = []

    def judge(self, rows: Iterable[dict[str, Any]], *, changed_after: datetime) -> Iterator[tuple[Any, ...]]:
        """Compare invoices and give the rows of what was found.

        :param changed_after: an invoice that differs and that the application has changed since is moving: what Stripe
            was asked may be older than what it says, so that nothing is concluded before the next run.
        """
        for row in rows:
            updated_at = row.pop("updated_at")
            local = LocalInvoice.of(**row)
            found = compare(local)
            self.local += 1
            subject = f"finance_invoices:{local.id}"
            if found and updated_at >= changed_after:
                self.counts["moving"] += 1
                self.moving.append(subject)
                continue
            self.counts[_verdict(found)] += 1
            for kind in _by_kind(found):
                self.kinds[kind.kind] += 1
                yield _finding(local, subject, kind)

    def require_complete(self) -> None:
        """Assert local = matched + mismatched + missing + moving, and that none was left out.

        :raises ImplausibleError: when an invoice got no verdict, or more than one.
        """
        if not self.population == self.local == sum(self.counts.values()):
            raise ImplausibleError(
                f"{self.population} invoices refer to Stripe, {self.local} were compared, "
                f"{sum(self.counts.values())} got a verdict: nothing was concluded; run it again"
            )

    def numbers(self) -> dict[str, int]:
        """Give the counts for the outcome."""
        named = {name: self.counts[name] for name in ("matched", "mismatched", "missing", "moving")}
        kinds = {kind: self.kinds[kind] for kind in INVOICE_KINDS}
        return {"local": self.local, **named, **kinds, MISSING_LOCALLY: self.orphans}


def _verdict(found: Sequence[Mismatch]) -> str:
    if not found:
        return "matched"
    return "missing" if found[0].kind == MISSING_IN_STRIPE else "mismatched"


def _by_kind(found: Sequence[Mismatch]) -> list[Mismatch]:
    """Give one mismatch per kind: one open finding is kept per invoice and kind."""
    return list({mismatch.kind: mismatch for mismatch in reversed(found)}.values())


def _finding(local: LocalInvoice, subject: str, found: Mismatch) -> tuple[Any, ...]:
    references = {"stripe_invoice": local.stripe_invoice_id, "payment_intent": local.stripe_payment_intent_id}
    known = references | {"other_stripe_invoices": list(local.other_invoices)}
    details = {
        **{name: value for name, value in known.items() if value},
        **found.details,
        "local": found.local,
        "stripe": found.stripe,
    }
    return _row(found.kind, subject, local.firm_id, details)


def orphan_row(row: dict[str, Any]) -> tuple[Any, ...]:
    """Give the finding's row of a Stripe object that names an invoice which knows nothing of it."""
    known = "refers to another object" if row["refers_to_another"] else "no reference to Stripe"
    details = {
        "invoice": row["invoice_id"],
        "local": known if row["exists"] else "no such invoice",
        "stripe": f"{row['status']}, {row['amount']} {row['currency']} in Stripe's units",
    }
    return _row(MISSING_LOCALLY, f"stripe:{row['id']}", row["firm_id"], details)


def _row(kind: str, subject: str, firm_id: int, details: dict[str, Any]) -> tuple[Any, ...]:
    from psycopg.types.json import Jsonb

    known = KINDS[kind]
    return (kind, subject, firm_id, known.severity.value, known.proposed_action, Jsonb(details))
