"""What is compared: a local invoice and what Stripe has of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date
    from decimal import Decimal


@dataclass(frozen=True, slots=True)
class StripeInvoice:
    """A Stripe invoice; amounts in Stripe's units."""

    id: str
    status: str
    currency: str
    total: int
    paid_off_stripe: int
    paid_at: int | None


@dataclass(frozen=True, slots=True)
class StripePayment:
    """A payment intent with its charge; amounts in Stripe's units, times in Unix seconds.

    :param settles_later: the charge is a bank debit, whose money arrives days after it.
    :param dispute: the status of its dispute, '' without one.
    """

    id: str
    status: str
    currency: str
    amount: int
    received: int
    refunded: int
    charged_at: int | None
    settles_later: bool
    dispute: str = ""


@dataclass(frozen=True, slots=True)
class LocalInvoice:
    """An invoice of the application with its references, and what Stripe has of it.

    :param paid_by_other_means: cleared payments allocated to it that did not come through Stripe.
    :param paid_without_intent: what Stripe received for its invoices by payments that are no payment intents.
    :param other_invoices: Stripe invoices that it does not refer to, whose metadata names it.
    """

    id: int
    firm_id: int
    status: str
    total_amount: Decimal
    amount_paid: Decimal
    currency: str
    paid_date: date | None
    stripe_invoice_id: str
    stripe_payment_intent_id: str
    paid_by_other_means: Decimal
    timezone: str
    invoice: StripeInvoice | None
    payments: tuple[StripePayment, ...]
    paid_without_intent: int = 0
    other_invoices: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        *,
        invoice: Mapping[str, Any] | None,
        payments: Iterable[Mapping[str, Any]],
        other_invoices: Iterable[str],
        **columns: Any,
    ) -> LocalInvoice:
        """Build one from a row of the statement `stripe_comparison`."""
        return cls(
            invoice=StripeInvoice(**invoice) if invoice else None,
            payments=tuple(StripePayment(**payment) for payment in payments),
            other_invoices=tuple(other_invoices),
            **columns,
        )

    def missing(self) -> list[str]:
        """Name the references that Stripe does not know."""
        known = {payment.id for payment in self.payments} | ({self.invoice.id} if self.invoice else set())
        return [i for i in (self.stripe_invoice_id, self.stripe_payment_intent_id) if i and i not in known]
