"""The kinds of finding of reconcile_stripe, in one table."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cp_ops.runtime.findings import Advice, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping


class FindingKind(StrEnum):
    """How an invoice and Stripe can differ."""

    STATUS = "status_mismatch"
    AMOUNT = "amount_mismatch"
    CURRENCY = "currency_mismatch"
    PAID_DATE = "paid_date_mismatch"
    UNDERPAID = "underpaid"
    OVERPAID = "overpaid"
    DUPLICATE = "duplicate_payment"
    MISSING_IN_STRIPE = "missing_in_stripe"
    MISSING_LOCALLY = "missing_locally"


KINDS: Mapping[FindingKind, Advice] = {
    FindingKind.STATUS: Advice(
        Severity.WARNING,
        "Look at the invoice in Stripe's dashboard; then record its payment here, or void, refund or mark it paid there",
    ),
    FindingKind.AMOUNT: Advice(
        Severity.WARNING,
        "Find out which amount was agreed; correct the other side with a credit note or a new invoice",
    ),
    FindingKind.CURRENCY: Advice(
        Severity.CRITICAL,
        "Stop collecting this invoice, refund what was charged and issue it anew in the right currency",
    ),
    FindingKind.PAID_DATE: Advice(
        Severity.INFO, "Correct the invoice's paid date to the day on which Stripe charged it"
    ),
    FindingKind.UNDERPAID: Advice(
        Severity.CRITICAL,
        "Less money came in than is recorded: find the missing payment or reopen the invoice",
    ),
    FindingKind.OVERPAID: Advice(
        Severity.CRITICAL, "Refund the difference in Stripe, or book it as the client's credit"
    ),
    FindingKind.DUPLICATE: Advice(
        Severity.CRITICAL, "The client paid more than once: refund the surplus payment in Stripe"
    ),
    FindingKind.MISSING_IN_STRIPE: Advice(
        Severity.CRITICAL,
        "Look the id up in Stripe's dashboard, also in test mode and in other accounts; correct the invoice's reference",
    ),
    FindingKind.MISSING_LOCALLY: Advice(
        Severity.CRITICAL,
        "Find the invoice that it names: record its payment there or refund it in Stripe; void there what nobody should pay",
    ),
}
INVOICE_KINDS = tuple(kind for kind in KINDS if kind is not FindingKind.MISSING_LOCALLY)
"""The kinds that are about an invoice of the application; the last one is about an object of Stripe's."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One difference: the kind, what each side says, and what else helps to understand it."""

    kind: FindingKind
    local: str
    stripe: str
    details: Mapping[str, Any] = field(default_factory=dict)
