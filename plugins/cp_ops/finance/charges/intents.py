"""One attempt to charge: its row, what is asked of Stripe for it, and how it is found again there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from cp_ops.finance.charges.answers import AttemptState, read_payment_intent
from cp_ops.finance.reconciliation.listing import StripeReader
from cp_ops.runtime.money import Money

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from cp_ops.finance.charges.answers import Settlement

SAME_KEY_FOR = timedelta(hours=23)
"""How long asking again with the same key is safe. Stripe may forget keys after 24 hours
(docs.stripe.com/api/idempotent_requests), and then the same key charges again."""
KEY_TAKEN = "idempotency_error"
LOOK_BACK = timedelta(hours=1)
"""How far clocks may differ when an attempt is looked up."""
SETTLED_AFTER = timedelta(minutes=10)
"""After this long a request that has not arrived will not arrive any more."""
MOST_TELLING = (
    AttemptState.SUCCEEDED,
    AttemptState.PROCESSING,
    AttemptState.REQUIRES_ACTION,
    AttemptState.FAILED,
)
"""Which of several payment intents of one attempt says what became of it: the one that may have taken money."""


class Answered(Protocol):
    """Stripe's answer to a post."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def body(self) -> dict[str, Any]:
        """The object, or the error with which Stripe refused."""
        ...

    @property
    def accepted(self) -> bool:
        """Whether Stripe did what it was asked."""
        ...


class StripePayments(StripeReader, Protocol):
    """What charging takes of Stripe."""

    def post(self, path: str, params: Mapping[str, Any], *, idempotency_key: str) -> Answered:
        """Ask Stripe to do something, under a key that makes asking again harmless for 24 hours."""
        ...


@dataclass(frozen=True, slots=True)
class ChargeIntent:
    """A row of cp_ops.charge_intent; `amount` in Stripe's units."""

    id: int
    firm_id: int
    invoice_id: int
    attempt: int
    idempotency_key: str
    amount: int
    currency: str
    payment_method: str
    customer: str
    stripe_invoice: str
    state: str
    payment_intent: str
    code: str
    submitted_at: datetime | None

    @property
    def money(self) -> Money:
        """The amount."""
        return Money.from_stripe(self.amount, self.currency)

    @property
    def target(self) -> str:
        """How the outcome names it."""
        return f"finance_invoices:{self.invoice_id}"


def idempotency_key(invoice_id: int, attempt: int) -> str:
    """Give the stable name of an attempt: the same whoever asks, and whenever."""
    return f"cp_ops-charge-{invoice_id}-{attempt}"


def charge_request(intent: ChargeIntent) -> dict[str, Any]:
    """Give what Stripe is asked, from the intent's row alone: asked again, it is the same to the letter."""
    return {
        "amount": intent.amount,
        "currency": intent.currency.lower(),
        "customer": intent.customer,
        "payment_method": intent.payment_method,
        "confirm": True,
        # The client is not there: a bank that wants a confirmation must decline instead of showing a page.
        "off_session": True,
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        "metadata": {
            "firm_id": str(intent.firm_id),
            "invoice_id": str(intent.invoice_id),
            "attempt": str(intent.attempt),
        },
        # The charge tells the day on which the money was taken.
        "expand": ["latest_charge"],
    }


def may_ask_again(intent: ChargeIntent, now: datetime) -> bool:
    """Tell whether Stripe still remembers the intent's key for sure, and remembers this request under it."""
    remembered = intent.submitted_at is not None and now - intent.submitted_at < SAME_KEY_FOR
    return remembered and intent.code != KEY_TAKEN


def may_conclude(intent: ChargeIntent, now: datetime) -> bool:
    """Tell whether a request that cannot be found can be taken for one that never arrived."""
    return intent.submitted_at is None or now - intent.submitted_at >= SETTLED_AFTER


def look_up(stripe: StripeReader, intent: ChargeIntent) -> Settlement | None:
    """Find an attempt at Stripe by its metadata; None: it never arrived.

    By the list of the customer's payments, which is complete at once; a search lags behind.
    """
    # The clock of `submitted_at` is the database's, that of `created` is Stripe's.
    since = int((intent.submitted_at - LOOK_BACK).timestamp()) if intent.submitted_at else 0
    wanted = charge_request(intent)["metadata"].items()
    pages = stripe.pages(
        "payment_intents", customer=intent.customer, created={"gte": since}, expand=["data.latest_charge"]
    )
    matching = [found for page in pages for found in page if wanted <= (found.get("metadata") or {}).items()]
    settlements = [read_payment_intent(found) for found in matching]
    return min(settlements, key=lambda settlement: MOST_TELLING.index(settlement.state), default=None)
