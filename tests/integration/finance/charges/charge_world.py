"""What every test of charging needs: the job over the real client, invoices to charge, and the referee."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cp_ops.finance.charges.job import ProcessRecurringCharges
from cp_ops.runtime.errors import TransientRowsFailedError
from cp_ops.runtime.settings import Settings
from tests.integration.conftest import Runner
from tests.integration.finance.reconciliation.stripe_world import payer, stripe_api, unix

if TYPE_CHECKING:
    from datetime import datetime

    import psycopg

    from cp_ops.runtime.outcome import Outcome
    from sandbox.stripe_api import StripeSandbox
    from sandbox.world.builder import World

SETTINGS = {"frontend_url": "https://app.example.test", "default_from_email": "billing@example.test"}


def api_of(stripe: StripeSandbox, **options: Any) -> Any:
    """Give the real client as a deployment has it, with the library's own network retries."""
    return stripe_api(stripe, **{"max_network_retries": 2} | options)


@dataclass
class Charging:
    """A firm with clients whose cards are stored, and a clock that both sides share."""

    dsn: str
    stripe: StripeSandbox
    world: World
    now: datetime
    settings: dict[str, Any] = field(default_factory=dict)
    lease_ttl: int = 60

    def __post_init__(self) -> None:
        self.stripe.clock.freeze(unix(self.now))
        self.firm = self.world.firm(timezone="UTC")

    def payer(self, **options: Any) -> Any:
        """Make a client with a stored card; `token` or `outcomes` decide how its charges end."""
        return payer(self.stripe, self.firm, **options)

    def runner(self) -> Runner:
        """Give a runner at the present time."""
        return Runner(self.dsn, Settings(**SETTINGS | self.settings), self.now, self.lease_ttl)

    def run(self, *, api: Any = None, **options: Any) -> Outcome:
        """Run the job once; raises what it raises."""
        return self.runner()(ProcessRecurringCharges(api or api_of(self.stripe)), **options)

    def pass_time(self, **span: float) -> None:
        """Let time pass, here and at Stripe."""
        self.now += timedelta(**span)
        self.stripe.clock.set(unix(self.now))

    def intents(self, connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
        """Give (invoice, attempt, state, code) of every attempt."""
        return connection.execute(
            "SELECT invoice_id, attempt, state, code FROM cp_ops.charge_intent ORDER BY invoice_id, attempt"
        ).fetchall()

    def referee(self, owner: psycopg.Connection[Any]) -> None:
        """Hold the local books against Stripe's own ledger."""
        ledger = self.stripe.ledger
        assert ledger.charged_more_than_once("invoice_id", "attempt") == {}
        charged: dict[int, int] = {}
        for entry in ledger.charges():
            key = int(entry.metadata["invoice_id"])
            charged[key] = charged.get(key, 0) + entry.amount
        rows = owner.execute(
            "SELECT i.id, (i.total_amount * 100)::bigint, (i.amount_paid * 100)::bigint, i.status,"
            " COALESCE((SELECT sum(p.amount * 100)::bigint FROM finance_payments p"
            "  JOIN finance_payment_allocations a ON a.payment_id = p.id"
            "  WHERE a.invoice_id = i.id AND p.payment_method = 'stripe'), 0) FROM finance_invoices i"
        ).fetchall()
        for invoice, total, paid, status, recorded in rows:
            assert charged.get(invoice, 0) == recorded, (
                f"invoice {invoice}: Stripe's ledger and the local payments differ"
            )
            assert paid <= total
            assert charged.get(invoice, 0) <= total, f"invoice {invoice} was charged more than its total"
            assert (status == "paid") == (paid == total)


def mails(ours):
    """Give what is in the outbox."""
    return ours.execute("SELECT kind, step, recipient, body_text FROM cp_ops.mail ORDER BY id").fetchall()


def not_charged(charging, reason):
    """Run, and see one invoice passed over for this reason."""
    outcome = charging.run()
    assert len(charging.stripe.ledger) == 0
    assert outcome.skip_reasons == {reason: 1}


def waiting(charging):
    """An invoice whose payment waits for its client to confirm."""
    invoice = charging.payer(outcomes=("requires_action",)).invoice()
    charging.run()
    return invoice, invoice.row()["stripe_payment_intent_id"]


def declined(charging, **options):
    """An invoice whose first charge was declined and whose second is due; with its payer and its payment intent."""
    who = charging.payer(outcomes=("insufficient_funds",), **options)
    invoice = who.invoice()
    charging.run()
    charging.pass_time(days=3)
    return who, invoice, invoice.row()["stripe_payment_intent_id"]


def lose_the_answer(charging, when):
    """Run while the first charge's connection breaks, `when` being before or after it had its effect: it is unknown now."""
    charging.stripe.faults.add("POST /v1/payment_intents", "drop", when=when)
    with pytest.raises(TransientRowsFailedError):
        charging.run()


def at_stripe(charging, who, **columns):
    """An invoice that Stripe has, too; with its id there."""
    api = charging.stripe.client().v1
    remote = api.invoices.create(
        {
            "customer": who.customer,
            "currency": "usd",
            "collection_method": "send_invoice",
            "days_until_due": 30,
            "auto_advance": False,
        }
    )
    api.invoices.add_lines(remote.id, {"lines": [{"amount": 20000, "description": "Fee"}]})
    api.invoices.finalize_invoice(remote.id, {"auto_advance": False})
    return who.invoice(stripe_invoice_id=remote.id, **columns), remote.id
