"""Payments that are still open at Stripe: of a failed attempt, or on their way."""

from __future__ import annotations

import pytest

from cp_ops.runtime.errors import TransientRowsFailedError
from tests.integration.finance.charges.charge_world import api_of, declined


def test_the_payment_of_a_failed_attempt_is_canceled_before_the_next_one_is_made(charging, owner):
    _, invoice, first = declined(charging)
    charging.run()
    assert charging.stripe.client().v1.payment_intents.retrieve(first).status == "canceled"
    assert invoice.row()["status"] == "paid"
    charging.referee(owner)


def test_a_failed_attempt_that_the_client_paid_later_is_booked_and_nothing_is_charged(charging, owner, ours):
    who, invoice, first = declined(charging)
    charging.stripe.client().v1.payment_intents.confirm(first, {"payment_method": who.method})
    outcome = charging.run()
    assert outcome.skip_reasons == {"its last failed charge was paid at Stripe meanwhile": 1}
    assert charging.intents(ours) == [(invoice.id, 1, "succeeded", "")]
    assert (invoice.row()["status"], invoice.row()["payment_retry_count"]) == ("paid", 0)
    assert len(charging.stripe.ledger) == 1
    assert owner.execute("SELECT bool_and(resolved) FROM finance_payment_failure").fetchone() == (True,)
    charging.referee(owner)
    assert charging.run().planned == 0


def test_a_failed_attempt_that_the_client_pays_by_bank_debit_is_waited_for(charging, owner, ours):
    who, invoice, first = declined(charging)
    api = charging.stripe.client().v1
    bank = api.payment_methods.attach("pm_usBankAccount", {"customer": who.customer})
    api.payment_intents.confirm(first, {"payment_method": bank.id})
    charging.run()
    assert charging.intents(ours) == [(invoice.id, 1, "processing", "")]
    charging.pass_time(days=6)
    charging.run()
    assert invoice.row()["status"] == "paid"
    assert len(charging.stripe.ledger) == 1
    charging.referee(owner)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", ["drop", "error", "rate_limit"])
def test_no_next_attempt_while_the_last_ones_payment_is_open(charging, owner, ours, fault, when):
    _, invoice, first = declined(charging)
    if (fault, when) == ("rate_limit", "after"):
        when = "before"
    charging.stripe.faults.add(
        "POST /v1/payment_intents/{id}/cancel", fault, when=when, count=None if fault == "rate_limit" else 1
    )
    if when == "before":
        with pytest.raises(TransientRowsFailedError):
            charging.run(api=api_of(charging.stripe, sleep=lambda _: None))
        assert charging.intents(ours) == [(invoice.id, 1, "failed", "insufficient_funds")]
        charging.stripe.faults.clear()
    charging.run()
    assert invoice.row()["status"] == "paid"
    assert charging.stripe.client().v1.payment_intents.retrieve(first).status == "canceled"
    charging.referee(owner)


def test_processing_stays_processing_and_is_asked_again(charging, owner):
    invoice = charging.payer(token="pm_usBankAccount").invoice()
    assert charging.run().done_kinds == {"processing": 1}
    assert (invoice.row()["status"], invoice.row()["autopay_status"]) == ("sent", "processing")
    assert charging.run().done == 0
    charging.pass_time(days=5)
    charging.run()
    assert invoice.row()["status"] == "paid"
    assert charging.stripe.calls.received["POST /v1/payment_intents"] == 1
    charging.referee(owner)


def test_a_debit_that_bounces_is_a_decline(charging):
    invoice = charging.payer(token="pm_usBankAccount_accountClosed").invoice()
    charging.run()
    charging.pass_time(days=5)
    charging.run()
    assert (invoice.row()["status"], invoice.row()["payment_failure_code"]) == ("failed", "account_closed")


@pytest.mark.parametrize("status", ["suspended", "canceled"])
def test_what_is_under_way_is_settled_also_for_a_firm_that_left(charging, owner, status):
    invoice = charging.payer(token="pm_usBankAccount").invoice()
    charging.run()
    charging.firm.update(status=status)
    charging.pass_time(days=5)
    charging.run()
    assert invoice.row()["status"] == "paid"
    charging.referee(owner)
