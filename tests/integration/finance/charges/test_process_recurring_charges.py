"""process_recurring_charges against a real database and the local Stripe, through the real client."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cp_ops.runtime.errors import (
    CapExceededError,
    CpOpsError,
    ImplausibleError,
    OptionsError,
    PlanChangedError,
    RemoteRefusedError,
    RemoteUnavailableError,
    RowsFailedError,
    SettingError,
    TransientRowsFailedError,
)
from sandbox.stripe_api import StripeSandbox
from tests.integration.finance.charges.charge_world import Charging, api_of
from tests.integration.finance.reconciliation.stripe_world import payer, stripe_api


@pytest.fixture
def charging(app_db, stripe, world):
    return Charging(app_db.cp_ops_dsn, stripe, world, world.now)


@pytest.fixture
def ours(runner):
    """A connection of the jobs' role, which sees schema cp_ops."""
    connection = runner.connect()
    yield connection
    connection.close()


def mails(ours):
    return ours.execute("SELECT kind, step, recipient, body_text FROM cp_ops.mail ORDER BY id").fetchall()


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


def not_charged(charging, reason):
    outcome = charging.run()
    assert len(charging.stripe.ledger) == 0
    assert outcome.skip_reasons == {reason: 1}


def test_why_an_invoice_is_not_charged(charging, owner):
    who = charging.payer()
    for reason, columns in {
        "all retries are used up": {"payment_retry_count": 4, "status": "overdue"},
        "its dunning is paused": {"payment_retry_count": 1, "dunning_paused": True},
    }.items():
        who.invoice(**columns)
        not_charged(charging, reason)
        owner.execute("DELETE FROM finance_invoices")
    disputed = who.invoice()
    charging.firm.insert(
        "finance_payment_dispute", invoice_id=disputed.id, status="needs_response", reason="general", amount="1.00",
        stripe_dispute_id="dp_1", stripe_charge_id="ch_1", opened_at=charging.now, created_at=charging.now,
        updated_at=charging.now,
    )  # fmt: skip
    not_charged(charging, "it has an open dispute")
    owner.execute("DELETE FROM finance_payment_dispute")
    for reason, columns in {
        "its client's autopay is off": {"autopay_enabled": False},
        "its client is inactive": {"status": "inactive", "autopay_enabled": True},
    }.items():
        who.client.update(**columns)
        not_charged(charging, reason)
    who.client.update(status="active", autopay_payment_method_id="")
    disputed.update(autopay_payment_method_id="")
    not_charged(charging, "no payment method is stored")


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


# -- answers -------------------------------------------------------------------------------------------------------------


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


def waiting(charging):
    """An invoice whose payment waits for its client to confirm."""
    invoice = charging.payer(outcomes=("requires_action",)).invoice()
    charging.run()
    return invoice, invoice.row()["stripe_payment_intent_id"]


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


# -- the payment of a failed attempt -------------------------------------------------------------------------------------


def declined(charging, **options):
    """An invoice whose first charge was declined and whose second is due; with its payer and its payment intent."""
    who = charging.payer(outcomes=("insufficient_funds",), **options)
    invoice = who.invoice()
    charging.run()
    charging.pass_time(days=3)
    return who, invoice, invoice.row()["stripe_payment_intent_id"]


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


# -- unknown -------------------------------------------------------------------------------------------------------------


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


def lose_the_answer(charging, when):
    """Run while the first charge's connection breaks, `when` being before or after it had its effect: it is unknown now."""
    charging.stripe.faults.add("POST /v1/payment_intents", "drop", when=when)
    with pytest.raises(TransientRowsFailedError):
        charging.run()


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


# -- one does not stop the others ------------------------------------------------------------------------------------------


def test_one_decline_one_bad_row_and_one_locked_row_do_not_stop_the_rest(charging, owner, app_db):
    import psycopg

    charging.payer(outcomes=("generic_decline",)).invoice()
    charging.payer().invoice("10.50", currency="JPY")
    locked = charging.payer().invoice()
    small = charging.payer().invoice("0.10")
    good = charging.payer().invoice()
    with psycopg.connect(app_db.owner_dsn) as other:
        other.execute("SELECT 1 FROM finance_invoices WHERE id = %s FOR UPDATE", [locked.id])
        with pytest.raises(RowsFailedError, match=r"10\.50"):
            charging.run()
    assert good.row()["status"] == "paid"
    assert small.row()["payment_failure_code"] == "amount_too_small"
    assert locked.row()["status"] == "sent"
    with pytest.raises(RowsFailedError):
        charging.run()
    assert locked.row()["status"] == "paid"


def test_an_outage_stops_the_run_before_every_charge_is_unknown(charging, ours):
    for _ in range(6):
        charging.payer().invoice()
    charging.stripe.faults.add("POST /v1/payment_intents", "drop", count=None)
    with pytest.raises(RemoteUnavailableError, match="3 calls in a row"):
        charging.run()
    assert sorted(row[2] for row in charging.intents(ours)) == ["planned"] * 3 + ["unknown"] * 3
    charging.stripe.faults.clear()
    charging.run()
    charging.run()
    assert len(charging.stripe.ledger) == 6


def test_a_refused_key_stops_the_run_and_leaves_nothing_open(charging, ours):
    charging.payer().invoice()
    charging.stripe.keys.add("rk_test_reader", {"payment_method": "read"})
    with pytest.raises(RemoteRefusedError, match="rak_payment_intent_write"):
        charging.run(api=stripe_api(charging.stripe, key="rk_test_reader"))
    assert charging.intents(ours) == []


def test_a_restricted_key_with_the_documented_permissions_is_enough(charging, owner):
    charging.stripe.keys.add(
        "rk_test_charger",
        {
            "payment_intent": "write",
            "invoice": "write",
            **dict.fromkeys(("charge", "customer", "payment_method"), "read"),
        },
    )
    restricted = api_of(charging.stripe, key="rk_test_charger")
    invoices = [
        at_stripe(charging, charging.payer(outcomes=("insufficient_funds",)))[0],
        charging.payer(outcomes=("requires_action",)).invoice(),
    ]
    charging.run(api=restricted)
    charging.pass_time(days=15)
    charging.run(api=restricted)
    assert [invoice.row()["status"] for invoice in invoices] == ["paid", "overdue"]
    lost = charging.payer().invoice()
    charging.stripe.faults.add("POST /v1/payment_intents", "drop", when="after")
    with pytest.raises(TransientRowsFailedError):
        charging.run(api=restricted)
    charging.pass_time(hours=25)
    charging.run(api=restricted)
    assert lost.row()["status"] == "paid"
    charging.referee(owner)


def test_a_missing_payment_method_is_a_hard_decline_without_a_charge(charging):
    who = charging.payer()
    who.client.update(autopay_payment_method_id="pm_gone")
    invoice = who.invoice(autopay_payment_method_id="pm_gone")
    charging.run()
    assert (invoice.row()["status"], invoice.row()["payment_failure_code"]) == (
        "failed",
        "payment_method_missing",
    )
    assert who.client.row()["autopay_enabled"] is False


def as_it_was(ours, owner):
    return (
        mails(ours),
        ours.execute("SELECT * FROM cp_ops.charge_intent WHERE state <> 'succeeded'").fetchall(),
        owner.execute("SELECT id, autopay_enabled FROM clients_client ORDER BY id").fetchall(),
        owner.execute("SELECT id, status, autopay_opt_in FROM finance_invoices ORDER BY id").fetchall(),
    )


def test_a_key_of_another_account_switches_nobodys_autopay_off(charging, owner, ours):
    for _ in range(4):
        charging.payer().invoice()
    before = as_it_was(ours, owner)
    with StripeSandbox() as elsewhere:
        with pytest.raises(ImplausibleError, match=r"right account and mode.*stripe_max_missing_share"):
            charging.run(api=api_of(elsewhere))
        assert elsewhere.calls.received["POST /v1/payment_intents"] == 0
    assert as_it_was(ours, owner) == before
    assert charging.run().done_kinds == {"charged": 4}


def test_a_key_of_another_account_is_noticed_also_when_one_invoice_is_due(charging, owner, ours):
    """By the last payment, which is not known there either."""
    charging.payer().invoice()
    charging.run()
    charging.payer().invoice()
    before = as_it_was(ours, owner)
    with StripeSandbox() as elsewhere, pytest.raises(ImplausibleError, match="right account and mode"):
        charging.run(api=api_of(elsewhere))
    assert as_it_was(ours, owner) == before


def test_a_missing_payment_method_among_others_is_a_hard_decline_of_its_own(charging):
    charging.payer().invoice()
    charging.run()
    gone = charging.payer()
    gone.client.update(autopay_payment_method_id="pm_gone")
    gone.invoice(autopay_payment_method_id="pm_gone")
    charging.payer().invoice()
    assert charging.run().done_kinds == {"charged": 1, "declined_for_good": 1}


def test_payment_methods_that_are_really_gone_are_let_through_by_the_setting(charging):
    for number in range(4):
        charging.payer().invoice(autopay_payment_method_id=f"pm_gone_{number}")
    with pytest.raises(ImplausibleError):
        charging.run()
    charging.settings = {"stripe_max_missing_share": 1}
    assert charging.run().done_kinds == {"declined_for_good": 4}


def test_an_invoice_changed_between_plan_and_charge_is_left(charging, owner):
    who = charging.payer()
    invoice = who.invoice()

    class PaidInBetween:
        def __init__(self, api):
            self.api, self.calls = api, 0

        def get(self, resource, *args, **kwargs):
            if invoice.row()["status"] == "sent":
                invoice.paid_by("50.00", payment_method="check")
            return self.api.get(resource, *args, **kwargs)

        def __getattr__(self, name):
            return getattr(self.api, name)

    outcome = charging.run(api=PaidInBetween(stripe_api(charging.stripe)))
    assert outcome.skip_reasons == {"locked, or changed since it was planned": 1}
    charging.run()
    assert [entry.amount for entry in charging.stripe.ledger.charges()] == [15000]


# -- invoices that Stripe has, too -------------------------------------------------------------------------------------------


def at_stripe(charging, who, **columns):
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


# -- preview and caps --------------------------------------------------------------------------------------------------------


def test_a_dry_run_lists_who_would_be_charged_what_and_writes_only_its_outcome(charging, written, caplog):
    invoice = charging.payer().invoice()
    charging.payer().invoice("99.00", currency="EUR")
    before = written()
    with caplog.at_level("INFO"):
        preview = charging.run(dry_run=True)
    assert {table for table, rows in written().items() if rows != before.get(table, 0)} == {"cp_ops.job_run"}
    assert (preview.planned, preview.done) == (2, 0)
    assert (preview.numbers["total_EUR"], preview.numbers["total_USD"]) == ("99.00", "200.00")
    assert f"charge: finance_invoices:{invoice.id} firm {charging.firm.id}: 200.00 USD" in caplog.text
    assert len(charging.stripe.ledger) == 0
    assert charging.run(expected_plan=f"sha256:{preview.plan_sha256}").done == 2


def test_a_plan_that_changed_since_it_was_approved_charges_nothing(charging):
    charging.payer().invoice()
    approved = charging.run(dry_run=True).plan_sha256
    charging.payer().invoice()
    with pytest.raises(PlanChangedError):
        charging.run(expected_plan=approved)
    assert len(charging.stripe.ledger) == 0


@pytest.mark.parametrize("cap", [{"max_charges": 1}, {"max_total": "USD=399.99"}, {"max_charges": 0}])
def test_a_cap_stops_the_run_before_the_first_charge(charging, ours, cap):
    charging.payer().invoice()
    charging.payer().invoice()
    with pytest.raises(CapExceededError, match=next(iter(cap))):
        charging.run(**cap)
    assert (len(charging.stripe.ledger), charging.intents(ours)) == (0, [])


def test_more_than_three_times_the_median_of_the_last_runs_stops_the_run(charging):
    charging.settings = {"charges_never_unusual": 1}
    for _ in range(5):
        charging.payer().invoice()
        charging.run()
    for _ in range(4):
        charging.payer().invoice("10.00")
    with pytest.raises(CapExceededError, match="median of the last 5 runs is 1"):
        charging.run()
    assert len(charging.stripe.ledger) == 5
    charging.run(max_charges=4, max_total="USD=40")
    assert len(charging.stripe.ledger) == 9


@pytest.mark.parametrize("capped", [{"max_charges": 4}, {"max_total": "USD=400"}])
def test_one_cap_of_the_operators_leaves_the_other_measured_by_what_is_usual(charging, capped):
    charging.settings = {"charges_never_unusual": 1}
    for _ in range(5):
        charging.payer().invoice("10.00")
        charging.run()
    for _ in range(4):
        charging.payer().invoice("100.00")
    with pytest.raises(CapExceededError, match="out of the ordinary"):
        charging.run(**capped)
    assert len(charging.stripe.ledger) == 5


def test_a_single_charge_of_an_unusual_amount_stops_the_run(charging):
    for _ in range(5):
        charging.payer().invoice()
        charging.run()
    charging.payer().invoice("90000.00")
    with pytest.raises(CapExceededError, match=r"90,000\.00 USD, more than 3 times"):
        charging.run()
    preview = charging.run(dry_run=True, max_charges=1, max_total="USD=90000")
    assert charging.run(expected_plan=preview.plan_sha256).done == 1


def test_a_currency_that_max_total_does_not_name_is_refused(charging, ours):
    charging.payer().invoice("90000.00", currency="EUR")
    charging.payer().invoice("50.00")
    with pytest.raises(
        CapExceededError, match=r"90,000\.00 EUR is in a currency that max_total does not name"
    ):
        charging.run(max_total="USD=100", max_charges=10)
    assert (len(charging.stripe.ledger), charging.intents(ours)) == (0, [])
    assert charging.run(max_total="USD=100, EUR=90000", max_charges=10).done == 2


@pytest.mark.parametrize("stop", [{"max_charges": 1}, {"max_total": "USD=1"}, {"expected_plan": "0" * 64}])
def test_what_is_under_way_is_settled_before_a_cap_stops_the_new_charges(charging, owner, stop):
    under_way = charging.payer(token="pm_usBankAccount").invoice()
    charging.run()
    charging.pass_time(days=5)
    due = [charging.payer().invoice() for _ in range(2)]
    with pytest.raises((CapExceededError, PlanChangedError)):
        charging.run(**stop)
    assert under_way.row()["status"] == "paid"
    assert [invoice.row()["status"] for invoice in due] == ["sent", "sent"]
    charging.referee(owner)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"max_total": "lots"}, "max_total"),
        ({"max_charges": -1}, "max_charges"),
        ({"expected_plan": "abc"}, "expected_plan"),
    ],
)
def test_a_wrong_option_is_named(charging, options, field):
    with pytest.raises(OptionsError, match=f"^{field}"):
        charging.run(**options)


def test_a_missing_sender_is_an_error_before_anything_is_charged(charging):
    charging.payer().invoice()
    charging.settings = {"default_from_email": ""}
    with pytest.raises(SettingError, match="default_from_email"):
        charging.run()


# -- tenants -----------------------------------------------------------------------------------------------------------------


def test_a_run_for_one_firm_leaves_the_other_as_it_was(charging, stripe, world):
    other = world.firm(timezone="UTC")
    theirs = payer(stripe, other).invoice()
    before = theirs.row()
    charging.payer().invoice()
    charging.run(firm_id=charging.firm.id)
    assert theirs.row() == before
    assert {entry.metadata["firm_id"] for entry in stripe.ledger.charges()} == {str(charging.firm.id)}


def test_under_row_level_security_both_firms_are_charged(
    charging, stripe, world, enable_row_level_security, app_db
):
    mine = charging.payer().invoice()
    theirs = payer(stripe, world.firm(timezone="UTC")).invoice()
    world.isolated = True
    enable_row_level_security()
    charging.dsn = app_db.rls_dsn
    assert charging.run().done == 2
    assert (mine.row()["status"], theirs.row()["status"]) == ("paid", "paid")


def test_a_firm_whose_time_zone_is_unknown_fails_alone(charging, stripe, world):
    payer(stripe, world.firm(timezone="UTC")).invoice()
    charging.firm.update(timezone="Atlantis/Capital")
    with pytest.raises(RowsFailedError, match="Atlantis"):
        charging.run()
    assert len(stripe.ledger) == 1


def test_nothing_secret_or_personal_is_logged_or_recorded(charging, ours, caplog):
    charging.payer(outcomes=("stolen_card",)).invoice()
    with caplog.at_level("DEBUG", logger="cp_ops"):
        charging.run()
    recorded = str(ours.execute("SELECT outcome, options FROM cp_ops.job_run").fetchall())
    for text in (caplog.text, recorded):
        assert "robin@client.example" not in text
        assert "_secret_" not in text
        assert charging.stripe.key not in text
