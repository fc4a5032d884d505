"""Why an invoice agrees with Stripe or not, and what is planned with what was found. Pure, exact, in minor units."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from cp_ops.finance.reconciliation.invoices import Amounts, InvoiceStatus, LocalInvoice, StripeInvoiceStatus
from cp_ops.finance.reconciliation.kinds import FindingKind, Mismatch
from cp_ops.finance.reconciliation.paid_date import compare_paid_date
from cp_ops.runtime.money import MoneyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Position(StrEnum):
    """Where Stripe stands with an invoice, all of its objects taken together.

    An invoice at Stripe may also stand at that invoice's own status, or at ``<status>, but paid``.
    """

    CHARGED_BACK = "charged_back"
    DISPUTED = "disputed"
    REFUNDED = "refunded"
    PAID = "paid"
    PROCESSING = "processing"
    PARTIAL = "partial"
    CANCELED = "canceled"
    AWAITING = "awaiting"


_UNPAID: frozenset[str] = frozenset(
    {StripeInvoiceStatus.OPEN, Position.AWAITING, Position.CANCELED, Position.PROCESSING}
)
_UNPAID_AFTER_DUE: frozenset[str] = _UNPAID | {Position.PARTIAL, StripeInvoiceStatus.UNCOLLECTIBLE}
_NOT_COLLECTED: frozenset[str] = frozenset(
    {StripeInvoiceStatus.VOID, StripeInvoiceStatus.DRAFT, StripeInvoiceStatus.UNCOLLECTIBLE}
)
EXPECTED: Mapping[str, frozenset[str]] = {
    InvoiceStatus.DRAFT: frozenset({StripeInvoiceStatus.DRAFT, Position.AWAITING, Position.CANCELED}),
    # Until an invoice is due, no money may have come in, though a payment may be under way or have been given up.
    InvoiceStatus.SENT: _UNPAID,
    InvoiceStatus.OVERDUE: _UNPAID_AFTER_DUE,
    InvoiceStatus.FAILED: _UNPAID_AFTER_DUE,
    InvoiceStatus.PARTIAL: frozenset({Position.PARTIAL, Position.PROCESSING}),
    InvoiceStatus.PAID: frozenset({Position.PAID}),
    # Nobody collects it any more, or what came in went back.
    InvoiceStatus.CANCELLED: _NOT_COLLECTED | {Position.AWAITING, Position.CANCELED, Position.REFUNDED},
    InvoiceStatus.DISPUTED: frozenset({Position.DISPUTED}),
    InvoiceStatus.REFUNDED: frozenset({Position.REFUNDED}),
    InvoiceStatus.CHARGED_BACK: frozenset({Position.CHARGED_BACK}),
}
"""Where Stripe may stand for each status of the application."""
RECORDED: frozenset[str] = frozenset(
    {InvoiceStatus.PAID, InvoiceStatus.PARTIAL, InvoiceStatus.OVERDUE, InvoiceStatus.FAILED}
)
"""The statuses that say how much was paid."""
DISPUTE_LOST = "lost"
# A dispute that was won leaves its payment as it was, so it is in neither of these.
DISPUTE_OPEN = frozenset({"needs_response", "under_review"})


def compare(local: LocalInvoice) -> list[Mismatch]:
    """Give every difference between a local invoice and Stripe; none when they agree. Pure.

    Amounts are compared exactly, in minor units, against the invoice's total.
    """
    if missing := local.missing():
        details = {"objects": missing}
        return [Mismatch(FindingKind.MISSING_IN_STRIPE, local.status, "not found", details)]
    return list(_mismatches(local))


def _mismatches(local: LocalInvoice) -> Iterator[Mismatch]:
    # Amounts of another currency, or such as the currency cannot express, have nothing to be compared with: they are
    # the only finding.
    code = local.currency_code
    if foreign := sorted(local.stripe_currencies() - {code}):
        yield Mismatch(FindingKind.CURRENCY, code, ", ".join(foreign), {})
        return
    try:
        amounts = Amounts.of(local)
    except MoneyError as error:
        problem = {"problem": str(error)}
        yield Mismatch(FindingKind.AMOUNT, f"{local.total_amount} {code}", _asked(local), problem)
        return
    position = position_of(local, amounts)
    if position not in EXPECTED.get(local.status, frozenset()):
        details = {"payments": [payment.status for payment in local.payments]}
        yield Mismatch(FindingKind.STATUS, local.status, position, details)
    yield from _compare_asked(local, amounts)
    yield from _compare_received(local, amounts)
    # Where the two sides do not agree that it is paid, a day would be compared with nothing.
    if local.status == InvoiceStatus.PAID and position == Position.PAID:
        yield from compare_paid_date(local, amounts)


def _asked(local: LocalInvoice) -> str:
    amounts = [local.invoice.total] if local.invoice else [payment.amount for payment in local.payments]
    return ", ".join(f"{amount} {local.currency_code} in Stripe's units" for amount in amounts)


def position_of(local: LocalInvoice, amounts: Amounts) -> str:
    """Tell where Stripe stands with an invoice, all of its objects taken together.

    The order is the precedence: what happened to the money last (a dispute, a refund) outweighs what came before.
    """
    disputes = {payment.dispute for payment in local.payments}
    if DISPUTE_LOST in disputes:
        return Position.CHARGED_BACK
    if disputes & DISPUTE_OPEN:
        return Position.DISPUTED
    if amounts.refunded_in_full:
        return Position.REFUNDED
    if local.invoice and local.invoice.status:
        return _position_of_invoice(local, amounts, local.invoice.status)
    return _position_of_payments(local, amounts)


def _position_of_invoice(local: LocalInvoice, amounts: Amounts, status: str) -> str:
    """Tell where a Stripe invoice of this status stands, given the payments that belong to it or name its invoice."""
    # Stripe's word counts even where nothing came in through Stripe: then it was marked paid out of band.
    if status == StripeInvoiceStatus.PAID:
        return Position.PAID
    if _paid_nevertheless(amounts, status):
        return f"{status}, but paid"
    if status in (StripeInvoiceStatus.VOID, StripeInvoiceStatus.UNCOLLECTIBLE) and not amounts.gross:
        return status
    if _under_way(local):
        return Position.PROCESSING
    if _paid_in_part(local, amounts):
        return Position.PARTIAL if amounts.received < amounts.total else status
    return status


def _position_of_payments(local: LocalInvoice, amounts: Amounts) -> str:
    """Tell where an invoice stands that only payment intents collect."""
    if amounts.covered_by_stripe:
        return Position.PAID
    if _under_way(local):
        return Position.PROCESSING
    if _paid_in_part(local, amounts):
        return Position.PARTIAL if amounts.received < amounts.total else Position.PAID
    canceled = all(payment.canceled for payment in local.payments)
    return Position.CANCELED if canceled else Position.AWAITING


def _paid_nevertheless(amounts: Amounts, status: str) -> bool:
    """Tell whether money came in, though Stripe's invoice can still be paid or was given up.

    This is how a second Stripe invoice, or a payment intent beside the invoice, pays what the first one asks for: the
    client may be charged once more. A voided invoice should not have been paid at all, so any payment counts there.
    """
    return bool(amounts.gross) and (status == StripeInvoiceStatus.VOID or amounts.received >= amounts.total)


def _under_way(local: LocalInvoice) -> bool:
    return any(payment.under_way for payment in local.payments)


def _paid_in_part(local: LocalInvoice, amounts: Amounts) -> bool:
    """Tell whether some money came in.

    A sent invoice with a cheque is still "sent" in the application, so for that status only money through Stripe counts.
    """
    return amounts.received > 0 and (bool(amounts.gross) or local.status != InvoiceStatus.SENT)


def _compare_asked(local: LocalInvoice, amounts: Amounts) -> Iterator[Mismatch]:
    """Compare what Stripe was to collect with the total; an invoice that neither side collects is passed over."""
    if local.invoice is not None:
        given_up = local.status == InvoiceStatus.CANCELLED and local.invoice.status in _NOT_COLLECTED
        asked = amounts.of_stripe(local.invoice.total)
        if asked != amounts.total and not given_up:
            yield _other_amount(amounts, amounts.total, asked, {"stripe_invoice": local.invoice.id})
        return
    # A payment intent may ask for the rest only: what others paid, or all that is recorded, is then left out.
    allowed = {amounts.total, amounts.total - amounts.others, amounts.total - amounts.recorded}
    collected = local.status != InvoiceStatus.CANCELLED
    for payment in local.payments:
        asked = amounts.of_stripe(payment.amount)
        if collected and payment.collects and asked not in allowed:
            yield _other_amount(amounts, amounts.total, asked, {"payment_intent": payment.id})


def _compare_received(local: LocalInvoice, amounts: Amounts) -> Iterator[Mismatch]:
    """Compare what came in with the total, and with what the application says came in."""
    kept = [payment.id for payment in local.payments if payment.keeps_money]
    ids = {"payment_intents": kept}
    received = amounts.text(amounts.received)
    # A surplus is the one finding about money: that the application recorded less than came in follows from it.
    if _surplus_through_stripe(amounts):
        several = len(kept) + bool(amounts.undated) > 1
        kind = FindingKind.DUPLICATE if several else FindingKind.OVERPAID
        yield Mismatch(kind, amounts.text(amounts.total), received, ids)
    elif local.status in RECORDED:
        claimed = amounts.total if local.status == InvoiceStatus.PAID else amounts.recorded
        if amounts.received < claimed:
            yield Mismatch(FindingKind.UNDERPAID, amounts.text(claimed), received, ids)
        elif amounts.received > claimed:
            yield _other_amount(amounts, claimed, amounts.received, ids)


def _surplus_through_stripe(amounts: Amounts) -> bool:
    """Tell whether more than the total came in, so that Stripe has money to give back."""
    return amounts.gross > amounts.refunded and amounts.received > amounts.total


def _other_amount(amounts: Amounts, local: int, stripe: int, details: Mapping[str, object]) -> Mismatch:
    return Mismatch(FindingKind.AMOUNT, amounts.text(local), amounts.text(stripe), details)
