"""What the charging job relies on, asked of the local Stripe and, with a key in the environment, of Stripe itself.

CP_OPS_STRIPE_SMOKE_KEY=sk_test_... python -m pytest tests/integration/finance/reconciliation/test_stripe_smoke.py
"""

from __future__ import annotations

import os
import secrets

import pytest

from cp_ops.finance.charges.answers import AttemptState, read_answer
from cp_ops.finance.charges.intents import ChargeIntent, charge_request, look_up
from cp_ops.hooks.rate_limit import CallLimiter
from cp_ops.hooks.stripe_client import StripeApi

KEY = os.environ.get("CP_OPS_STRIPE_SMOKE_KEY", "")
REAL = pytest.param(
    "stripe.com",
    marks=pytest.mark.skipif(
        not KEY.startswith("sk_test_"), reason="no CP_OPS_STRIPE_SMOKE_KEY (sk_test_...)"
    ),
)


@pytest.fixture(params=["local", REAL])
def api(request, stripe):
    if request.param == "local":
        return StripeApi(stripe.key, limiter=CallLimiter(0), base_url=stripe.url)
    return StripeApi(KEY, limiter=CallLimiter(10))


def attempt(api, token):
    """An attempt to charge a fresh customer's card."""
    mark = secrets.token_hex(6)
    customer = api.post(
        "/v1/customers", {"description": f"cp_ops smoke {mark}"}, idempotency_key=f"c-{mark}"
    ).body["id"]
    attached = api.post(
        f"/v1/payment_methods/{token}/attach", {"customer": customer}, idempotency_key=f"m-{mark}"
    )
    method = attached.body["id"]
    number = int(mark, 16)
    return ChargeIntent(
        1, 1, number, 1, f"smoke-{mark}", 1234, "USD", method, customer, "", "submitting", "", "", None
    )


def test_a_charge_succeeds_once_however_often_it_is_asked_and_is_found_by_its_metadata(api):
    intent = attempt(api, "pm_card_visa")
    answers = [
        api.post("/v1/payment_intents", charge_request(intent), idempotency_key=intent.idempotency_key)
        for _ in range(2)
    ]
    settled = [read_answer(answer.status, answer.body) for answer in answers]
    assert settled[0] == settled[1]
    assert settled[0].state is AttemptState.SUCCEEDED
    assert settled[0].charged_at is not None
    assert look_up(api, intent) == settled[0]
    assert api.get("payment_methods", intent.payment_method)["customer"] == intent.customer


def test_a_key_with_another_request_is_refused_and_read_as_unknown(api):
    intent = attempt(api, "pm_card_visa")
    api.post("/v1/payment_intents", charge_request(intent), idempotency_key=intent.idempotency_key)
    answer = api.post(
        "/v1/payment_intents",
        charge_request(intent) | {"amount": 4321},
        idempotency_key=intent.idempotency_key,
    )
    assert read_answer(answer.status, answer.body).state is AttemptState.UNKNOWN


@pytest.mark.parametrize(
    ("token", "state", "code"),
    [
        ("pm_card_chargeCustomerFail", AttemptState.FAILED, "generic_decline"),
        ("pm_card_authenticationRequired", AttemptState.REQUIRES_ACTION, "authentication_required"),
    ],
)
def test_a_refusal_is_read_as_what_it_is(api, token, state, code):
    intent = attempt(api, token)
    answer = api.post("/v1/payment_intents", charge_request(intent), idempotency_key=intent.idempotency_key)
    settled = read_answer(answer.status, answer.body)
    assert (settled.state, settled.code) == (state, code)
    assert settled.payment_intent.startswith("pi_")


def test_lists_have_the_members_that_reconciliation_reads(api):
    intent = attempt(api, "pm_card_visa")
    api.post("/v1/payment_intents", charge_request(intent), idempotency_key=intent.idempotency_key)
    page = next(api.pages("payment_intents", customer=intent.customer, expand=["data.latest_charge"]))
    charge = page[0]["latest_charge"]
    assert {"created", "amount_refunded", "disputed", "payment_method_details"} <= charge.keys()
    for resource, expand in (("invoices", ["data.payments"]), ("disputes", []), ("events", [])):
        next(api.pages(resource, **({"expand": expand} if expand else {})), None)
    assert api.get("invoices", "in_there_is_no_such_invoice") is None
