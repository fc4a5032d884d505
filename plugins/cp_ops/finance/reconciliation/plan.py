"""The comparison of one local invoice with what Stripe has of it. Pure, exact, in minor units."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cp_ops.finance.reconciliation.kinds import (
    AMOUNT,
    CURRENCY,
    DUPLICATE,
    MISSING_IN_STRIPE,
    OVERPAID,
    PAID_DATE,
    STATUS,
    UNDERPAID,
    Mismatch,
)
from cp_ops.runtime.money import Money, MoneyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cp_ops.finance.reconciliation.invoices import LocalInvoice, StripePayment


OTHER_DEBIT_DAYS = timedelta(days=14)
"""How long after its submission a bank debit may settle, where Stripe gives no time of settlement."""
RECEIVED, UNDER_WAY = "succeeded", "processing"


EXPECTED: Mapping[str, frozenset[str]] = {
    "draft": frozenset({"draft", "awaiting", "canceled"}),
    "sent": frozenset({"open", "awaiting", "canceled", "processing"}),
    "overdue": frozenset({"open", "awaiting", "canceled", "processing", "partial", "uncollectible"}),
    "failed": frozenset({"open", "awaiting", "canceled", "processing", "partial", "uncollectible"}),
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
        yield from _paid_date(local, sums)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Amounts of one invoice in minor units. `received` is what came in by any means, less refunds.

    :param undated: the part of `gross` whose time Stripe gives only with the invoice.
    """

    code: str
    total: int
    recorded: int
    others: int
    gross: int
    refunded: int
    off_stripe: int
    undated: int

    @classmethod
    def of(cls, local: LocalInvoice, code: str) -> _Sums:
        def stripe(amount: int) -> int:
            return Money.from_stripe(amount, code).minor_units

        return cls(
            code,
            total=Money.of(local.total_amount, code).minor_units,
            recorded=Money.of(local.amount_paid, code).minor_units,
            others=Money.of(local.paid_by_other_means, code).minor_units,
            gross=sum(stripe(p.received) for p in local.payments if p.status == RECEIVED)
            + stripe(local.paid_without_intent),
            refunded=sum(stripe(payment.refunded) for payment in local.payments),
            off_stripe=stripe(local.invoice.paid_off_stripe) if local.invoice else 0,
            undated=stripe(local.paid_without_intent),
        )

    @property
    def elsewhere(self) -> int:
        """What did not come through Stripe: both sides may have recorded the same cheque."""
        return max(self.others, self.off_stripe)

    @property
    def received(self) -> int:
        return self.gross - self.refunded + self.elsewhere

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
    if state and sums.gross and (state == "void" or sums.received >= sums.total):
        return f"{state}, but paid"
    if state in ("void", "uncollectible") and not sums.gross:
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
        kind = DUPLICATE if len(paid_up) + bool(sums.undated) > 1 else OVERPAID
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


def _paid_date(local: LocalInvoice, sums: _Sums) -> Iterator[Mismatch]:
    """Compare the paid date with the day of the charge that completed the total: the firm's or UTC's.

    The application writes either. What did not come through Stripe has days of its own: where it paid a part, the paid
    date may be any later day; where it paid everything, any day at all.
    """
    zone = ZoneInfo(local.timezone)
    paid_at = local.invoice.paid_at if local.invoice else None
    done = sorted(
        (p for p in local.payments if p.status == RECEIVED and p.charged_at is not None),
        key=lambda payment: payment.charged_at or 0,
    )
    if local.paid_date is not None and sums.elsewhere and (not done or sums.elsewhere >= sums.total):
        return
    first, last = _completing(done, sums, net=False), _completing(done, sums, net=True)
    moment = first.charged_at if first else paid_at
    if moment is None:
        return
    latest = date.max if sums.elsewhere else _latest(last, sums, paid_at, zone)
    if local.paid_date is None or not _days(moment, zone)[0] <= local.paid_date <= latest:
        said = local.paid_date.isoformat() if local.paid_date else "none"
        day = _in_zone(moment, zone).isoformat()
        yield Mismatch(PAID_DATE, said, day, {"payment_intent": first.id if first else ""})


def _completing(done: Sequence[StripePayment], sums: _Sums, *, net: bool) -> StripePayment | None:
    """Give the charge with which the total was reached; the last one where it never was.

    :param net: pass over what was refunded since: what the first charge completed and gave back, a later one completed.
    """
    due = sums.total - sums.elsewhere - sums.undated
    for payment in done:
        amount = payment.received - payment.refunded if net else payment.received
        due -= Money.from_stripe(amount, sums.code).minor_units
        if due <= 0:
            return payment
    return done[-1] if done else None


def _latest(last: StripePayment | None, sums: _Sums, paid_at: int | None, zone: ZoneInfo) -> date:
    """Give the last day that may be the paid date; a debit's is that of its settlement."""
    settles_later = last is not None and last.settles_later
    moments = [last.charged_at] if last else []
    if paid_at is not None and (last is None or settles_later or sums.undated):
        moments.append(paid_at)
    latest = _days(max(moment for moment in moments if moment is not None), zone)[-1]
    return latest + OTHER_DEBIT_DAYS if settles_later and paid_at is None else latest


def _in_zone(moment: int, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(moment, UTC).astimezone(zone).date()


def _days(moment: int, zone: ZoneInfo) -> list[date]:
    return sorted({_in_zone(moment, zone), datetime.fromtimestamp(moment, UTC).date()})
