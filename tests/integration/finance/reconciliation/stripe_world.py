"""Local Stripe beside the world: clients with a stored card, invoices that both sides know."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cp_ops.hooks.rate_limit import CallLimiter
from cp_ops.hooks.stripe_client import StripeApi

if TYPE_CHECKING:
    from sandbox.stripe_api import StripeSandbox
    from sandbox.world.clients import Client
    from sandbox.world.finance import Invoice

_numbers = itertools.count(1)


def stripe_api(
    stripe: StripeSandbox, *, key: str | None = None, rate: float = 0, **options: Any
) -> StripeApi:
    """Give the real client, pointed at the local Stripe."""
    options = {"max_network_retries": 0, "timeout": 5.0} | options
    return StripeApi(key or stripe.key, limiter=CallLimiter(rate), base_url=stripe.url, **options)


@dataclass
class Payer:
    """A client whose card is stored at Stripe, with autopay on."""

    client: Client
    customer: str
    method: str

    def invoice(self, total: str = "200.00", **columns: Any) -> Invoice:
        """Insert an invoice that is due by autopay now."""
        due = {
            "autopay_opt_in": True,
            "autopay_payment_method_id": self.method,
            "status": "sent",
            "issued_days_ago": 31,
            "due_in_days": -1,
        }
        return self.client.invoice(total, **due | columns)


def payer(
    stripe: StripeSandbox, firm: Any, *, token: str = "pm_card_visa", outcomes: tuple[str, ...] = ()
) -> Payer:
    """Make a client of the firm with a card on file."""
    api = stripe.client()
    customer = api.v1.customers.create({"name": "Client"})
    method = api.v1.payment_methods.attach(token, {"customer": customer.id})
    if outcomes:
        stripe.script(method.id, *outcomes)
    client = firm.client(f"Payer {next(_numbers)}", autopay_enabled=True, autopay_payment_method_id=method.id)
    return Payer(client, customer.id, method.id)


def unix(moment: datetime) -> int:
    """Give Unix seconds."""
    return int(moment.astimezone(UTC).timestamp())


def kinds(findings: Any) -> list[str]:
    """Name the kinds of the open findings, sorted."""
    return sorted(kind for kind, _ in findings())


def pay(stripe: StripeSandbox, remote: str, card: tuple[str, str]) -> None:
    """Pay a Stripe invoice by a card, as its client does."""
    stripe.client().v1.invoices.pay(remote, {"payment_method": card[1]})
