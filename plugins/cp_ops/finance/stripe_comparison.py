"""What reconcile_stripe can find, and the pure comparison behind it: one local invoice against what Stripe has of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from cp_ops.runtime.findings import Severity
from cp_ops.runtime.money import Money, MoneyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


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
        "Find the invoice that was paid and record the payment there, or refund it in Stripe",
    ),
}
INVOICE_KINDS = tuple(kind for kind in KINDS if kind != MISSING_LOCALLY)

OTHER_DEBIT_DAYS = timedelta(days=14)
"""How long after its submission a bank debit may settle, where Stripe gives no time of settlement."""
RECEIVED, UNDER_WAY = "succeeded", "processing"


@dataclass(frozen=True, slots=True)
class StripeInvoice:
    """A Stripe invoice; amounts in Stripe's units."""

    id: str
    status: str
    currency: str
    total: int
    paid_off_stripe: int
    paid_at: int | None


@dataclass(frozen=True, slots=True)
class StripePayment:
    """A payment intent with its charge; amounts in Stripe's units, times in Unix seconds.

    :param settles_later: the charge is a bank debit, whose money arrives days after it.
    :param dispute: the status of its dispute, '' without one.
    """

    id: str
    status: str
    currency: str
    amount: int
    received: int
    refunded: int
    charged_at: int | None
    settles_later: bool
    dispute: str = ""


@dataclass(frozen=True, slots=True)
class LocalInvoice:
    """An invoice of the application with its references, and what Stripe has of it.

    :param paid_by_other_means: cleared payments allocated to it that did not come through Stripe.
    :param paid_without_intent: what Stripe received for its invoice by payments that are no payment intents.
    """

    id: int
    firm_id: int
    status: str
    total_amount: Decimal
    amount_paid: Decimal
    currency: str
    paid_date: date | None
    stripe_invoice_id: str
    stripe_payment_intent_id: str
    paid_by_other_means: Decimal
    timezone: str
    invoice: StripeInvoice | None
    payments: tuple[StripePayment, ...]
    paid_without_intent: int = 0

    @classmethod
    def of(
        cls, *, invoice: Mapping[str, Any] | None, payments: Iterable[Mapping[str, Any]], **columns: Any
    ) -> LocalInvoice:
        """Build one from a row of the statement `stripe_comparison`."""
        return cls(
            invoice=StripeInvoice(**invoice) if invoice else None,
            payments=tuple(StripePayment(**payment) for payment in payments),
            **columns,
        )

    def missing(self) -> list[str]:
        """Name the references that Stripe does not know."""
        known = {payment.id for payment in self.payments} | ({self.invoice.id} if self.invoice else set())
        return [i for i in (self.stripe_invoice_id, self.stripe_payment_intent_id) if i and i not in known]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One difference: the kind, what each side says, and what else helps to understand it."""

    kind: str
    local: str
    stripe: str
    details: Mapping[str, Any] = field(default_factory=dict)


EXPECTED: Mapping[str, frozenset[str]] = {
    "draft": frozenset({"draft", "awaiting", "canceled"}),
    "sent": frozenset({"open", "awaiting", "canceled", "processing"}),
    "overdue": frozenset({"open", "awaiting", "canceled", "processing", "partial", "uncollectible"}),
    "failed": frozenset({"open", "awaiting", "canceled", "partial", "uncollectible"}),
    "partial": frozenset({"partial", "processing"}),
    "paid": frozenset({"paid"}),
    "cancelled": frozenset({"void", "draft", "awaiting", "canceled", "uncollectible", "refunded"}),
    "disputed": frozenset({"disputed"}),
    "refunded": frozenset({"refunded"}),
    "charged_back": frozenset({"charged_back"}),
}
"""Where Stripe may stand (`position`) for each status of the application."""


def compare(local: LocalInvoice) -> list[Mismatch]:
    """Give every difference between a local invoice and Stripe; none when they agree. Pure.

    Amounts are compared exactly, in minor units, against the invoice's total.
    """
    if missing := local.missing():
        return [Mismatch(MISSING_IN_STRIPE, local.status, "not found", {"objects": missing})]
    return list(_mismatches(local))


def _mismatches(local: LocalInvoice) -> Iterator[Mismatch]:
    code = local.currency.strip().upper()
    foreign = sorted(_currencies(local) - {code})
    if foreign:
        yield Mismatch(CURRENCY, code, ", ".join(foreign), {})
        return
    try:
        sums = _Sums.of(local, code)
    except MoneyError as error:
        yield Mismatch(AMOUNT, f"{local.total_amount} {code}", _asked(local), {"problem": str(error)})
        return
    position = _position(local, sums)
    if position not in EXPECTED.get(local.status, frozenset()):
        yield Mismatch(
            STATUS, local.status, position, {"payments": [payment.status for payment in local.payments]}
        )
    yield from _amounts(local, sums)
    if local.status == "paid" and position == "paid":
        yield from _paid_date(local)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Amounts of one invoice in minor units. `received` is what came in by any means, less refunds."""

    code: str
    total: int
    recorded: int
    others: int
    gross: int
    refunded: int
    off_stripe: int

    @classmethod
    def of(cls, local: LocalInvoice, code: str) -> _Sums:
        def stripe(amount: int) -> int:
            return Money.from_stripe(amount, code).minor_units

        return cls(
            code,
            total=Money.of(local.total_amount, code).minor_units,
            recorded=Money.of(local.amount_paid, code).minor_units,
            others=Money.of(local.paid_by_other_means, code).minor_units,
            gross=stripe(
                sum(p.received for p in local.payments if p.status == RECEIVED) + local.paid_without_intent
            ),
            refunded=stripe(sum(payment.refunded for payment in local.payments)),
            off_stripe=stripe(local.invoice.paid_off_stripe) if local.invoice else 0,
        )

    @property
    def received(self) -> int:
        return self.gross - self.refunded + max(self.others, self.off_stripe)

    def text(self, minor_units: int) -> str:
        return str(Money(minor_units, self.code))


def _currencies(local: LocalInvoice) -> set[str]:
    found = {payment.currency.upper() for payment in local.payments}
    return found | ({local.invoice.currency.upper()} if local.invoice else set())


def _asked(local: LocalInvoice) -> str:
    amounts = [local.invoice.total] if local.invoice else [payment.amount for payment in local.payments]
    return ", ".join(f"{amount} {local.currency.strip().upper()} in Stripe's units" for amount in amounts)


def _position(local: LocalInvoice, sums: _Sums) -> str:  # noqa: PLR0911 - a table of precedence, top to bottom
    """Tell where Stripe stands with an invoice, all of its objects taken together."""
    disputes = {payment.dispute for payment in local.payments}
    if "lost" in disputes:
        return "charged_back"
    if disputes & {"needs_response", "under_review"}:
        return "disputed"
    if sums.gross and sums.refunded >= sums.gross:
        return "refunded"
    state = local.invoice.status if local.invoice else ""
    if state == "paid" or (not state and sums.gross and sums.received >= sums.total):
        return "paid"
    if state == "void" or (state == "uncollectible" and not sums.gross):
        return state
    if any(payment.status == UNDER_WAY for payment in local.payments):
        return UNDER_WAY
    if sums.received > 0 and (sums.gross or local.status != "sent"):
        return "partial" if sums.received < sums.total else state or "paid"
    if state:
        return state
    return "canceled" if all(payment.status == "canceled" for payment in local.payments) else "awaiting"


def _amounts(local: LocalInvoice, sums: _Sums) -> Iterator[Mismatch]:
    yield from _agreed_amount(local, sums)
    paid_up = [p for p in local.payments if p.status == RECEIVED and p.refunded < p.received]
    ids = {"payment_intents": [payment.id for payment in paid_up]}
    if sums.gross > sums.refunded and sums.received > sums.total:
        kind = DUPLICATE if len(paid_up) > 1 else OVERPAID
        yield Mismatch(kind, sums.text(sums.total), sums.text(sums.received), ids)
    elif local.status in ("paid", "partial", "overdue", "failed"):
        claimed = sums.total if local.status == "paid" else sums.recorded
        if sums.received < claimed:
            yield Mismatch(UNDERPAID, sums.text(claimed), sums.text(sums.received), ids)
        elif sums.received > claimed:
            yield Mismatch(AMOUNT, sums.text(claimed), sums.text(sums.received), ids)


def _agreed_amount(local: LocalInvoice, sums: _Sums) -> Iterator[Mismatch]:
    """Compare what Stripe was to collect with the total; an invoice that neither side collects is passed over."""
    if local.invoice is not None:
        over = local.status == "cancelled" and local.invoice.status in ("void", "draft", "uncollectible")
        asked = Money.from_stripe(local.invoice.total, sums.code).minor_units
        if asked != sums.total and not over:
            yield Mismatch(
                AMOUNT, sums.text(sums.total), sums.text(asked), {"stripe_invoice": local.invoice.id}
            )
        return
    allowed = {sums.total, sums.total - sums.others, sums.total - sums.recorded}
    for payment in local.payments:
        asked = Money.from_stripe(payment.amount, sums.code).minor_units
        waits = payment.status.startswith("requires_") or payment.status == UNDER_WAY
        if waits and asked not in allowed and local.status != "cancelled":
            yield Mismatch(AMOUNT, sums.text(sums.total), sums.text(asked), {"payment_intent": payment.id})


def _paid_date(local: LocalInvoice) -> Iterator[Mismatch]:
    """Compare the paid date with the last charge's day: the firm's or UTC's, for the application writes either."""
    zone = ZoneInfo(local.timezone)
    done = [p for p in local.payments if p.status == RECEIVED and p.charged_at is not None]
    last = max(done, key=lambda payment: payment.charged_at or 0, default=None)
    paid_at = local.invoice.paid_at if local.invoice else None
    moment = last.charged_at if last else paid_at
    if moment is None:
        return
    until = max(moment, paid_at or moment) if last is None or last.settles_later else moment
    latest = _days(until, zone)[-1]
    if last is not None and last.settles_later and paid_at is None:
        latest += OTHER_DEBIT_DAYS
    earliest = _days(moment, zone)[0]
    if local.paid_date is None or not earliest <= local.paid_date <= latest:
        said = local.paid_date.isoformat() if local.paid_date else "none"
        yield Mismatch(
            PAID_DATE, said, _in_zone(moment, zone).isoformat(), {"payment_intent": last.id if last else ""}
        )


def _in_zone(moment: int, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(moment, UTC).astimezone(zone).date()


def _days(moment: int, zone: ZoneInfo) -> list[date]:
    return sorted({_in_zone(moment, zone), datetime.fromtimestamp(moment, UTC).date()})
