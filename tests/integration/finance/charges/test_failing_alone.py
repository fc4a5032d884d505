"""One bad row stops no other; what concerns every charge stops the run before it does harm."""

from __future__ import annotations

import pytest

from cp_ops.runtime.errors import (
    ImplausibleError,
    RemoteRefusedError,
    RemoteUnavailableError,
    RowsFailedError,
    TransientRowsFailedError,
)
from sandbox.stripe_api import StripeSandbox
from tests.integration.finance.charges.charge_world import api_of, at_stripe, mails
from tests.integration.finance.reconciliation.stripe_world import stripe_api


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
