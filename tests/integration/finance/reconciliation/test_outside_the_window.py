"""Invoices and payments that are older than what a run lists: what changed of them is seen all the same."""

from __future__ import annotations

from datetime import timedelta

from tests.integration.finance.reconciliation.stripe_world import kinds, pay, unix


def test_a_finding_of_an_invoice_outside_the_window_is_still_resolved(
    both, stripe, world, reconcile, findings
):
    old = world.ago(days=300)
    invoice = both(at_stripe={"created": unix(old), "amount": 12000})
    invoice.update(created_at=old, updated_at=old, paid_date=old.date())
    assert reconcile().numbers["local"] == 0, "settled long ago: only a full run looks at it"
    assert reconcile(full=True).findings.opened > 0
    invoice.update(total_amount="120.00", amount_paid="120.00")
    outcome = reconcile()
    assert (outcome.numbers["local"], findings()) == (1, {})


def test_an_old_payment_that_was_refunded_lately_is_seen_without_a_full_run(
    both, stripe, world, reconcile, findings
):
    stripe.clock.freeze(unix(world.ago(days=200)))
    api = stripe.client()
    customer = api.v1.customers.create({})
    method = api.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    intent = api.v1.payment_intents.create(
        {
            "amount": 10000,
            "currency": "usd",
            "customer": customer.id,
            "payment_method": method.id,
            "confirm": True,
        }
    )
    old = world.ago(days=200)
    both.client.invoice(
        "100.00",
        paid="100.00",
        stripe_payment_intent_id=intent.id,
        created_at=old,
        updated_at=old,
        paid_date=old.date(),
    )
    stripe.clock.set(unix(world.now))
    reconcile()
    assert findings() == {}
    api.v1.refunds.create({"payment_intent": intent.id})
    reconcile()
    assert "status_mismatch" in kinds(findings)


def test_an_old_payment_intent_that_was_paid_lately_is_seen_without_a_full_run(
    both, stripe, world, card, reconcile, findings
):
    """It waited at Stripe while a cheque paid the invoice: too old to be listed, and nothing is open here."""
    stripe.clock.freeze(unix(world.ago(days=100)))
    api = stripe.client().v1
    intent = api.payment_intents.create({"amount": 10000, "currency": "usd", "customer": card[0]})
    old = world.ago(days=90)
    invoice = both.client.invoice("100.00", status="sent", stripe_payment_intent_id=intent.id, created_at=old)
    invoice.paid_by("100.00", payment_method="check")
    invoice.update(updated_at=old, paid_date=old.date())
    stripe.clock.set(unix(world.now))
    assert reconcile().numbers["local"] == 0
    stripe.clock.set(unix(world.now - timedelta(days=1)))
    api.payment_intents.confirm(intent.id, {"payment_method": card[1]})
    stripe.clock.set(unix(world.now))
    assert reconcile().numbers["local"] == 1
    assert kinds(findings) == ["overpaid"]


def test_an_old_stripe_invoice_that_was_paid_lately_is_seen_without_a_full_run(
    both, stripe, world, reconcile, findings
):
    old = world.ago(days=100)
    stripe.clock.freeze(unix(old))
    invoice = both(status="cancelled", at_stripe={"created": unix(old), "status": "uncollectible"})
    invoice.update(created_at=old, updated_at=old)
    stripe.clock.set(unix(world.now))
    assert (reconcile().numbers["local"], findings()) == (0, {})
    stripe.client().v1.invoices.pay(invoice.row()["stripe_invoice_id"], {"paid_out_of_band": True})
    reconcile()
    assert "status_mismatch" in kinds(findings)


def test_an_old_payment_of_a_stripe_invoice_that_was_refunded_lately_is_seen_without_a_full_run(
    both, stripe, world, reconcile, findings
):
    """The event names the payment intent only; the local invoice refers to the Stripe invoice only."""
    old = world.ago(days=100)
    invoice = both(at_stripe={"created": unix(old), "payments": [{"id": "pi_old", "amount": 10000}]})
    invoice.update(created_at=old, updated_at=old, paid_date=old.date())
    assert (reconcile().numbers["local"], findings()) == (0, {})
    stripe.client().v1.refunds.create({"payment_intent": "pi_old"})
    outcome = reconcile()
    assert "status_mismatch" in kinds(findings)
    assert outcome.numbers["single_fetches"] == 2, "the payment intent and its Stripe invoice"


def test_a_refund_that_failed_is_seen_without_a_full_run(both, stripe, world, reconcile, findings):
    """Stripe takes the amount off the charge's refunds again: what is refunded here is paid there."""
    old = world.ago(days=100)
    invoice = both(
        at_stripe={"created": unix(old), "payments": [{"id": "pi_old", "amount": 10000}]}, status="paid"
    )
    stripe.clock.freeze(unix(old))
    refund = stripe.client().v1.refunds.create({"payment_intent": "pi_old"})
    invoice.update(status="refunded", created_at=old, updated_at=old)
    stripe.clock.set(unix(world.now))
    assert (reconcile().numbers["local"], findings()) == (0, {})
    stripe.fail_refund(refund.id)
    reconcile()
    found = findings()["status_mismatch", f"finance_invoices:{invoice.id}"]
    assert (found["local"], found["stripe"]) == ("refunded", "paid")


def test_what_was_listed_is_not_fetched_once_more_for_its_events(both, stripe, world, card, issue, reconcile):
    for _ in range(3):
        pay(stripe, issue(both.client.invoice("100.00", status="sent")), card)
    outcome = reconcile()
    assert outcome.numbers["single_fetches"] == 0
    assert outcome.remote_calls == 5, "invoices, payment intents, older open ones, disputes, events"


def test_an_old_open_invoice_is_listed_or_fetched_singly(both, world, reconcile, findings):
    long_ago = {"created": unix(world.ago(days=200))}
    both(status="sent", at_stripe=long_ago)
    both(status="overdue", at_stripe=long_ago | {"status": "uncollectible"})
    outcome = reconcile()
    assert findings() == {}
    assert (outcome.numbers["local"], outcome.numbers["single_fetches"]) == (2, 1)
