"""The kinds of finding of reconcile_stripe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cp_ops.runtime.findings import Severity

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding: how much it matters, and what a person can do about it."""

    severity: Severity
    proposed_action: str


STATUS, AMOUNT, CURRENCY, PAID_DATE = (
    "status_mismatch",
    "amount_mismatch",
    "currency_mismatch",
    "paid_date_mismatch",
)
UNDERPAID, OVERPAID, DUPLICATE = "underpaid", "overpaid", "duplicate_payment"
MISSING_IN_STRIPE, MISSING_LOCALLY = "missing_in_stripe", "missing_locally"

KINDS: Mapping[str, Kind] = {
    STATUS: Kind(
        Severity.WARNING,
        "Look at the invoice in Stripe's dashboard; then record its payment here, or void, refund or mark it paid there",
    ),
    AMOUNT: Kind(
        Severity.WARNING,
        "Find out which amount was agreed; correct the other side with a credit note or a new invoice",
    ),
    CURRENCY: Kind(
        Severity.CRITICAL,
        "Stop collecting this invoice, refund what was charged and issue it anew in the right currency",
    ),
    PAID_DATE: Kind(Severity.INFO, "Correct the invoice's paid date to the day on which Stripe charged it"),
    UNDERPAID: Kind(
        Severity.CRITICAL,
        "Less money came in than is recorded: find the missing payment or reopen the invoice",
    ),
    OVERPAID: Kind(Severity.CRITICAL, "Refund the difference in Stripe, or book it as the client's credit"),
    DUPLICATE: Kind(
        Severity.CRITICAL, "The client paid more than once: refund the surplus payment in Stripe"
    ),
    MISSING_IN_STRIPE: Kind(
        Severity.CRITICAL,
        "Look the id up in Stripe's dashboard, also in test mode and in other accounts; correct the invoice's reference",
    ),
    MISSING_LOCALLY: Kind(
        Severity.CRITICAL,
        "Find the invoice that it names: record its payment there or refund it in Stripe; void there what nobody should pay",
    ),
}
INVOICE_KINDS = tuple(kind for kind in KINDS if kind != MISSING_LOCALLY)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One difference: the kind, what each side says, and what else helps to understand it."""

    kind: str
    local: str
    stripe: str
    details: Mapping[str, Any] = field(default_factory=dict)
