"""Invoices that Stripe has, too: nobody pays there what is charged here."""

from __future__ import annotations

import pytest

from cp_ops.runtime.errors import TransientRowsFailedError
from tests.integration.finance.charges.charge_world import at_stripe, not_charged
from tests.integration.finance.reconciliation.stripe_world import stripe_api


def test_a_charge_is_attached_to_the_stripe_invoice_so_that_nobody_pays_it_again(charging):
    _, remote = at_stripe(charging, charging.payer())
    charging.run()
    assert charging.stripe.client().v1.invoices.retrieve(remote).status == "paid"


@pytest.mark.parametrize("fault", ["drop", "error", "rate_limit"])
def test_an_attachment_that_failed_is_made_by_the_next_run(charging, owner, fault):
    _, remote = at_stripe(charging, charging.payer())
    charging.stripe.faults.add("POST /v1/invoices/{id}/attach_payment", fault, count=None)
    with pytest.raises(TransientRowsFailedError):
        charging.run(api=stripe_api(charging.stripe, sleep=lambda _: None))
    charging.stripe.faults.clear()
    charging.run()
    assert charging.stripe.client().v1.invoices.retrieve(remote).status == "paid"
    charging.referee(owner)


def test_an_invoice_paid_at_stripe_already_is_not_charged(charging):
    _, remote = at_stripe(charging, charging.payer())
    charging.stripe.client().v1.invoices.pay(remote, {"paid_out_of_band": True})
    not_charged(charging, "its Stripe invoice is paid")


def part_paid_there(charging, who, remote):
    """Pay a part of the Stripe invoice at Stripe; gives the payment intent."""
    api = charging.stripe.client().v1
    part = {"amount": 15000, "currency": "usd", "customer": who.customer, "payment_method": who.method}
    intent = api.payment_intents.create({**part, "confirm": True}).id
    api.invoices.attach_payment(remote, {"payment_intent": intent})
    return intent


def test_an_invoice_partly_paid_at_stripe_is_not_charged_its_whole_balance(charging):
    who = charging.payer()
    _, remote = at_stripe(charging, who)
    part_paid_there(charging, who, remote)
    outcome = charging.run()
    assert outcome.skip_reasons == {"less than its balance remains to be paid of its Stripe invoice": 1}
    assert len(charging.stripe.ledger) == 1


def test_a_part_paid_at_stripe_and_recorded_here_leaves_the_rest_to_charge(charging, owner):
    who = charging.payer()
    invoice, remote = at_stripe(charging, who)
    intent = part_paid_there(charging, who, remote)
    invoice.paid_by("150.00", payment_method="stripe", reference_number=intent)
    charging.run()
    assert invoice.row()["status"] == "paid"
    assert [entry.amount for entry in charging.stripe.ledger.charges()] == [15000, 5000]
    assert charging.stripe.client().v1.invoices.retrieve(remote).status == "paid"


def test_a_payment_that_has_arrived_at_stripe_only_keeps_the_rest_from_being_charged(charging):
    """The sums agree by chance: somebody paid a check of the same amount."""
    who = charging.payer()
    invoice, remote = at_stripe(charging, who)
    part_paid_there(charging, who, remote)
    invoice.paid_by("150.00", payment_method="check")
    outcome = charging.run()
    assert outcome.skip_reasons == {
        "a payment of its Stripe invoice has arrived there and is not recorded here": 1
    }
    assert len(charging.stripe.ledger) == 1


@pytest.mark.parametrize("payments", [0, 12], ids=["the only payment", "after a page of others"])
def test_an_invoice_whose_payment_is_under_way_at_stripe_is_not_charged(charging, payments):
    who = charging.payer()
    invoice, remote = at_stripe(charging, who)
    api = charging.stripe.client().v1
    bank = api.payment_methods.attach("pm_usBankAccount", {"customer": who.customer})
    api.invoices.pay(remote, {"payment_method": bank.id})
    for _ in range(payments):
        charging.pass_time(seconds=1)
        waiting_ = {"amount": 100, "currency": "usd", "customer": who.customer}
        api.invoices.attach_payment(remote, {"payment_intent": api.payment_intents.create(waiting_).id})
    outcome = charging.run()
    assert outcome.skip_reasons == {"a payment of its Stripe invoice is under way there": 1}
    charging.pass_time(days=6)
    outcome = charging.run()
    assert outcome.skip_reasons == {"its Stripe invoice is paid": 1}
    assert len(charging.stripe.ledger) == 1
    assert invoice.row()["status"] == "sent", "what arrived there is recorded by the application's webhook"


def test_an_invoice_in_another_currency_at_stripe_is_not_charged(charging):
    at_stripe(charging, charging.payer(), currency="EUR")
    not_charged(charging, "its Stripe invoice is in another currency")
