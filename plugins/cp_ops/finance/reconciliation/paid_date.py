"""Which days may be an invoice's paid date: the days around the charge that completed its total. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cp_ops.finance.reconciliation.kinds import FindingKind, Mismatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cp_ops.finance.reconciliation.invoices import Amounts, LocalInvoice, StripePayment

OTHER_DEBIT_DAYS = timedelta(days=14)
"""How long after its submission a bank debit may settle, where Stripe gives no time of settlement."""


@dataclass(frozen=True, slots=True)
class _Charge:
    """A payment that succeeded, and when (Unix seconds)."""

    payment: StripePayment
    at: int


def compare_paid_date(local: LocalInvoice, amounts: Amounts) -> Iterator[Mismatch]:
    """Compare the paid date with the day of the charge that completed the total.

    The application writes the firm's day or UTC's, so either is right. What did not come through Stripe has days of its
    own: where it paid a part, the paid date may be any later day; where it paid everything, any day at all.
    """
    zone = ZoneInfo(local.timezone)
    paid_at = local.invoice.paid_at if local.invoice else None
    charges = _charges(local)
    if local.paid_date is not None and _paid_elsewhere(charges, amounts):
        return
    completing = _completing(charges, amounts, net_of_refunds=False)
    moment = completing.at if completing else paid_at
    if moment is None:
        return
    if local.paid_date is None or not (
        _first_day(moment, zone) <= local.paid_date <= _latest_day(charges, amounts, paid_at, zone)
    ):
        said = local.paid_date.isoformat() if local.paid_date else "none"
        details = {"payment_intent": completing.payment.id if completing else ""}
        yield Mismatch(FindingKind.PAID_DATE, said, _in_zone(moment, zone).isoformat(), details)


def _charges(local: LocalInvoice) -> list[_Charge]:
    """List the payments that came in, oldest first."""
    dated = ((payment, payment.charged_at) for payment in local.payments if payment.succeeded)
    charges = [_Charge(payment, at) for payment, at in dated if at is not None]
    return sorted(charges, key=lambda charge: charge.at)


def _paid_elsewhere(charges: Sequence[_Charge], amounts: Amounts) -> bool:
    """Tell whether the paid date may be that of a cheque or a transfer, of whose day Stripe knows nothing."""
    return bool(amounts.elsewhere) and (not charges or amounts.elsewhere >= amounts.total)


def _completing(charges: Sequence[_Charge], amounts: Amounts, *, net_of_refunds: bool) -> _Charge | None:
    """Give the charge with which the total was reached; the last one where it never was.

    :param net_of_refunds: count each charge net of refunds, so that a charge which was refunded later does not count
        as the one that completed the total.
    """
    # Money of unknown day counts as if it had come first: the dated charges then complete the rest.
    due = amounts.total - amounts.elsewhere - amounts.undated
    for charge in charges:
        given_back = charge.payment.refunded if net_of_refunds else 0
        due -= amounts.of_stripe(charge.payment.received - given_back)
        if due <= 0:
            return charge
    return charges[-1] if charges else None


def _latest_day(charges: Sequence[_Charge], amounts: Amounts, paid_at: int | None, zone: ZoneInfo) -> date:
    """Give the last day that may be the paid date.

    Refunds move it: where the first charge was given back, a later one completed the total, and the application may
    have kept the day of either. A bank debit is paid when it settles, which is later than its charge.
    """
    if amounts.elsewhere:
        return date.max
    last = _completing(charges, amounts, net_of_refunds=True)
    settles_later = last is not None and last.payment.settles_later
    # Stripe's time of the invoice's payment counts where no charge tells the day on which the money was there.
    moments = [last.at] if last else []
    if paid_at is not None and (last is None or settles_later or amounts.undated):
        moments.append(paid_at)
    latest = _last_day(max(moments), zone)
    return latest + OTHER_DEBIT_DAYS if settles_later and paid_at is None else latest


def _first_day(moment: int, zone: ZoneInfo) -> date:
    return min(_in_zone(moment, zone), _in_utc(moment))


def _last_day(moment: int, zone: ZoneInfo) -> date:
    return max(_in_zone(moment, zone), _in_utc(moment))


def _in_zone(moment: int, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(moment, UTC).astimezone(zone).date()


def _in_utc(moment: int) -> date:
    return datetime.fromtimestamp(moment, UTC).date()
