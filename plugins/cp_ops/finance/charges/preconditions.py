"""What must be so at Stripe before a charge: who owns the payment method, and that its invoice is not being paid there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cp_ops.runtime.errors import ImplausibleError, RemoteUnavailableError, RowFailedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cp_ops.finance.charges.intents import ChargeIntent, StripePayments
    from cp_ops.runtime.database import Tenant
    from cp_ops.runtime.job import JobRun

ALWAYS_BELIEVED = 2
"""So many payment methods may be unknown to Stripe, whatever their share."""
UNDER_WAY = ("processing", "requires_capture")
"""Statuses of payment intents whose money is on its way."""
PAYMENT = "payment.payment_intent"


class PaymentMethods:
    """The customers that own payment methods; asked of Stripe once each."""

    def __init__(self, run: JobRun, stripe: StripePayments) -> None:
        self._run = run
        self._stripe = stripe
        self._owners: dict[str, str | None] = {}
        self._unknown: set[str] = set()
        self._planned: set[str] = set()

    def resolve(self, methods: Iterable[str]) -> None:
        """Ask for the owners of all payment methods of a plan, before the first of them is charged.

        With a key of another account or mode every method is unknown, and each client would lose its autopay.

        :raises ImplausibleError: when Stripe knows too few of them, or none and its last payment neither.
        """
        self._planned = set(methods)
        for method in sorted(self._planned):
            try:
                self.customer_of(method)
            except RemoteUnavailableError:
                break  # the charge asks again, and fails alone
        # Where few invoices are due, no share tells anything: all of them unknown is a wrong key, or a few dead cards.
        # The last payment decides between the two.
        asked, unknown = self._owners.keys() & self._planned, self._unknown & self._planned
        if unknown and unknown == asked and not self._knows_last_payment():
            self._disbelieve(len(unknown))

    def customer_of(self, method: str) -> str | None:
        """Give the customer that owns a payment method; None: it is gone, or nobody's.

        :raises ImplausibleError: when too many are unknown to Stripe.
        """
        if method not in self._owners:
            found = self._stripe.get("payment_methods", method)
            self._owners[method] = (found or {}).get("customer")
            if found is None:
                self._unknown.add(method)
                self._refuse_too_many_unknown()
        return self._owners[method]

    def _refuse_too_many_unknown(self) -> None:
        unknown = len(self._unknown & self._planned)
        if unknown > max(ALWAYS_BELIEVED, int(len(self._planned) * self._share)):
            self._disbelieve(unknown)

    @property
    def _share(self) -> float:
        return self._run.settings.stripe_max_missing_share

    def _knows_last_payment(self) -> bool:
        """Tell whether Stripe knows what was charged last; where nothing was, or any share is believed, it is not asked."""
        with self._run.read() as tx:
            last = tx.one("last_charged")
        if last is None or self._share >= 1:
            return True
        return self._stripe.get("payment_intents", last["payment_intent"]) is not None

    def _disbelieve(self, unknown: int) -> None:
        raise ImplausibleError(
            f"Stripe does not know {unknown} of the {len(self._planned)} payment methods to charge: nobody was charged. "
            "Check that connection stripe_default holds a key of the right account and mode (test or live); if they are "
            "really gone, raise [cp_ops] stripe_max_missing_share for one run"
        )


def obstacle_at_stripe(
    run: JobRun, stripe: StripePayments, tenant: Tenant, intent: ChargeIntent
) -> str | None:
    """Tell why an invoice that Stripe has, too, is not charged; None when it may be.

    :raises RowFailedError: when Stripe does not know it.
    """
    if not intent.stripe_invoice:
        return None
    invoice = stripe.get("invoices", intent.stripe_invoice, expand=(f"payments.data.{PAYMENT}",))
    if invoice is None:
        raise RowFailedError(
            f"Stripe does not know the invoice's {intent.stripe_invoice}: correct the reference"
        )
    if invoice["status"] != "open":
        return f"its Stripe invoice is {invoice['status']}"
    # Stripe would charge the same client by its own schedule.
    if invoice.get("auto_advance"):
        return "Stripe collects its Stripe invoice itself"
    if invoice["currency"] != intent.currency.lower():
        return "its Stripe invoice is in another currency"
    # What was paid at Stripe may not be recorded here yet: the balance would be collected a second time.
    if invoice["amount_remaining"] < intent.amount:
        return "less than its balance remains to be paid of its Stripe invoice"
    obstacles = (_obstacle_of(payment, run, tenant, intent) for payment in _payments(stripe, invoice))
    return next(filter(None, obstacles), None)


def _payments(stripe: StripePayments, invoice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give all payments of a Stripe invoice; it carries the first ten only."""
    payments = invoice.get("payments") or {"data": []}
    if not payments.get("has_more"):
        yield from payments["data"]
        return
    for page in stripe.pages("invoice_payments", invoice=invoice["id"], expand=[f"data.{PAYMENT}"]):
        yield from page


def _obstacle_of(payment: dict[str, Any], run: JobRun, tenant: Tenant, intent: ChargeIntent) -> str | None:
    """Tell whether a payment of a Stripe invoice is on its way, or has arrived there and not here."""
    found = (payment.get("payment") or {}).get("payment_intent")
    if not isinstance(found, dict):
        return None
    if found["status"] in UNDER_WAY:
        return "a payment of its Stripe invoice is under way there"
    if found["status"] != "succeeded":
        return None
    with run.read(tenant) as tx:
        recorded = tx.one("recorded_payment", firm_id=intent.firm_id, payment_intent=found["id"])
    # The sums may agree by chance, as when a check of the same amount was booked here: the payment itself must be here.
    return None if recorded else "a payment of its Stripe invoice has arrived there and is not recorded here"
