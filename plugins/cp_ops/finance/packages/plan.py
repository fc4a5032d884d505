"""Which package fees are due, for which days and how much: the planner of generate_package_invoices."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cp_ops.finance.packages.billing_periods import BillingPeriod, Days, Schedule, period_at, periods_until
from cp_ops.runtime.errors import RowFailedError
from cp_ops.runtime.money import Money
from cp_ops.runtime.plan import Action, Payload, Plan, Skip

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from decimal import Decimal

ISSUE = "issue_invoice"
DUE_AFTER = timedelta(days=30)


class NotInvoiced(StrEnum):
    """Why an engagement, or one of its periods, is not invoiced."""

    NO_FEE = "no package fee"
    UNKNOWN_SCHEDULE = "unknown schedule"
    INVERTED = "ends before it starts"
    NOT_STARTED = "not started yet"
    ENDED = "ended"
    ALREADY_INVOICED = "already invoiced"
    CANCELLED = "the invoice of this period was cancelled"
    MANUAL = "a manual invoice has the same period start"
    OVERLAPPING = "an invoice of this engagement covers days of this period"
    NUMBER_TAKEN = "another invoice bears this invoice's number"
    NOTHING_LEFT = "pro-rated to nothing"


@dataclass(frozen=True, slots=True)
class KnownInvoice:
    """An invoice that an engagement already has for a period.

    :param generated: this job issued it; otherwise a person did.
    """

    start: date
    until: date
    generated: bool
    cancelled: bool

    def bills_some_of(self, days: Days) -> bool:
        """Tell whether days are billed by it already. Only a generated invoice's period says what it bills."""
        overlaps = self.start <= days.end and self.until >= days.start
        return overlaps and self.generated and not self.cancelled


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

    @property
    def days(self) -> Days | None:
        """The days of the engagement; None when it ends before it starts."""
        end = min(self.end_date, self.actual_end_date or self.end_date)
        return Days(self.start_date, end) if self.start_date <= end else None

    def invoices(self) -> list[KnownInvoice]:
        """List the invoices that it has for periods, by period start."""
        columns = (self.invoiced_from, self.invoiced_until, self.generated, self.cancelled)
        return [KnownInvoice(*row) for row in zip(*columns, strict=True)]


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


@dataclass(frozen=True, slots=True, eq=False)
class IssueInvoice(Payload):
    """The invoice of one period; days and instants as ISO text."""

    number: str
    engagement_id: int
    period_start: str
    period_end: str
    minor_units: int
    currency: str
    issue_date: str
    due_date: str
    next_charge_at: str

    @property
    def money(self) -> Money:
        """The invoice's amount."""
        return Money(self.minor_units, self.currency)


@dataclass(frozen=True, slots=True)
class _Rules:
    """What the run, not the engagement, says of billing."""

    prorate: bool
    backfill: bool
    taken_numbers: Collection[tuple[int, str]]


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
    rules = _Rules(prorate, backfill, taken_numbers)
    items: list[Action | Skip] = []
    unbillable: list[tuple[str, RowFailedError]] = []
    for engagement in engagements:
        try:
            items += _items(engagement, firms[engagement.firm_id], rules)
        except RowFailedError as error:
            unbillable.append((f"clients_engagement:{engagement.id}", error))
    return PackagePlan(Plan.of(items), tuple(unbillable))


def _items(engagement: PackageEngagement, firm: FirmBilling, rules: _Rules) -> list[Action | Skip]:
    """Plan the due periods of one engagement, or say why it has none.

    :raises RowFailedError: when it cannot be billed as it stands.
    """
    # Two firms could send this bill. The database does not say which one is meant, and a guess would mix their books.
    if engagement.own_firm_id not in (None, engagement.firm_id):
        raise RowFailedError(
            f"belongs to firm {engagement.own_firm_id}, its client to firm {engagement.firm_id}; correct one of them"
        )

    def passed_over(reason: NotInvoiced) -> list[Action | Skip]:
        return [Skip(f"clients_engagement:{engagement.id}", reason, engagement.firm_id)]

    if not engagement.package_fee or engagement.package_fee < 0:
        return passed_over(NotInvoiced.NO_FEE)
    schedule = Schedule.parse(engagement.package_fee_schedule)
    if schedule is None:
        return passed_over(NotInvoiced.UNKNOWN_SCHEDULE)
    days = engagement.days
    if days is None:
        return passed_over(NotInvoiced.INVERTED)
    if days.start > firm.reference:
        return passed_over(NotInvoiced.NOT_STARTED)
    if days.end < firm.reference and not rules.backfill:
        return passed_over(NotInvoiced.ENDED)
    fee = Money.of(engagement.package_fee, firm.currency)
    return [
        _item(engagement, period, schedule, fee, firm, rules)
        for period in _periods(schedule, days, firm.reference, backfill=rules.backfill)
    ]


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
    rules: _Rules,
) -> Action | Skip:
    number = invoice_number(engagement.id, period.days.start)
    target = f"finance_invoices:{number}"
    amount = fee.share(*period.part()) if rules.prorate and period.clipped else fee
    # First the engagement's own invoices: they usually bear this number, which is no conflict then.
    reason = _billed_before(engagement, period.days)
    if not reason and (engagement.firm_id, number) in rules.taken_numbers:
        reason = NotInvoiced.NUMBER_TAKEN
    if not reason and not amount.minor_units:
        reason = NotInvoiced.NOTHING_LEFT
    if reason:
        return Skip(target, reason, engagement.firm_id)
    amount.for_ledger()  # an amount that the columns cannot hold fails this engagement, not a batch at the INSERT
    # A period that was missed is not due before it is issued: the client has the same 30 days to pay.
    due = max(firm.today, period.days.start) + DUE_AFTER
    share = f", {len(period.days)} of {len(period.whole)} days" if amount != fee else ""
    return Action(
        ISSUE,
        target,
        f"{schedule} fee of {fee} for {period.days}{share}: {amount}, due {due}",
        engagement.firm_id,
        data=IssueInvoice(
            number=number,
            engagement_id=engagement.id,
            period_start=period.days.start.isoformat(),
            period_end=period.days.end.isoformat(),
            minor_units=amount.minor_units,
            currency=amount.currency,
            issue_date=firm.today.isoformat(),
            due_date=due.isoformat(),
            # Never null: to the collection, an invoice without a next charge is due at once.
            next_charge_at=start_of_day(due, firm.timezone).isoformat(),
        ),
    )


def _billed_before(engagement: PackageEngagement, days: Days) -> NotInvoiced | None:
    """Say what keeps these days from being billed (again); None when nothing does.

    An invoice of the same period start does in any case: the application allows one per engagement and period start.
    A generated invoice of other days does where the days overlap: an engagement whose dates or schedule were changed
    after it was billed is not billed twice for the same days.
    """
    invoices = engagement.invoices()
    for invoice in invoices:
        if invoice.start == days.start:
            return _instead(invoice)
    overlap = any(invoice.bills_some_of(days) for invoice in invoices)
    return NotInvoiced.OVERLAPPING if overlap else None


def _instead(invoice: KnownInvoice) -> NotInvoiced:
    if invoice.cancelled:
        return NotInvoiced.CANCELLED
    return NotInvoiced.ALREADY_INVOICED if invoice.generated else NotInvoiced.MANUAL
