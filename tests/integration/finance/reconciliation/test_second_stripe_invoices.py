"""A Stripe invoice that nothing here refers to, but whose metadata names an invoice of ours."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cp_ops.finance.reconciliation.job import ReconcileStripe
from tests.integration.finance.reconciliation.stripe_world import kinds, pay, stripe_api, unix


@pytest.mark.parametrize("full", [False, True])
def test_a_second_stripe_invoice_is_found_while_it_is_open_and_a_duplicate_once_it_is_paid(
    full, both, stripe, card, issue, reconcile, findings
):
    """A double payment that nothing refers to: neither the local invoice nor the payment's metadata."""
    invoice = both()
    subject = f"finance_invoices:{invoice.id}"
    second = issue(invoice)
    outcome = reconcile(full=full)
    assert set(findings()) == {("missing_locally", f"stripe:{second}")}
    assert findings()["missing_locally", f"stripe:{second}"]["local"] == "refers to another object"
    assert (outcome.numbers["matched"], outcome.numbers["missing_locally"]) == (1, 1)

    pay(stripe, second, card)
    outcome = reconcile(full=full)
    assert set(findings()) == {("duplicate_payment", subject)}
    found = findings()["duplicate_payment", subject]
    assert (found["local"], found["stripe"]) == ("100.00 USD", "200.00 USD")
    assert found["other_stripe_invoices"] == [second]
    assert len(found["payment_intents"]) == 2
    assert outcome.numbers["duplicate_payment"] == 1

    (extra,) = stripe.client().v1.invoice_payments.list({"invoice": second}).data
    stripe.client().v1.refunds.create({"payment_intent": extra.payment.payment_intent})
    reconcile(full=full)
    assert findings() == {}


def test_an_old_second_invoice_is_followed_from_open_to_paid_and_stays_a_duplicate(
    old_second_invoice, stripe, world, card, runner, findings
):
    """All of it is older than the window: no list shows it once it is paid."""
    second = old_second_invoice()
    stripe.clock.set(unix(world.now - timedelta(days=2)))

    def reconcile(days):
        stripe.clock.set(unix(world.now + timedelta(days=days)))
        return runner.at(world.now + timedelta(days=days))(ReconcileStripe(stripe_api(stripe)))

    stripe.clock.set(unix(world.now))
    reconcile(0)
    assert kinds(findings) == ["missing_locally"]
    pay(stripe, second, card)
    reconcile(1)
    assert kinds(findings) == ["duplicate_payment"]
    reconcile(70)
    assert kinds(findings) == ["duplicate_payment"], "its events are gone, the second payment is not"


def test_an_old_second_invoice_is_found_by_its_payment_alone(
    old_second_invoice, stripe, world, card, reconcile, findings
):
    second = old_second_invoice()
    stripe.clock.set(unix(world.now - timedelta(days=1)))
    pay(stripe, second, card)
    stripe.clock.set(unix(world.now))
    assert reconcile().numbers["local"] == 1
    assert kinds(findings) == ["duplicate_payment"]


def test_a_second_stripe_invoice_paid_out_of_band_is_no_second_payment(
    both, stripe, issue, reconcile, findings
):
    second = issue(both())
    stripe.client().v1.invoices.pay(second, {"paid_out_of_band": True})
    reconcile()
    assert findings() == {}


def test_the_stripe_invoice_that_the_referred_payment_intent_pays_is_no_second_one(
    both, stripe, world, reconcile, findings
):
    invoice = both.client.invoice("100.00", paid="100.00", stripe_payment_intent_id="pi_1")
    metadata = {"firm_id": str(both.firm.id), "invoice_id": str(invoice.id)}
    spec = {
        "id": "in_1",
        "amount": 10000,
        "metadata": metadata,
        "payments": [{"id": "pi_1", "amount": 10000}],
    }
    stripe.seed([{"invoice": spec | {"status": "paid", "created": unix(world.now)}}])
    reconcile()
    assert findings() == {}


@pytest.mark.parametrize(
    ("status", "first", "expected"),
    [
        ("sent", "open", "sent/open, but paid"),
        ("overdue", "open", "overdue/open, but paid"),
        ("cancelled", "void", "cancelled/void, but paid"),
        ("cancelled", "uncollectible", "cancelled/uncollectible, but paid"),
        ("draft", "draft", "draft/draft, but paid"),
    ],
)
def test_a_second_stripe_invoice_paid_instead_of_the_first_is_a_status_mismatch(
    status, first, expected, both, stripe, card, issue, reconcile, findings
):
    invoice = both(status=status, at_stripe={"status": first})
    pay(stripe, issue(invoice), card)
    reconcile()
    found = findings()["status_mismatch", f"finance_invoices:{invoice.id}"]
    assert f"{found['local']}/{found['stripe']}" == expected


def test_another_firms_invoice_of_the_same_number_is_not_taken_for_ours(
    both, stripe, world, card, reconcile, findings
):
    """Metadata that names our invoice's number with another firm's is about no invoice of ours."""
    invoice = both()
    metadata = {"firm_id": str(world.firm().id), "invoice_id": str(invoice.id)}
    paid = {"amount": 10000, "status": "paid", "created": unix(world.now), "metadata": metadata}
    stripe.seed([{"invoice": paid | {"id": "in_foreign"}}])
    reconcile()
    assert set(findings()) == {("missing_locally", "stripe:in_foreign")}
