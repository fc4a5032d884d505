"""A charge whose answer was lost may have happened: it is found out, and never made twice."""

from __future__ import annotations

import pytest

from cp_ops.runtime.errors import CpOpsError, RowsFailedError, TransientRowsFailedError
from sandbox.stripe_api import StripeSandbox
from tests.integration.finance.charges.charge_world import api_of, lose_the_answer, waiting


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", ["drop", "error"])
def test_a_charge_without_an_answer_is_unknown_and_asked_with_the_same_key(
    charging, owner, ours, fault, when
):
    invoice = charging.payer().invoice()
    charging.stripe.faults.add("POST /v1/payment_intents", fault, when=when)
    with pytest.raises(TransientRowsFailedError, match="may or may not have happened"):
        charging.run()
    assert charging.intents(ours) == [(invoice.id, 1, "unknown", "no_answer")]
    charging.pass_time(hours=1)
    charging.run()
    assert charging.intents(ours) == [(invoice.id, 1, "succeeded", "")]
    assert len(charging.stripe.ledger) == 1
    charging.referee(owner)


@pytest.mark.parametrize("library_retries", [0, 2], ids=["sent once", "sent again by the library"])
@pytest.mark.parametrize("refusal", ["rate_limit", 401, 403])
def test_a_lost_answer_followed_by_a_refusal_is_unknown_and_never_charged_again(
    charging, owner, ours, monkeypatch, refusal, library_retries
):
    """The library's own retry was refused, and that was taken for a charge that did not happen."""
    monkeypatch.setattr("cp_ops.hooks.stripe_client.POST_RETRIES", library_retries)
    invoice = charging.payer().invoice()
    charging.stripe.faults.add("POST /v1/payment_intents", "drop", when="after")
    if refusal == "rate_limit":
        charging.stripe.faults.add("POST /v1/payment_intents", "rate_limit", count=None)
    else:
        charging.stripe.faults.add("POST /v1/payment_intents", "error", status=refusal, count=None)
    with pytest.raises(TransientRowsFailedError, match="may or may not have happened"):
        charging.run(api=api_of(charging.stripe, sleep=lambda _: None))
    assert charging.intents(ours) == [(invoice.id, 1, "unknown", "no_answer")]
    charging.stripe.faults.clear()
    charging.pass_time(hours=25)
    charging.run()
    charging.run()
    assert charging.intents(ours) == [(invoice.id, 1, "succeeded", "")]
    assert len(charging.stripe.ledger) == 1
    charging.referee(owner)


@pytest.mark.parametrize("fault", ["rate_limit", "key"])
def test_asking_again_that_is_refused_leaves_the_charge_unknown(charging, ours, fault):
    """Also when it is asked again at the very same moment."""
    invoice = charging.payer().invoice()
    lose_the_answer(charging, when="after")
    if fault == "rate_limit":
        charging.stripe.faults.add("POST /v1/payment_intents", "rate_limit", count=None)
    else:
        charging.stripe.faults.add("POST /v1/payment_intents", "error", status=403, count=None)
    with pytest.raises(CpOpsError):
        charging.run(api=api_of(charging.stripe, sleep=lambda _: None))
    assert charging.intents(ours) == [(invoice.id, 1, "unknown", "no_answer")]


def test_a_post_is_sent_once_whatever_the_connection_says(charging):
    charging.payer().invoice()
    charging.stripe.faults.add("POST /v1/payment_intents", "error", count=None)
    with pytest.raises(TransientRowsFailedError):
        charging.run(api=api_of(charging.stripe, max_network_retries=5))
    assert charging.stripe.calls.received["POST /v1/payment_intents"] == 1


def test_after_a_day_an_unknown_charge_is_looked_up_and_never_repeated(charging, owner):
    """The key is forgotten by then: asking again would charge again."""
    invoice = charging.payer().invoice()
    lose_the_answer(charging, when="after")
    charging.pass_time(hours=25)
    charging.run()
    assert invoice.row()["status"] == "paid"
    assert charging.stripe.calls.received["POST /v1/payment_intents"] == 1
    assert charging.stripe.calls.received["GET /v1/payment_intents"] == 1
    assert charging.stripe.calls.received["GET /v1/payment_intents/search"] == 0
    charging.referee(owner)


def test_an_unknown_charge_that_never_arrived_makes_room_for_the_next_attempt(charging, owner, ours):
    invoice = charging.payer().invoice()
    lose_the_answer(charging, when="before")
    charging.pass_time(hours=25)
    charging.run()
    assert charging.intents(ours) == [(invoice.id, 1, "failed", "never_arrived")]
    charging.run()
    assert charging.intents(ours)[1][:3] == (invoice.id, 2, "succeeded")
    charging.referee(owner)


def test_an_unknown_charge_of_an_invoice_paid_meanwhile_is_looked_up_not_sent(charging, owner, ours):
    invoice = charging.payer().invoice()
    lose_the_answer(charging, when="before")
    invoice.paid_by("200.00", payment_method="bank_transfer")
    charging.pass_time(minutes=5)
    charging.run()
    assert charging.intents(ours)[0][2] == "unknown", "too early to say that it never arrived"
    charging.pass_time(hours=1)
    charging.run()
    assert charging.intents(ours) == [(invoice.id, 1, "failed", "never_arrived")]
    assert len(charging.stripe.ledger) == 0


@pytest.mark.parametrize(
    "withdrawn",
    ["autopay of the invoice", "autopay of the client", "the client", "the firm", "the card"],
)
def test_an_unknown_charge_without_consent_is_looked_up_not_sent(charging, owner, ours, withdrawn):
    who = charging.payer()
    invoice = who.invoice()
    lose_the_answer(charging, when="before")
    if withdrawn == "autopay of the invoice":
        invoice.update(autopay_opt_in=False)
    elif withdrawn == "autopay of the client":
        who.client.update(autopay_enabled=False)
    elif withdrawn == "the client":
        who.client.update(status="inactive")
    elif withdrawn == "the firm":
        charging.firm.update(status="suspended")
    else:
        charging.stripe.client().v1.payment_methods.detach(who.method)
    charging.pass_time(hours=1)
    charging.run()
    assert charging.intents(ours)[0] == (invoice.id, 1, "failed", "never_arrived")
    assert len(charging.stripe.ledger) == 0
    charging.pass_time(hours=1)
    charging.run()
    assert len(charging.stripe.ledger) == 0


def test_an_unknown_charge_that_arrived_is_booked_whoever_has_left(charging, owner, ours):
    who = charging.payer()
    invoice = who.invoice()
    lose_the_answer(charging, when="after")
    who.client.update(autopay_enabled=False, status="inactive")
    charging.firm.update(status="suspended")
    charging.pass_time(hours=1)
    charging.run()
    assert invoice.row()["status"] == "paid"
    charging.referee(owner)


def test_an_unknown_charge_is_not_given_up_with_a_key_of_another_account(charging, ours, stripe):
    invoice = charging.payer().invoice()
    lose_the_answer(charging, when="after")
    with StripeSandbox() as elsewhere, pytest.raises(RowsFailedError, match="right account"):
        charging.run(api=api_of(elsewhere))
    assert charging.intents(ours) == [(invoice.id, 1, "unknown", "no_answer")]
    charging.run()
    assert invoice.row()["status"] == "paid"
    assert len(charging.stripe.ledger) == 1


def test_a_payment_that_came_twice_over_stays_unallocated(charging, owner):
    """The charge went through, its answer was lost, and the client paid by bank transfer in between."""
    invoice = charging.payer().invoice()
    lose_the_answer(charging, when="after")
    invoice.paid_by("200.00", payment_method="bank_transfer")
    charging.run()
    found = owner.execute(
        "SELECT amount_allocated::text, amount_unallocated::text FROM finance_payments WHERE payment_method = 'stripe'"
    ).fetchall()
    assert found == [("0.00", "200.00")]
    assert str(invoice.row()["amount_paid"]) == "200.00"


def test_a_payment_that_the_application_has_recorded_is_not_recorded_twice(charging, owner):
    """Its webhook was faster."""
    invoice, intent = waiting(charging)
    charging.stripe.authenticate(intent)
    invoice.paid_by("200.00", payment_method="stripe", reference_number=intent)
    charging.run()
    assert owner.execute("SELECT count(*) FROM finance_payments").fetchone() == (1,)
    assert (invoice.row()["status"], str(invoice.row()["amount_paid"])) == ("paid", "200.00")
