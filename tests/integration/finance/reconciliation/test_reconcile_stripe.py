"""reconcile_stripe against a real database and the local Stripe, through the real client."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cp_ops.finance.reconciliation.job import ReconcileStripe
from tests.integration.finance.reconciliation.stripe_world import kinds, stripe_api, unix


def test_agreement_finds_nothing_and_the_numbers_add_up(both, reconcile, findings):
    both()
    both(status="sent")
    outcome = reconcile()
    assert findings() == {}
    assert {n: outcome.numbers[n] for n in ("local", "matched", "mismatched", "missing", "moving")} == {
        "local": 2, "matched": 2, "mismatched": 0, "missing": 0, "moving": 0,
    }  # fmt: skip
    assert outcome.numbers["single_fetches"] == 0


@pytest.mark.parametrize("reference", ["stripe_invoice_id", "stripe_payment_intent_id"])
def test_an_invoice_with_only_one_reference_is_compared(reference, both, stripe, reconcile, findings, world):
    """A trap: requiring both references skips exactly the invoices that autopay charged."""
    if reference == "stripe_invoice_id":
        both(status="paid", at_stripe={"status": "open"})
    else:
        stripe.seed(
            [{"payment_intent": {"id": "pi_1", "amount": 10000, "status": "requires_payment_method"}}]
        )
        both.client.invoice("100.00", paid="100.00", stripe_payment_intent_id="pi_1")
    outcome = reconcile()
    assert outcome.numbers["local"] == 1
    assert "status_mismatch" in kinds(findings)


@pytest.mark.parametrize(
    ("currency", "total", "amount"),
    [("usd", "100.00", 10000), ("jpy", "10000.00", 10000), ("kwd", "10.00", 10000), ("isk", "100.00", 10000)],
)
def test_amounts_are_compared_in_the_currencys_minor_units(
    currency, total, amount, both, reconcile, findings
):
    """A trap: dividing by 100 whatever the currency."""
    both(total, currency=currency, amount=amount, local={"currency": currency.upper()})
    reconcile()
    assert findings() == {}
    both(total, currency=currency, amount=amount * 10, local={"currency": currency.upper()})
    reconcile()
    assert "amount_mismatch" in kinds(findings)


def test_the_total_is_compared_not_what_remains_due(both, reconcile, findings):
    both("100.00", status="partial", paid="40.00", at_stripe={"payments": [{"amount": 4000}]})
    reconcile()
    assert findings() == {}


def test_an_amount_that_the_currency_cannot_express_is_a_mismatch_not_a_crash(both, reconcile, findings):
    both("100.50", currency="jpy", amount=100, local={"currency": "JPY"})
    outcome = reconcile()
    assert kinds(findings) == ["amount_mismatch"]
    assert outcome.numbers["mismatched"] == 1


def test_another_currency_is_one_finding_of_its_own(both, reconcile, findings):
    both(currency="eur")
    reconcile()
    assert kinds(findings) == ["currency_mismatch"]


def test_a_status_that_stripe_does_not_share(both, reconcile, findings):
    both(status="sent", at_stripe={"status": "paid"})
    both(status="cancelled")
    reconcile()
    assert [details["local"] + "/" + details["stripe"] for details in findings().values()] == [
        "sent/paid",
        "cancelled/open",
    ]


def test_less_money_than_recorded_is_underpaid(both, stripe, reconcile, findings):
    stripe.seed([{"payment_intent": {"id": "pi_1", "amount": 6000}}])
    both.client.invoice("100.00", paid="100.00", stripe_payment_intent_id="pi_1")
    reconcile()
    assert "underpaid" in kinds(findings)
    assert findings()[next(key for key in findings() if key[0] == "underpaid")]["stripe"] == "60.00 USD"


def test_money_by_other_means_counts(both, stripe, reconcile, findings):
    stripe.seed([{"payment_intent": {"id": "pi_1", "amount": 6000}}])
    invoice = both.client.invoice("100.00", stripe_payment_intent_id="pi_1")
    invoice.paid_by("40.00", payment_method="bank_transfer")
    invoice.paid_by("60.00", payment_method="stripe", reference_number="pi_1")
    reconcile()
    assert findings() == {}


@pytest.mark.parametrize("full", [False, True])
def test_an_invoice_marked_paid_out_of_band_agrees_whatever_is_recorded_here(full, both, reconcile, findings):
    both(at_stripe={"out_of_band": True})
    cheque = both(status="sent", at_stripe={"out_of_band": True, "status": "paid"})
    cheque.paid_by("100.00", payment_method="check")
    reconcile(full=full)
    assert findings() == {}


def test_an_invoice_marked_paid_out_of_band_that_is_fetched_singly_agrees(both, world, reconcile, findings):
    old = world.ago(days=100)
    both(at_stripe={"out_of_band": True, "created": unix(old)})
    assert reconcile().numbers["single_fetches"] == 1
    assert findings() == {}


def test_more_than_the_total_is_overpaid(both, reconcile, findings):
    both(at_stripe={"payments": [{"amount": 12000}]})
    reconcile()
    assert kinds(findings) == ["overpaid"]


def test_two_payments_of_one_invoice_are_a_duplicate_also_when_only_metadata_names_it(
    both, stripe, reconcile, findings
):
    invoice = both()
    metadata = {"firm_id": str(both.firm.id), "invoice_id": str(invoice.id)}
    stripe.seed([{"payment_intent": {"id": "pi_second", "amount": 10000, "metadata": metadata}}])
    reconcile()
    assert kinds(findings) == ["duplicate_payment"]
    assert "pi_second" in findings()["duplicate_payment", f"finance_invoices:{invoice.id}"]["payment_intents"]


def test_two_part_payments_are_no_duplicate(both, reconcile, findings):
    both(at_stripe={"payments": [{"amount": 3000}, {"amount": 7000}]})
    reconcile()
    assert findings() == {}


def test_payments_beyond_the_inlined_ones_are_paged(both, reconcile, findings):
    """A nested list holds the first few only."""
    both(at_stripe={"payments": [{"amount": 100}] * 100})
    outcome = reconcile()
    assert findings() == {}
    assert outcome.numbers["list_calls"] == 3, "invoices, payment intents, the rest of the invoice's payments"


def test_the_paid_date_is_the_charges_day_not_the_intents(both, world, reconcile, findings):
    yesterday = unix(world.now - timedelta(days=1))
    both(
        at_stripe={
            "created": unix(world.now - timedelta(days=5)),
            "payments": [{"amount": 10000, "paid_at": unix(world.now)}],
        }
    )
    reconcile()
    assert findings() == {}
    both(at_stripe={"payments": [{"amount": 10000, "created": yesterday, "paid_at": yesterday - 86400}]})
    reconcile()
    assert kinds(findings) == ["paid_date_mismatch"]


def test_what_stripe_does_not_know_is_missing_there_and_counted(both, reconcile, findings):
    both()
    both.client.invoice("50.00", status="sent", stripe_invoice_id="in_gone")
    outcome = reconcile()
    assert kinds(findings) == ["missing_in_stripe"]
    assert (outcome.numbers["missing"], outcome.numbers["single_fetches"]) == (1, 1)


def test_a_payment_that_names_an_invoice_of_ours_is_missing_locally(both, stripe, reconcile, findings):
    invoice = both.client.invoice("100.00", status="sent")
    for number, target in (("1", invoice.id), ("2", 999_999)):
        metadata = {"firm_id": str(both.firm.id), "invoice_id": str(target)}
        stripe.seed([{"payment_intent": {"id": f"pi_{number}", "amount": 10000, "metadata": metadata}}])
    stripe.seed([{"payment_intent": {"id": "pi_foreign", "amount": 100}}])
    outcome = reconcile()
    assert set(findings()) == {("missing_locally", "stripe:pi_1"), ("missing_locally", "stripe:pi_2")}
    assert outcome.numbers["stripe_payment_intents_not_ours"] == 1
    invoice.update(
        stripe_payment_intent_id="pi_1", status="paid", amount_paid="100.00", paid_date=invoice.day()
    )
    reconcile()
    assert set(findings()) == {("missing_locally", "stripe:pi_2")}


def test_disputed_refunded_and_charged_back_have_their_own_states(both, stripe, reconcile, findings):
    api = stripe.client()
    customer = api.v1.customers.create({})
    method = api.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    charged = {"amount": 10000, "currency": "usd", "customer": customer.id, "payment_method": method.id}
    for status in ("disputed", "refunded", "charged_back", "paid"):
        intent = api.v1.payment_intents.create({**charged, "confirm": True, "off_session": True})
        if status == "refunded":
            api.v1.refunds.create({"payment_intent": intent.id})
        if status in ("disputed", "charged_back"):
            dispute = stripe.dispute(intent.latest_charge)
            if status == "charged_back":
                stripe.close_dispute(dispute["id"], "lost")
        both.client.invoice(
            "100.00",
            paid="100.00",
            status=status,
            stripe_payment_intent_id=intent.id,
            paid_date=both.firm.day(),
        )
    reconcile()
    assert findings() == {}
    api.v1.refunds.create({"payment_intent": intent.id})
    reconcile()
    assert ("paid", "refunded") in [(details["local"], details["stripe"]) for details in findings().values()]


def test_a_finding_is_opened_once_and_resolved_when_gone(both, owner, reconcile, findings, written):
    invoice = both(status="sent", at_stripe={"status": "paid"})
    assert reconcile().findings.opened == 1
    before = written()
    assert reconcile().findings.opened == 0
    assert {table for table, rows in written().items() if rows != before[table]} == {"cp_ops.job_run"}
    events = owner.execute(
        "SELECT count(*) FROM firm_audit_events WHERE action = 'reconcile_stripe.finding'"
    ).fetchone()
    assert events == (1,)
    invoice.update(status="paid", amount_paid="100.00", paid_date=invoice.day())
    assert reconcile().findings.resolved == 1
    assert findings() == {}


def test_a_dry_run_plans_the_same_and_writes_only_its_outcome(both, reconcile, written):
    both(status="sent", at_stripe={"status": "paid"})
    before = written()
    preview = reconcile(dry_run=True)
    assert {table for table, rows in written().items() if rows != before.get(table, 0)} == {"cp_ops.job_run"}
    assert preview.plan_sha256 == reconcile().plan_sha256


def test_a_webhook_that_lands_during_the_run_is_no_mismatch(both, stripe, runner, owner, findings):
    """The listing saw the invoice open; then it was paid, there and here; then it is compared."""
    invoice = both(status="sent")

    class PaidMeanwhile:
        def __init__(self, api):
            self.api = api

        @property
        def calls(self):
            return self.api.calls

        def get(self, *args, **kwargs):
            return self.api.get(*args, **kwargs)

        def pages(self, resource, **filters):
            yield from self.api.pages(resource, **filters)
            if resource == "disputes":
                stripe.client().v1.invoices.pay(
                    invoice.row()["stripe_invoice_id"], {"paid_out_of_band": True}
                )
                owner.execute(
                    "UPDATE finance_invoices SET status = 'paid', amount_paid = total_amount, paid_date = current_date,"
                    " updated_at = clock_timestamp() WHERE id = %s", [invoice.id],
                )  # fmt: skip

    outcome = runner(ReconcileStripe(PaidMeanwhile(stripe_api(stripe))))
    assert findings() == {}
    assert outcome.numbers["matched"] == 1


def test_one_firm_at_a_time_and_row_level_security(world, stripe, enable_row_level_security, ours):
    firms = [world.firm(timezone="UTC") for _ in range(2)]
    for number, firm in enumerate(firms):
        firm.client().invoice("10.00", status="paid", paid="10.00", stripe_invoice_id=f"in_f{number}")
        stripe.seed([{"invoice": {"id": f"in_f{number}", "amount": 1000, "status": "open"}}])
    runner = enable_row_level_security()
    runner(ReconcileStripe(stripe_api(stripe)), firm_id=firms[0].id)
    rows = ours.execute("SELECT DISTINCT firm_id FROM cp_ops.finding").fetchall()
    assert rows == [(firms[0].id,)]
    runner(ReconcileStripe(stripe_api(stripe)))
    rows = ours.execute("SELECT DISTINCT firm_id FROM cp_ops.finding ORDER BY 1").fetchall()
    assert rows == [(firms[0].id,), (firms[1].id,)]


def test_details_hold_no_personal_data(both, ours, reconcile):
    both(status="sent", at_stripe={"status": "paid"})
    reconcile()
    details = str(ours.execute("SELECT details FROM cp_ops.finding").fetchall())
    assert "@" not in details
    assert "pi_" not in details or "secret" not in details
