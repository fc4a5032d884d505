"""Which package fees are due: the planner of generate_package_invoices and of the head of process_recurring_charges."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cp_ops.finance.packages.billing_periods import BillingPeriod, Days, Schedule, period_at, periods_until
from cp_ops.runtime.errors import RowFailedError
from cp_ops.runtime.money import Money
from cp_ops.runtime.plan import Action, Plan, Skip

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from decimal import Decimal

ISSUE = "issue_invoice"
DUE_AFTER = timedelta(days=30)

ALREADY_INVOICED = "already invoiced"
NOT_STARTED = "not started yet"
ENDED = "ended"
UNKNOWN_SCHEDULE = "unknown schedule"
NO_FEE = "no package fee"
INVERTED = "ends before it starts"
MANUAL = "a manual invoice has the same period start"
CANCELLED = "the invoice of this period was cancelled"
OVERLAPPING = "an invoice of this engagement covers days of this period"
NUMBER_TAKEN = "another invoice bears this invoice's number"
NOTHING_LEFT = "pro-rated to nothing"


@dataclass(frozen=True, slots=True)
class PackageEngagement:
    """A current engagement with package pricing, and the invoices that were issued for periods of it.

    :param firm_id: the firm of its client, who is billed.
    :param own_firm_id: the firm on the engagement itself, which may be null.
    :param invoiced_from: the invoices' period starts; the three lists after it belong to it, position by position.
    """

    id: int
    firm_id: int
    own_firm_id: int | None
    package_fee: Decimal | None
    package_fee_schedule: str
    start_date: date
    end_date: date
    actual_end_date: date | None = None
    invoiced_from: list[date] = field(default_factory=list)
    invoiced_until: list[date] = field(default_factory=list)
    generated: list[bool] = field(default_factory=list)
    cancelled: list[bool] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FirmBilling:
    """What of a firm decides its invoices.

    :param today: the firm's calendar day, on which invoices are issued.
    :param reference: the day whose billing period is due.
    """

    today: date
    reference: date
    currency: str
    timezone: str


@dataclass(frozen=True)
class PackagePlan:
    """The plan, and the engagements that cannot be billed as they stand, each with its error."""

    plan: Plan
    unbillable: tuple[tuple[str, RowFailedError], ...]


def invoice_number(engagement_id: int, period_start: date) -> str:
    """Give the number of the one invoice of an engagement's period."""
    return f"PKG-{engagement_id}-{period_start.isoformat()}"


def start_of_day(day: date, timezone: str) -> datetime:
    """Give the instant (UTC) at which a day begins in a time zone; where a clock change skips midnight, just after."""
    return datetime.combine(day, time(), ZoneInfo(timezone)).astimezone(UTC)


def plan_package_invoices(
    engagements: Iterable[PackageEngagement],
    *,
    firms: Mapping[int, FirmBilling],
    prorate: bool = False,
    backfill: bool = False,
    taken_numbers: Collection[tuple[int, str]] = frozenset(),
) -> PackagePlan:
    """Plan the invoice of each engagement's billing period that holds the firm's reference day. Pure.

    :param prorate: bill a clipped period by its share of days instead of the whole fee.
    :param backfill: also the earlier periods that were never invoiced, of ended engagements, too.
    :param taken_numbers: (firm, invoice number) of invoices that are of no engagement's period.
    """
    items: list[Action | Skip] = []
    unbillable: list[tuple[str, RowFailedError]] = []
    for engagement in engagements:
        firm = firms[engagement.firm_id]
        try:
            items += _items(engagement, firm, taken_numbers, prorate=prorate, backfill=backfill)
        except RowFailedError as error:
            unbillable.append((f"clients_engagement:{engagement.id}", error))
    return PackagePlan(Plan.of(items), tuple(unbillable))


def _items(
    engagement: PackageEngagement,
    firm: FirmBilling,
    taken_numbers: Collection[tuple[int, str]],
    *,
    prorate: bool,
    backfill: bool,
) -> list[Action | Skip]:
    if engagement.own_firm_id not in (None, engagement.firm_id):
        raise RowFailedError(
            f"belongs to firm {engagement.own_firm_id}, its client to firm {engagement.firm_id}; correct one of them"
        )
    target = f"clients_engagement:{engagement.id}"
    if not engagement.package_fee or engagement.package_fee < 0:
        return [Skip(target, NO_FEE, engagement.firm_id)]
    schedule = Schedule.parse(engagement.package_fee_schedule)
    if schedule is None:
        return [Skip(target, UNKNOWN_SCHEDULE, engagement.firm_id)]
    end = min(engagement.end_date, engagement.actual_end_date or engagement.end_date)
    reason = _why_not(engagement.start_date, end, firm.reference, backfill=backfill)
    if reason:
        return [Skip(target, reason, engagement.firm_id)]
    fee = Money.of(engagement.package_fee, firm.currency)
    days = Days(engagement.start_date, end)
    return [
        _item(engagement, period, schedule, fee, firm, taken_numbers, prorate=prorate)
        for period in _periods(schedule, days, firm.reference, backfill=backfill)
    ]


def _why_not(start: date, end: date, reference: date, *, backfill: bool) -> str:
    if end < start:
        return INVERTED
    if start > reference:
        return NOT_STARTED
    return ENDED if end < reference and not backfill else ""


def _periods(schedule: Schedule, days: Days, reference: date, *, backfill: bool) -> Iterator[BillingPeriod]:
    if backfill:
        yield from periods_until(schedule, days, reference)
    elif period := period_at(schedule, days, reference):
        yield period


def _item(
    engagement: PackageEngagement,
    period: BillingPeriod,
    schedule: Schedule,
    fee: Money,
    firm: FirmBilling,
    taken_numbers: Collection[tuple[int, str]],
    *,
    prorate: bool,
) -> Action | Skip:
    number = invoice_number(engagement.id, period.days.start)
    target = f"finance_invoices:{number}"
    reason = _invoiced(engagement, period.days)
    if not reason and (engagement.firm_id, number) in taken_numbers:
        reason = NUMBER_TAKEN
    amount = fee.share(*period.part()) if prorate and period.clipped else fee
    if not reason and not amount.minor_units:
        reason = NOTHING_LEFT
    if reason:
        return Skip(target, reason, engagement.firm_id)
    amount.for_ledger()
    due = max(firm.today, period.days.start) + DUE_AFTER
    share = f", {len(period.days)} of {len(period.whole)} days" if amount != fee else ""
    return Action(
        ISSUE,
        target,
        f"{schedule} fee of {fee} for {period.days}{share}: {amount}, due {due}",
        engagement.firm_id,
        data={
            "number": number,
            "engagement_id": engagement.id,
            "period_start": period.days.start.isoformat(),
            "period_end": period.days.end.isoformat(),
            "minor_units": amount.minor_units,
            "currency": amount.currency,
            "issue_date": firm.today.isoformat(),
            "due_date": due.isoformat(),
            "next_charge_at": start_of_day(due, firm.timezone).isoformat(),
        },
    )


def _invoiced(engagement: PackageEngagement, days: Days) -> str:
    """Say which invoice keeps these days from being billed (again); empty when none does.

    The same period start keeps them in any case: the application allows one invoice per engagement and period start.
    A generated invoice of other days keeps them where the days overlap: an engagement whose dates or schedule were
    changed after it was billed is not billed twice for the same days.
    """
    invoices = list(
        zip(
            engagement.invoiced_from,
            engagement.invoiced_until,
            engagement.generated,
            engagement.cancelled,
            strict=True,
        )
    )
    for start, _, generated, cancelled in invoices:
        if start == days.start:
            return CANCELLED if cancelled else ALREADY_INVOICED if generated else MANUAL
    overlaps = any(
        start <= days.end and until >= days.start
        for start, until, generated, cancelled in invoices
        if generated and not cancelled
    )
    return OVERLAPPING if overlaps else ""
