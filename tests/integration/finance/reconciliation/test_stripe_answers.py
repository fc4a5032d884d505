"""What Stripe answers to reconcile_stripe: outages, limits, keys, another account; and how often it is asked."""

from __future__ import annotations

import pytest

from cp_ops.finance.reconciliation.job import ReconcileStripe
from cp_ops.runtime.errors import ImplausibleError, RemoteRefusedError, RemoteUnavailableError
from tests.integration.finance.reconciliation.stripe_world import stripe_api


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
