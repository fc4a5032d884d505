"""reconcile_stripe against a real database and the local Stripe, through the real client."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cp_ops.finance.reconciliation.job import ReconcileStripe
from cp_ops.runtime.errors import ImplausibleError, RemoteRefusedError, RemoteUnavailableError
from tests.integration.finance.reconciliation.stripe_world import stripe_api, unix


@pytest.fixture
def reconcile(runner, stripe):
    """Run reconcile_stripe, with the real client."""

    def run(runner=runner, **options):
        return runner(ReconcileStripe(stripe_api(stripe)), **options)

    return run


@pytest.fixture
def ours(runner):
    """A connection of the jobs' role, which sees schema cp_ops."""
    with runner.connect() as connection:
        yield connection


@pytest.fixture
def findings(ours):
    """The open findings: {(kind, subject): details}."""

    def read():
        rows = ours.execute("SELECT kind, subject, details FROM cp_ops.finding WHERE resolved_at IS NULL")
        return {(kind, subject): details for kind, subject, details in rows}

    return read


@pytest.fixture
def both(world, stripe):
    """Make an invoice on both sides; what is given differs from what agrees."""
    firm = world.firm(timezone="UTC")
    client = firm.client()

    def make(
        total="100.00", status="paid", *, at_stripe=None, local=None, amount=10000, currency="usd", paid=None
    ):
        serial = world.serial()
        paid = total if paid is None and status == "paid" else paid or "0.00"
        names = {"stripe_invoice_id": f"in_x{serial}"}
        invoice = client.invoice(total, paid=paid, status=status, **names | (local or {}))
        spec = {"id": f"in_x{serial}", "amount": amount, "currency": currency, "created": unix(world.now)}
        spec["status"] = "paid" if status == "paid" else "open"
        stripe.seed([{"invoice": spec | (at_stripe or {})}])
        return invoice

    make.client, make.firm = client, firm
    return make


def kinds(findings):
    return sorted(kind for kind, _ in findings())


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


@pytest.fixture
def card(stripe):
    """A customer with a card at Stripe: (customer, payment method)."""
    api = stripe.client().v1
    customer = api.customers.create({}).id
    return customer, api.payment_methods.attach("pm_card_visa", {"customer": customer}).id


@pytest.fixture
def issue(stripe, card):
    """Make an open Stripe invoice whose metadata names an invoice of ours, as an operator does in the dashboard."""

    def make(invoice, amount=10000):
        api = stripe.client().v1
        metadata = {"firm_id": str(invoice.row()["firm_id"]), "invoice_id": str(invoice.id)}
        made = api.invoices.create(
            {
                "customer": card[0], "currency": "usd", "collection_method": "send_invoice", "days_until_due": 30,
                "auto_advance": False, "metadata": metadata,
            }
        )  # fmt: skip
        api.invoices.add_lines(made.id, {"lines": [{"amount": amount, "description": "Fee"}]})
        api.invoices.finalize_invoice(made.id, {"auto_advance": False})
        return made.id

    return make


def pay(stripe, remote, card):
    stripe.client().v1.invoices.pay(remote, {"payment_method": card[1]})


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


@pytest.fixture
def old_second_invoice(both, stripe, world, issue):
    """Pay an invoice, and issue a second one for it at Stripe, 100 days ago, where the clock is left; gives the second's id."""

    def make():
        old = world.ago(days=100)
        invoice = both(at_stripe={"created": unix(old)})
        invoice.update(created_at=old, updated_at=old, paid_date=old.date())
        stripe.clock.freeze(unix(old))
        return issue(invoice)

    return make


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


@pytest.mark.parametrize("fault", ["drop", "error", "rate_limit"])
@pytest.mark.parametrize(
    "endpoint", ["GET /v1/invoices", "GET /v1/payment_intents", "GET /v1/disputes", "GET /v1/events"]
)
def test_an_outage_is_an_error_of_the_run_and_never_missing_in_stripe(
    fault, endpoint, both, stripe, runner, findings
):
    both()
    stripe.faults.add(endpoint, fault, count=None)
    with pytest.raises(RemoteUnavailableError):
        runner(ReconcileStripe(stripe_api(stripe, sleep=lambda _: None)))
    assert findings() == {}


def test_a_page_that_fails_half_way_opens_nothing(both, stripe, runner, findings):
    for _ in range(101):
        both()
    stripe.faults.add("GET /v1/invoices", "drop", skip=1, count=None)
    with pytest.raises(RemoteUnavailableError):
        runner(ReconcileStripe(stripe_api(stripe)))
    assert findings() == {}


def test_a_429_is_obeyed_and_tried_again(both, stripe, runner):
    both()
    slept = []
    stripe.faults.add("GET /v1/invoices", "rate_limit", count=2)
    outcome = runner(ReconcileStripe(stripe_api(stripe, sleep=slept.append)))
    assert len(slept) == 2
    assert outcome.numbers["matched"] == 1


def test_a_bad_key_is_an_error_that_does_not_print_it(both, stripe, runner, findings):
    both()
    with pytest.raises(RemoteRefusedError, match="401") as caught:
        runner(ReconcileStripe(stripe_api(stripe, key="sk_test_wrong_but_well_formed")))
    assert "well_formed" not in str(caught.value)
    assert findings() == {}


def test_a_restricted_key_that_lacks_a_permission_names_it(both, stripe, runner):
    stripe.keys.add("rk_test_reader", {"invoice": "read"})
    with pytest.raises(RemoteRefusedError, match="rak_"):
        runner(ReconcileStripe(stripe_api(stripe, key="rk_test_reader")))


def test_a_restricted_key_with_the_documented_permissions_suffices(both, stripe, runner):
    both()
    permissions = dict.fromkeys(("invoice", "payment_intent", "charge", "dispute", "event"), "read")
    stripe.keys.add("rk_test_reader", permissions)
    assert runner(ReconcileStripe(stripe_api(stripe, key="rk_test_reader"))).numbers["matched"] == 1


def test_the_wrong_account_is_not_believed(both, stripe, runner, findings):
    for number in range(30):
        both.client.invoice("50.00", status="sent", stripe_invoice_id=f"in_other{number}")
    with pytest.raises(ImplausibleError, match="right account and mode"):
        runner(ReconcileStripe(stripe_api(stripe)))
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


def test_the_calls_are_pages_and_not_one_per_invoice(both, stripe, runner):
    for _ in range(250):
        both()
    outcome = runner(ReconcileStripe(stripe_api(stripe)))
    assert outcome.numbers["local"] == 250
    assert outcome.remote_calls == 3 + 3 + 1 + 1 + 1, (
        "invoices, payment intents, older open ones, disputes, events"
    )


def test_nothing_is_written_at_stripe(both, stripe, runner):
    both()
    runner(ReconcileStripe(stripe_api(stripe)))
    assert not [
        name for name, count in stripe.calls.received.items() if not name.startswith("GET ") and count
    ]


def test_details_hold_no_personal_data(both, ours, reconcile):
    both(status="sent", at_stripe={"status": "paid"})
    reconcile()
    details = str(ours.execute("SELECT details FROM cp_ops.finding").fetchall())
    assert "@" not in details
    assert "pi_" not in details or "secret" not in details
