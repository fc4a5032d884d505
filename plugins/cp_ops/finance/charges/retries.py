"""What follows a failed charge: when it is tried again, and when a person must decide. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cp_ops.finance.charges.answers import DeclineClass, OwnCode

if TYPE_CHECKING:
    from datetime import datetime

    from cp_ops.finance.charges.answers import Settlement

RETRY_AFTER = (timedelta(days=3), timedelta(days=7), timedelta(days=14))
"""When a soft decline is tried again; after the last the invoice is overdue."""


@dataclass(frozen=True, slots=True)
class Stop:
    """How a failure reads after which only a person lets the invoice be charged again.

    :param failure: what the application's invoice says.
    :param skip: what later runs say when they pass the invoice over.
    """

    failure: str
    skip: str


STOPS: dict[str, Stop] = {
    OwnCode.EXPIRED: Stop(
        "The client did not confirm the payment in time",
        "its confirmation expired: set autopay_next_charge_at to charge it again",
    ),
    OwnCode.CANCELED_BY_HAND: Stop(
        "The payment was canceled at Stripe",
        "its payment was canceled at Stripe: set autopay_next_charge_at to charge it again",
    ),
}
"""Codes of a last attempt that no further one follows, unless a person sets when.

A hard decline is not here: it concerns the payment method, and a new one may be charged at once.
"""


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What a failed charge means for its invoice.

    :param failures: how many charges of the invoice have failed in a row, this one included.
    :param next_charge: when it is charged again; None: not by itself.
    :param hard: the payment method will never work, so that autopay is switched off.
    :param mailed: the client is told.
    :param reason: why the charge failed, as the application's invoice says it.
    :param outcome: what the run's outcome calls it.
    """

    failures: int
    next_charge: datetime | None
    hard: bool
    mailed: bool
    reason: str
    outcome: str

    @property
    def final(self) -> bool:
        """Whether no further charge is planned."""
        return self.next_charge is None

    @property
    def invoice_status(self) -> str:
        """The invoice's status: overdue once every retry is used up, so that dunning takes over."""
        return "failed" if self.hard or not self.final else "overdue"

    @property
    def autopay_status(self) -> str:
        """Where the invoice's autopay stands."""
        return "failed" if self.final else "retrying"


def next_attempt(failures: int, now: datetime) -> datetime | None:
    """Give when to charge again after so many failures, this one included; None: not again.

    :param failures: from 1.
    """
    return now + RETRY_AFTER[failures - 1] if failures <= len(RETRY_AFTER) else None


def after_failure(settlement: Settlement, *, failures: int, now: datetime) -> Aftermath:
    """Plan the next attempt, or stop: at once after a hard decline or a cancellation, after the last retry otherwise.

    :param failures: from 1, this one included.
    """
    code = settlement.code
    hard = settlement.decline is DeclineClass.HARD
    stop = STOPS.get(code)
    next_charge = None if hard or stop else next_attempt(failures, now)
    return Aftermath(
        failures=failures,
        next_charge=next_charge,
        hard=hard,
        # Between retries the client is left in peace. Who canceled the payment at Stripe knows of it already.
        mailed=next_charge is None and code != OwnCode.CANCELED_BY_HAND,
        reason=stop.failure if stop else f"Charge refused by Stripe: {code}",
        outcome=code if stop else "declined_for_good" if hard else "declined",
    )
