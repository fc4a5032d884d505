"""What follows when a charge is declined, or waits for the client."""

from __future__ import annotations

from datetime import timedelta

from tests.integration.finance.charges.charge_world import mails, waiting


def test_a_soft_decline_is_tried_again_after_3_7_and_14_days_then_the_invoice_is_overdue(
    charging, owner, ours
):
    invoice = charging.payer(outcomes=("insufficient_funds",) * 4).invoice()
    for days in (3, 7, 14):
        assert charging.run().done_kinds == {"declined": 1}
        row = invoice.row()
        assert (row["status"], row["payment_failure_code"], row["autopay_status"]) == (
            "failed",
            "insufficient_funds",
            "retrying",
        )
        assert row["autopay_next_charge_at"] == charging.now + timedelta(days=days)
        charging.pass_time(days=days, minutes=-1)
        assert charging.run().planned == 0
        charging.pass_time(minutes=1)
    charging.run()
    row = invoice.row()
    assert (row["status"], row["payment_retry_count"], row["autopay_next_charge_at"]) == ("overdue", 4, None)
    assert [mail[0] for mail in mails(ours)] == ["payment_declined"]
    charging.pass_time(days=30)
    assert charging.run().skip_reasons == {"all retries are used up": 1}
    failures = owner.execute(
        "SELECT failure_code, retry_count, max_retries_reached FROM finance_payment_failure ORDER BY id"
    ).fetchall()
    assert failures == [("insufficient_funds", n, n == 4) for n in (1, 2, 3, 4)]
    charging.referee(owner)


def test_a_retry_that_succeeds_resolves_the_failures(charging, owner):
    invoice = charging.payer(outcomes=("insufficient_funds",)).invoice()
    charging.run()
    charging.pass_time(days=3)
    charging.run()
    assert invoice.row()["status"] == "paid"
    assert owner.execute("SELECT bool_and(resolved) FROM finance_payment_failure").fetchone() == (True,)
    assert [entry.metadata["attempt"] for entry in charging.stripe.ledger.charges()] == ["2"]
    charging.referee(owner)


def test_a_hard_decline_stops_switches_autopay_off_and_mails(charging, owner, ours):
    who = charging.payer(outcomes=("stolen_card",))
    invoice = who.invoice()
    outcome = charging.run()
    assert outcome.done_kinds == {"declined_for_good": 1}
    row = invoice.row()
    assert (row["status"], row["autopay_opt_in"], row["autopay_next_charge_at"]) == ("failed", False, None)
    assert who.client.row()["autopay_enabled"] is False
    [(kind, step, recipient, text)] = mails(ours)
    assert (kind, step, recipient) == ("payment_declined", "attempt-1", "robin@client.example")
    assert f"https://app.example.test/invoices/{invoice.id}" in text
    charging.pass_time(days=10)
    assert charging.run().planned == 0


def test_a_new_card_is_charged_after_a_hard_decline(charging, owner):
    who = charging.payer(outcomes=("lost_card",))
    invoice = who.invoice()
    charging.run()
    new = charging.payer()
    who.client.update(autopay_enabled=True, autopay_payment_method_id=new.method)
    invoice.update(autopay_opt_in=True)
    charging.run()
    assert charging.stripe.ledger.charges()[0].customer == new.customer
    charging.referee(owner)


def test_requires_action_is_not_paid_mails_a_link_and_is_not_tried_blindly(charging, owner, ours):
    """A trap: a payment that waits for the client was booked as paid."""
    invoice = charging.payer(token="pm_card_authenticationRequired").invoice()
    assert charging.run().done_kinds == {"requires_action": 1}
    assert (invoice.row()["status"], str(invoice.row()["amount_paid"])) == ("sent", "0.00")
    assert [mail[0] for mail in mails(ours)] == ["payment_needs_authentication"]
    calls = charging.stripe.calls.received["POST /v1/payment_intents"]
    charging.pass_time(hours=1)
    assert charging.run().skip_reasons == {"its last charge is requires_action": 2}
    assert charging.stripe.calls.received["POST /v1/payment_intents"] == calls
    assert len(mails(ours)) == 1


def test_a_confirmed_payment_is_booked_by_the_next_run(charging, owner):
    invoice, intent = waiting(charging)
    charging.stripe.authenticate(intent)
    charging.run()
    assert invoice.row()["status"] == "paid"
    charging.referee(owner)


def test_dunning_stops_when_the_invoice_is_paid_by_other_means(charging, owner, ours):
    invoice, intent = waiting(charging)
    invoice.paid_by("200.00", payment_method="bank_transfer")
    charging.run()
    assert charging.stripe.client().v1.payment_intents.retrieve(intent).status == "canceled"
    assert charging.intents(ours) == [(invoice.id, 1, "failed", "canceled")]
    retried = charging.payer(outcomes=("insufficient_funds",)).invoice()
    charging.run()
    retried.paid_by("200.00", payment_method="check")
    charging.pass_time(days=3)
    assert charging.run().planned == 0
    assert retried.row()["status"] == "paid"


def test_a_confirmation_that_never_comes_ends_in_overdue(charging, ours):
    invoice, intent = waiting(charging)
    charging.pass_time(days=15)
    charging.run()
    assert charging.stripe.client().v1.payment_intents.retrieve(intent).status == "canceled"
    assert invoice.row()["status"] == "overdue"
    assert len(charging.stripe.ledger) == 0
    expired = [(invoice.id, 1, "failed", "authentication_expired")]
    told = [mail[:2] for mail in mails(ours)]
    for _ in range(2):
        charging.pass_time(hours=1)
        assert charging.run().skip_reasons == {
            "its confirmation expired: set autopay_next_charge_at to charge it again": 1
        }
    assert (charging.intents(ours), [mail[:2] for mail in mails(ours)]) == (expired, told)
    invoice.update(autopay_next_charge_at=charging.now)
    charging.run()
    assert invoice.row()["status"] == "paid", "a person has let it be charged again"


def test_a_payment_canceled_by_hand_is_not_charged_again_until_a_person_says_so(charging, ours):
    invoice, intent = waiting(charging)
    told = mails(ours)
    charging.stripe.client().v1.payment_intents.cancel(intent)
    charging.pass_time(hours=1)
    assert charging.run().done_kinds == {"canceled_at_stripe": 1}
    for _ in range(2):
        charging.pass_time(hours=1)
        assert charging.run().skip_reasons == {
            "its payment was canceled at Stripe: set autopay_next_charge_at to charge it again": 1
        }
    assert charging.intents(ours) == [(invoice.id, 1, "failed", "canceled_at_stripe")]
    assert (invoice.row()["autopay_status"], mails(ours)) == ("failed", told)
    invoice.update(autopay_next_charge_at=charging.now)
    charging.run()
    assert invoice.row()["status"] == "paid"


def test_a_confirmation_that_failed_may_be_tried_again_by_the_client(charging, owner, ours):
    """The link in our mail still works: nothing else may be charged meanwhile."""
    invoice, intent = waiting(charging)
    charging.stripe.authenticate(intent, succeeds=False)
    charging.pass_time(days=3)
    assert charging.run().skip_reasons["its last charge is requires_action"] >= 1
    assert charging.intents(ours) == [(invoice.id, 1, "requires_action", "authentication_required")]
    charging.stripe.client().v1.payment_intents.confirm(
        intent, {"payment_method": invoice.row()["autopay_payment_method_id"]}
    )
    charging.run()
    assert invoice.row()["status"] == "paid"
    assert len(charging.stripe.ledger) == 1
    charging.referee(owner)
