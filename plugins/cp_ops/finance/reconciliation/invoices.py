"""What is compared: a local invoice and what Stripe has of it, and their amounts in one unit. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cp_ops.runtime.money import Money

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date
    from decimal import Decimal


class InvoiceStatus(StrEnum):
    """The application's statuses of an invoice."""

    DRAFT = "draft"
    SENT = "sent"
    OVERDUE = "overdue"
    FAILED = "failed"
    PARTIAL = "partial"
    PAID = "paid"
    CANCELLED = "cancelled"
    DISPUTED = "disputed"
    REFUNDED = "refunded"
    CHARGED_BACK = "charged_back"


class StripeInvoiceStatus(StrEnum):
    """Stripe's statuses of an invoice (docs.stripe.com/api/invoices/object#invoice_object-status)."""

    DRAFT = "draft"
    OPEN = "open"
    PAID = "paid"
    VOID = "void"
    UNCOLLECTIBLE = "uncollectible"


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

    @property
    def succeeded(self) -> bool:
        """Whether its money came in, be it that it was refunded since."""
        return self.status == "succeeded"

    @property
    def keeps_money(self) -> bool:
        """Whether some of its money came in and was not given back."""
        return self.succeeded and self.refunded < self.received

    @property
    def under_way(self) -> bool:
        """Whether it waits for the bank."""
        return self.status == "processing"

    @property
    def canceled(self) -> bool:
        """Whether nobody can pay it any more."""
        return self.status == "canceled"

    @property
    def collects(self) -> bool:
        """Whether its amount may still come in: it waits for the payer (``requires_...``) or for the bank."""
        return self.status.startswith("requires_") or self.under_way


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

    @property
    def currency_code(self) -> str:
        """The currency as ISO 4217 writes it."""
        return self.currency.strip().upper()

    def stripe_currencies(self) -> set[str]:
        """Name the currencies that Stripe has of it."""
        found = {payment.currency.upper() for payment in self.payments}
        return found | ({self.invoice.currency.upper()} if self.invoice else set())

    def missing(self) -> list[str]:
        """Name the references that Stripe does not know."""
        # Either reference may be empty: an invoice that autopay charged has a payment intent only.
        known = {payment.id for payment in self.payments} | ({self.invoice.id} if self.invoice else set())
        return [i for i in (self.stripe_invoice_id, self.stripe_payment_intent_id) if i and i not in known]


@dataclass(frozen=True, slots=True)
class Amounts:
    """The amounts of one invoice in minor units of its currency.

    :param total: what the application invoiced.
    :param recorded: what the application says was paid.
    :param others: payments in the application that did not come through Stripe.
    :param gross: what came in through Stripe, before refunds.
    :param off_stripe: what Stripe was told came in elsewhere.
    :param undated: the part of `gross` whose time Stripe gives only with the invoice.
    """

    code: str
    total: int
    recorded: int
    others: int
    gross: int
    refunded: int
    off_stripe: int
    undated: int

    @classmethod
    def of(cls, local: LocalInvoice) -> Amounts:
        """Convert an invoice's amounts.

        :raises MoneyError: when one is finer than the currency.
        """
        code = local.currency_code

        def stripe(amount: int) -> int:
            return Money.from_stripe(amount, code).minor_units

        return cls(
            code,
            total=Money.of(local.total_amount, code).minor_units,
            recorded=Money.of(local.amount_paid, code).minor_units,
            others=Money.of(local.paid_by_other_means, code).minor_units,
            gross=sum(stripe(payment.received) for payment in local.payments if payment.succeeded)
            + stripe(local.paid_without_intent),
            refunded=sum(stripe(payment.refunded) for payment in local.payments),
            off_stripe=stripe(local.invoice.paid_off_stripe) if local.invoice else 0,
            undated=stripe(local.paid_without_intent),
        )

    @property
    def elsewhere(self) -> int:
        """What did not come through Stripe: the larger of the two records, as both may tell of the same cheque."""
        return max(self.others, self.off_stripe)

    @property
    def received(self) -> int:
        """What came in by any means, less refunds."""
        return self.gross - self.refunded + self.elsewhere

    @property
    def refunded_in_full(self) -> bool:
        """Whether everything that came through Stripe went back."""
        return bool(self.gross) and self.refunded >= self.gross

    @property
    def covered_by_stripe(self) -> bool:
        """Whether the total came in, some of it through Stripe."""
        return bool(self.gross) and self.received >= self.total

    def of_stripe(self, amount: int) -> int:
        """Convert an amount in Stripe's units."""
        return Money.from_stripe(amount, self.code).minor_units

    def text(self, minor_units: int) -> str:
        """Write an amount with its currency."""
        return str(Money(minor_units, self.code))
