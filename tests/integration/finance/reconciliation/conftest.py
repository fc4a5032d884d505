"""An invoice on both sides, and reconcile_stripe with the real client."""

from __future__ import annotations

import pytest

from cp_ops.finance.reconciliation.job import ReconcileStripe
from tests.integration.finance.reconciliation.stripe_world import stripe_api, unix


@pytest.fixture
def reconcile(runner, stripe):
    """Run reconcile_stripe, with the real client."""

    def run(runner=runner, **options):
        return runner(ReconcileStripe(stripe_api(stripe)), **options)

    return run


@pytest.fixture
def ours(runner):
    """A connection of the jobs' role, which sees schema cp_ops."""
    with runner.connect() as connection:
        yield connection


@pytest.fixture
def findings(ours):
    """The open findings: {(kind, subject): details}."""

    def read():
        rows = ours.execute("SELECT kind, subject, details FROM cp_ops.finding WHERE resolved_at IS NULL")
        return {(kind, subject): details for kind, subject, details in rows}

    return read


@pytest.fixture
def both(world, stripe):
    """Make an invoice on both sides; what is given differs from what agrees."""
    firm = world.firm(timezone="UTC")
    client = firm.client()

    def make(
        total="100.00", status="paid", *, at_stripe=None, local=None, amount=10000, currency="usd", paid=None
    ):
        serial = world.serial()
        paid = total if paid is None and status == "paid" else paid or "0.00"
        names = {"stripe_invoice_id": f"in_x{serial}"}
        invoice = client.invoice(total, paid=paid, status=status, **names | (local or {}))
        spec = {"id": f"in_x{serial}", "amount": amount, "currency": currency, "created": unix(world.now)}
        spec["status"] = "paid" if status == "paid" else "open"
        stripe.seed([{"invoice": spec | (at_stripe or {})}])
        return invoice

    make.client, make.firm = client, firm
    return make


@pytest.fixture
def card(stripe):
    """A customer with a card at Stripe: (customer, payment method)."""
    api = stripe.client().v1
    customer = api.customers.create({}).id
    return customer, api.payment_methods.attach("pm_card_visa", {"customer": customer}).id


@pytest.fixture
def issue(stripe, card):
    """Make an open Stripe invoice whose metadata names an invoice of ours, as an operator does in the dashboard."""

    def make(invoice, amount=10000):
        api = stripe.client().v1
        metadata = {"firm_id": str(invoice.row()["firm_id"]), "invoice_id": str(invoice.id)}
        made = api.invoices.create(
            {
                "customer": card[0], "currency": "usd", "collection_method": "send_invoice", "days_until_due": 30,
                "auto_advance": False, "metadata": metadata,
            }
        )  # fmt: skip
        api.invoices.add_lines(made.id, {"lines": [{"amount": amount, "description": "Fee"}]})
        api.invoices.finalize_invoice(made.id, {"auto_advance": False})
        return made.id

    return make


@pytest.fixture
def old_second_invoice(both, stripe, world, issue):
    """Pay an invoice, and issue a second one for it at Stripe, 100 days ago, where the clock is left; gives the second's id."""

    def make():
        old = world.ago(days=100)
        invoice = both(at_stripe={"created": unix(old)})
        invoice.update(created_at=old, updated_at=old, paid_date=old.date())
        stripe.clock.freeze(unix(old))
        return issue(invoice)

    return make
