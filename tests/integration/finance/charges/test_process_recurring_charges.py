"""process_recurring_charges against a real database and the local Stripe, through the real client: who is charged what."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.integration.finance.charges.charge_world import not_charged


def test_a_due_invoice_is_charged_and_booked_as_the_application_does(charging, owner, ours):
    invoice = charging.payer().invoice("200.00")
    outcome = charging.run()

    row = invoice.row()
    intent = charging.stripe.ledger.charges()[0].payment_intent
    assert (row["status"], str(row["amount_paid"]), row["paid_date"]) == (
        "paid",
        "200.00",
        charging.now.date(),
    )
    assert (row["stripe_payment_intent_id"], row["autopay_status"]) == (intent, "succeeded")
    payment = owner.execute(
        "SELECT client_id, amount::text, currency, payment_method, reference_number, status, amount_allocated::text,"
        " amount_unallocated::text FROM finance_payments"
    ).fetchall()
    assert payment == [(invoice.client_id, "200.00", "USD", "stripe", intent, "cleared", "200.00", "0.00")]
    assert owner.execute("SELECT invoice_id, amount::text FROM finance_payment_allocations").fetchall() == [
        (invoice.id, "200.00")
    ]
    audits = owner.execute("SELECT category, action, outcome FROM firm_audit_events ORDER BY id").fetchall()
    assert ("BILLING_METADATA", "autopay.charged", "success") in audits
    assert outcome.numbers["total_USD"] == "200.00"
    assert outcome.done_kinds == {"charged": 1}
    charging.referee(owner)


def test_the_balance_is_charged_not_the_total(charging, owner):
    """A trap: a partly paid invoice was charged its total."""
    charging.payer().invoice("200.00", paid="150.00", status="partial")
    charging.run()
    assert [entry.amount for entry in charging.stripe.ledger.charges()] == [5000]


@pytest.mark.parametrize(
    ("currency", "total", "asked"),
    [("JPY", "5000.00", 5000), ("KWD", "12.50", 12500), ("EUR", "10.01", 1001)],
)
def test_the_amount_is_in_the_currencys_minor_units(charging, currency, total, asked):
    """A trap: multiplying by 100 whatever the currency."""
    charging.payer().invoice(total, currency=currency)
    charging.run()
    assert [(entry.amount, entry.currency) for entry in charging.stripe.ledger.charges()] == [
        (asked, currency.lower())
    ]


def test_metadata_names_firm_invoice_and_attempt_and_the_key_is_stable(charging):
    invoice = charging.payer().invoice()
    charging.run()
    entry = charging.stripe.ledger.charges()[0]
    assert entry.metadata == {"firm_id": str(charging.firm.id), "invoice_id": str(invoice.id), "attempt": "1"}
    assert entry.idempotency_key == f"cp_ops-charge-{invoice.id}-1"


def test_the_customer_that_owns_the_payment_method_is_charged(charging):
    who = charging.payer()
    who.invoice()
    charging.run()
    assert charging.stripe.ledger.charges()[0].customer == who.customer


@pytest.mark.parametrize(
    ("reason", "invoice", "client"),
    [
        ("all retries are used up", {"payment_retry_count": 4, "status": "overdue"}, {}),
        ("its dunning is paused", {"payment_retry_count": 1, "dunning_paused": True}, {}),
        ("its client's autopay is off", {}, {"autopay_enabled": False}),
        ("its client is inactive", {}, {"status": "inactive"}),
        (
            "no payment method is stored",
            {"autopay_payment_method_id": ""},
            {"autopay_payment_method_id": ""},
        ),
    ],
)
def test_why_an_invoice_is_not_charged(charging, reason, invoice, client):
    who = charging.payer()
    who.invoice(**invoice)
    if client:
        who.client.update(**client)
    not_charged(charging, reason)


def test_an_invoice_with_an_open_dispute_is_not_charged(charging):
    disputed = charging.payer().invoice()
    charging.firm.insert(
        "finance_payment_dispute", invoice_id=disputed.id, status="needs_response", reason="general", amount="1.00",
        stripe_dispute_id="dp_1", stripe_charge_id="ch_1", opened_at=charging.now, created_at=charging.now,
        updated_at=charging.now,
    )  # fmt: skip
    not_charged(charging, "it has an open dispute")


@pytest.mark.parametrize("columns", [
    {"status": "draft"}, {"status": "paid", "paid": "200.00"}, {"status": "disputed"}, {"autopay_opt_in": False},
    {"due_in_days": 2}, {"autopay_next_charge_at": "later"},
])  # fmt: skip
def test_what_is_not_due_is_not_even_planned(charging, columns):
    if columns.get("autopay_next_charge_at"):
        columns = {"autopay_next_charge_at": charging.now + timedelta(minutes=1)}
    charging.payer().invoice(**columns)
    outcome = charging.run()
    assert (outcome.planned, len(charging.stripe.ledger)) == (0, 0)


def test_an_invoice_due_tomorrow_by_the_firms_day_waits(charging):
    charging.payer().invoice(due_in_days=1)
    assert charging.run().skip_reasons == {"not due yet": 1}
    charging.pass_time(days=1)
    assert charging.run().done == 1


def test_a_suspended_firm_is_not_charged(charging):
    charging.payer().invoice()
    charging.firm.update(status="suspended")
    assert charging.run().planned == 0


def test_a_second_run_charges_nothing_and_writes_only_its_outcome(charging, written):
    charging.payer().invoice()
    charging.run()
    before = written()
    assert charging.run().planned == 0
    assert {table for table, rows in written().items() if rows != before[table]} == {"cp_ops.job_run"}
    assert len(charging.stripe.ledger) == 1
