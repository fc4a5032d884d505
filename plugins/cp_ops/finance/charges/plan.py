"""Who is charged what, and why not: the pure planner of process_recurring_charges, and its caps."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from cp_ops.finance.charges.answers import CANCELED_BY_HAND, EXPIRED, RETRY_AFTER, State
from cp_ops.runtime.errors import CapExceededError
from cp_ops.runtime.money import Money, MoneyError
from cp_ops.runtime.plan import Action, Plan, Skip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import date, datetime
    from decimal import Decimal

CHARGE, RESOLVE, ATTACH = "charge", "resolve", "attach"
MEDIAN_OF = 5
"""Least number of earlier runs that say what is usual."""
STOPPED = {
    EXPIRED: "its confirmation expired: set autopay_next_charge_at to charge it again",
    CANCELED_BY_HAND: "its payment was canceled at Stripe: set autopay_next_charge_at to charge it again",
}
"""Codes of a last attempt that no further one follows, unless a person sets when."""
UNUSUAL = 3
"""How many times the median of the last runs is not usual any more."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An unpaid invoice that its client wants to be charged automatically, and whose day has come or is near.

    :param attempts: how often it was charged before; an intent that was planned only does not count.
    :param open_intent: the state of the attempt that is not settled yet, or ''.
    :param last_code: what its last attempt ended with.
    :param hard_declined: `payment_method` was declined for good before.
    """

    id: int
    firm_id: int
    status: str
    total_amount: Decimal
    amount_paid: Decimal
    currency: str
    due_date: date
    autopay_next_charge_at: datetime | None
    payment_retry_count: int
    dunning_paused: bool
    stripe_invoice_id: str
    payment_method: str
    client_payment_method: str
    client_autopay: bool
    client_status: str
    disputed: bool
    attempts: int
    open_intent: str
    last_code: str
    hard_declined: bool


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An attempt of an earlier run that is not settled, or not attached to its Stripe invoice."""

    id: int
    firm_id: int
    invoice_id: int
    attempt: int
    state: str


@dataclass(frozen=True)
class ChargePlan:
    """The plan, and the invoices that cannot be charged as they stand."""

    plan: Plan
    broken: tuple[tuple[str, MoneyError], ...]

    def totals(self) -> dict[str, Money]:
        """Sum up what would be charged, per currency."""
        from cp_ops.runtime.money import totals

        return totals(charged(action) for action in self.plan.of_kind(CHARGE))


def charged(action: Action) -> Money:
    """Give the amount of a planned charge."""
    return Money.from_stripe(int(action.data["amount"] or 0), str(action.data["currency"]))


def plan_charges(
    candidates: Iterable[Candidate],
    unfinished: Iterable[Unfinished],
    *,
    today: Mapping[int, date],
    now: datetime,
) -> ChargePlan:
    """Plan which unfinished attempts are looked into and which invoices are charged their balance. Pure.

    :param today: each firm's day; a firm that is not there is passed over.
    """
    broken: list[tuple[str, MoneyError]] = []
    items = [*map(_resolve, unfinished)]
    for candidate in candidates:
        if candidate.firm_id not in today:
            continue
        try:
            items.append(_item(candidate, today[candidate.firm_id], now))
        except MoneyError as error:
            broken.append((f"finance_invoices:{candidate.id}", error))
    return ChargePlan(Plan.of(items), tuple(broken))


def _resolve(intent: Unfinished) -> Action | Skip:
    kind = ATTACH if intent.state == State.SUCCEEDED else RESOLVE
    reason = (
        "charged, not attached to its Stripe invoice yet"
        if kind == ATTACH
        else f"its last charge is {intent.state}"
    )
    target = f"finance_invoices:{intent.invoice_id}"
    return Action(kind, target, reason, intent.firm_id, data={"intent": intent.id, "state": intent.state})


def _item(invoice: Candidate, today: date, now: datetime) -> Action | Skip:
    target = f"finance_invoices:{invoice.id}"
    if reason := next(_reasons_not_to_charge(invoice, today, now), None):
        return Skip(target, reason, invoice.firm_id)
    balance = Money.of(invoice.total_amount - invoice.amount_paid, invoice.currency)
    due = invoice.autopay_next_charge_at.date() if invoice.autopay_next_charge_at else invoice.due_date
    return Action(
        CHARGE,
        target,
        f"{balance}, due {due}, attempt {invoice.attempts + 1}",
        invoice.firm_id,
        data={
            "invoice": invoice.id,
            "attempt": invoice.attempts + 1,
            "amount": balance.for_stripe(),
            "currency": balance.currency,
            "payment_method": _method(invoice),
            "stripe_invoice": invoice.stripe_invoice_id,
            "total": str(invoice.total_amount),
            "paid": str(invoice.amount_paid),
        },
    )


def _method(invoice: Candidate) -> str:
    """Choose the invoice's own payment method, unless it has none or the client has replaced a dead one."""
    if invoice.payment_method and not invoice.hard_declined:
        return invoice.payment_method
    return invoice.client_payment_method


def _reasons_not_to_charge(invoice: Candidate, today: date, now: datetime) -> Iterator[str]:
    """Give the reasons not to charge an invoice, the most telling first."""
    if invoice.open_intent:
        yield f"its last charge is {invoice.open_intent}"
    if invoice.disputed:
        yield "it has an open dispute"
    if invoice.client_status != "active":
        yield f"its client is {invoice.client_status}"
    if not invoice.client_autopay:
        yield "its client's autopay is off"
    yield from _reasons_not_to_try_again(invoice)
    if not _method(invoice):
        yield "no payment method is stored"
    if invoice.hard_declined and invoice.payment_method in ("", invoice.client_payment_method):
        yield "its payment method was declined for good"
    next_charge = invoice.autopay_next_charge_at
    if next_charge > now if next_charge else invoice.due_date > today:
        yield "not due yet"


def _reasons_not_to_try_again(invoice: Candidate) -> Iterator[str]:
    if invoice.payment_retry_count > len(RETRY_AFTER):
        yield "all retries are used up"
    if invoice.last_code in STOPPED and invoice.autopay_next_charge_at is None:
        yield STOPPED[invoice.last_code]
    if invoice.payment_retry_count and invoice.dunning_paused:
        yield "its dunning is paused"


@dataclass(frozen=True, slots=True)
class PastRun:
    """What an earlier run charged: per currency how many invoices, and their sum in Stripe's units."""

    counts: Mapping[str, int]
    sums: Mapping[str, int]

    @property
    def charges(self) -> int:
        """How many invoices in all."""
        return sum(self.counts.values())


def cap_anomaly(
    found: ChargePlan, past: Sequence[PastRun], *, least: int, counts: bool = True, sums: bool = True
) -> None:
    """Refuse a plan that is out of the ordinary: more than three times the median of the last runs that charged.

    :param least: so many charges are never too many; their sum is out of the ordinary only if their average is, too,
        else the first of a month would be.
    :param counts: look at the number of charges; off when the operator has capped it.
    :param sums: look at the sum per currency; off when the operator has capped it.
    :raises CapExceededError: before anything was charged; naming how a person lets it through.
    """
    charges = found.plan.of_kind(CHARGE)
    if len(past) < MEDIAN_OF or not charges:
        return
    unusual = []
    usual = median(run.charges for run in past)
    many = len(charges) > least
    if counts and many and len(charges) > UNUSUAL * usual:
        unusual.append(f"{len(charges)} charges, the median of the last {len(past)} runs is {usual:g}")
    for currency, total in found.totals().items() if sums else ():
        known = [run for run in past if currency in run.sums]
        if len(known) < MEDIAN_OF or total.for_stripe() <= UNUSUAL * median(
            run.sums[currency] for run in known
        ):
            continue
        average = total.for_stripe() / sum(action.data["currency"] == currency for action in charges)
        if many or average > UNUSUAL * median(run.sums[currency] / run.counts[currency] for run in known):
            unusual.append(f"{total}, more than {UNUSUAL} times what is usual")
    if unusual:
        raise CapExceededError(
            f"the plan is out of the ordinary: {'; '.join(unusual)}. Nothing new was charged. Look at a dry run; if it is "
            f"right, run again with expected_plan sha256:{found.plan.sha256}, or with max_charges and max_total of your own"
        )
