"""Who is charged, how much and with which payment method; and why the others are not. Pure.

The rule of "may this invoice be charged?" is `_reasons_not_to_charge`, for the invoices that statement `charge_candidates`
of include/sql/finance/charges.sql gives. Three conditions are decided by that statement alone: the invoice's status, its
own autopay, and that a balance remains. Four statements repeat parts of the rule, because they ask the database again when
time has passed since the plan; each says what it repeats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cp_ops.finance.charges.answers import AttemptState
from cp_ops.finance.charges.retries import RETRY_AFTER, STOPS
from cp_ops.runtime.money import Money, MoneyError, totals
from cp_ops.runtime.plan import Action, Payload, Plan, Skip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date, datetime
    from decimal import Decimal

CHARGE, RESOLVE, ATTACH = "charge", "resolve", "attach"
OPEN_STATUSES = ("sent", "partial", "overdue", "failed")
"""Statuses in which an invoice is owed and may be charged. The statements of charges.sql get them as a parameter."""


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


@dataclass(frozen=True, slots=True, eq=False)
class ChargeInvoice(Payload):
    """Charge an invoice its balance.

    :param amount: in Stripe's units.
    :param stripe_invoice: the invoice's id at Stripe, or ''.
    :param total, paid: the invoice's columns as they were planned on, as text.
    """

    invoice: int
    attempt: int
    amount: int
    currency: str
    payment_method: str
    stripe_invoice: str
    total: str
    paid: str

    @property
    def money(self) -> Money:
        """The amount."""
        return Money.from_stripe(self.amount, self.currency)


@dataclass(frozen=True, slots=True, eq=False)
class FinishAttempt(Payload):
    """Find out what became of an attempt, or attach its payment to its Stripe invoice.

    :param intent: the id of its row in cp_ops.charge_intent.
    """

    intent: int
    state: str


@dataclass(frozen=True)
class ChargePlan:
    """The plan, and the invoices that cannot be charged as they stand."""

    plan: Plan
    broken: tuple[tuple[str, MoneyError], ...]

    @property
    def charges(self) -> list[ChargeInvoice]:
        """What is charged, in order."""
        return [action.payload(ChargeInvoice) for action in self.plan.of_kind(CHARGE)]

    def totals(self) -> dict[str, Money]:
        """Sum up what would be charged, per currency."""
        return totals(charge.money for charge in self.charges)

    def count_in(self, currency: str) -> int:
        """Count the charges in a currency."""
        return sum(charge.currency == currency for charge in self.charges)


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
    items: list[Action | Skip] = [*map(_finish, unfinished)]
    for candidate in candidates:
        # Its time zone is not known: the firm has failed already, and without a day nothing is due.
        if candidate.firm_id not in today:
            continue
        try:
            items.append(_charge_or_skip(candidate, today[candidate.firm_id], now))
        except MoneyError as error:
            broken.append((_target(candidate.id), error))
    return ChargePlan(Plan.of(items), tuple(broken))


def _finish(intent: Unfinished) -> Action:
    data = FinishAttempt(intent.id, intent.state)
    if intent.state == AttemptState.SUCCEEDED:
        kind, reason = ATTACH, "charged, not attached to its Stripe invoice yet"
    else:
        kind, reason = RESOLVE, f"its last charge is {intent.state}"
    return Action(kind, _target(intent.invoice_id), reason, intent.firm_id, data=data)


def _charge_or_skip(invoice: Candidate, today: date, now: datetime) -> Action | Skip:
    if reason := next(_reasons_not_to_charge(invoice, today, now), None):
        return Skip(_target(invoice.id), reason, invoice.firm_id)
    # The balance, not the total: a part may be paid.
    balance = Money.of(invoice.total_amount - invoice.amount_paid, invoice.currency)
    attempt = invoice.attempts + 1
    due = invoice.autopay_next_charge_at.date() if invoice.autopay_next_charge_at else invoice.due_date
    return Action(
        CHARGE,
        _target(invoice.id),
        f"{balance}, due {due}, attempt {attempt}",
        invoice.firm_id,
        data=ChargeInvoice(
            invoice=invoice.id,
            attempt=attempt,
            amount=balance.for_stripe(),
            currency=balance.currency,
            payment_method=_payment_method(invoice),
            stripe_invoice=invoice.stripe_invoice_id,
            total=str(invoice.total_amount),
            paid=str(invoice.amount_paid),
        ),
    )


def _payment_method(invoice: Candidate) -> str:
    """Choose the invoice's own payment method, unless it has none or the client has replaced a dead one."""
    if invoice.payment_method and not invoice.hard_declined:
        return invoice.payment_method
    return invoice.client_payment_method


def _reasons_not_to_charge(invoice: Candidate, today: date, now: datetime) -> Iterator[str]:
    """Give the reasons not to charge an invoice, the most telling first."""
    # Two attempts of one invoice at the same time could both be paid.
    if invoice.open_intent:
        yield f"its last charge is {invoice.open_intent}"
    if invoice.disputed:
        yield "it has an open dispute"
    if invoice.client_status != "active":
        yield f"its client is {invoice.client_status}"
    if not invoice.client_autopay:
        yield "its client's autopay is off"
    yield from _reasons_not_to_try_again(invoice)
    if not _payment_method(invoice):
        yield "no payment method is stored"
    if _payment_method_is_dead(invoice):
        yield "its payment method was declined for good"
    if not _is_due(invoice, today, now):
        yield "not due yet"


def _reasons_not_to_try_again(invoice: Candidate) -> Iterator[str]:
    if invoice.payment_retry_count > len(RETRY_AFTER):
        yield "all retries are used up"
    # A person who sets the next charge has decided that it may be made.
    if invoice.last_code in STOPS and invoice.autopay_next_charge_at is None:
        yield STOPS[invoice.last_code].skip
    # A pause stops the retries only: the first charge is no dunning.
    if invoice.payment_retry_count and invoice.dunning_paused:
        yield "its dunning is paused"


def _payment_method_is_dead(invoice: Candidate) -> bool:
    """Tell whether the only payment method at hand is the one that was declined for good."""
    return invoice.hard_declined and invoice.payment_method in ("", invoice.client_payment_method)


def _is_due(invoice: Candidate, today: date, now: datetime) -> bool:
    """Tell whether the charge's moment has come: the one that was set for it, else the start of the firm's due day."""
    if invoice.autopay_next_charge_at:
        return invoice.autopay_next_charge_at <= now
    return invoice.due_date <= today


def _target(invoice_id: int) -> str:
    return f"finance_invoices:{invoice_id}"
