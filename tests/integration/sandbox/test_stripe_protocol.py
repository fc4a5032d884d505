"""What the local Stripe does around every endpoint: pages, expand, keys, limits, idempotency, faults."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import requests
import stripe as stripe_python

from sandbox.stripe_api.limits import RateLimiter

CREATE = "POST /v1/payment_intents"
DAY = 86_400


@pytest.fixture
def payer(api: Any) -> dict[str, Any]:
    """Parameters of a charge that succeeds."""
    customer = api.customers.create({"email": "client@example.test"}).id
    method = api.payment_methods.attach("pm_card_visa", {"customer": customer}).id
    payment = {"amount": 900, "currency": "usd", "customer": customer, "payment_method": method}
    return {**payment, "confirm": True, "off_session": True}


# Pages


def test_pages_are_newest_first_and_walk_without_loss_or_repeat(stripe, api) -> None:
    ids = stripe.seed(
        {"payment_intent": {"amount": 100, "created": 1_700_000_000 + i // 50}} for i in range(250)
    )
    listed = list(api.payment_intents.list({"limit": 100}).auto_paging_iter())
    assert [intent.id for intent in listed] == ids[::-1]
    assert stripe.calls["GET /v1/payment_intents"] == 3
    page = api.payment_intents.list({"limit": 2, "ending_before": ids[100]})
    assert [intent.id for intent in page.data] == [ids[102], ids[101]]
    assert page.has_more is True
    assert api.payment_intents.list({"starting_after": ids[0]}).data == []
    assert len(api.payment_intents.list().data) == 10


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": 101}, "limit"),
        ({"limit": 0}, "limit"),
        ({"starting_after": "pi_none"}, "starting_after"),
        ({"created": {"near": 1}}, "created[near]"),
        ({"status": "open"}, "status"),
        ({"limit": "ten"}, "limit"),
        ({"customer": ""}, "customer"),
        ({"expand": ["data.colour"]}, "expand"),
        ({"expand": ["customer"]}, "expand"),
    ],
)
def test_a_wrong_parameter_is_named_in_the_error(api, query, param) -> None:
    api.payment_intents.create({"amount": 500, "currency": "usd"})
    with pytest.raises(stripe_python.InvalidRequestError) as caught:
        api.payment_intents.list(query)
    assert (caught.value.http_status, caught.value.param) == (400, param)


def test_a_parameter_that_stripe_has_and_the_sandbox_has_not_is_refused_not_ignored(api) -> None:
    with pytest.raises(stripe_python.InvalidRequestError) as caught:
        api.payment_intents.create({"amount": 500, "currency": "usd", "capture_method": "manual"})
    assert (caught.value.code, caught.value.param) == ("sandbox_unsupported", "capture_method")
    with pytest.raises(stripe_python.InvalidRequestError) as caught:
        api.payment_intents.create({"currency": "usd"})
    assert (caught.value.code, caught.value.param) == ("parameter_missing", "amount")


def test_metadata_limits(api) -> None:
    for metadata in ({"k" * 41: "v"}, {"k": "v" * 501}, {f"k{i}": "v" for i in range(51)}):
        with pytest.raises(stripe_python.InvalidRequestError, match=r"(?i)metadata"):
            api.customers.create({"metadata": metadata})


# Expand


def test_four_levels_are_expanded_and_five_refused(stripe, api) -> None:
    payment = {"amount": 100, "paid_at": 1_700_000_500}
    (invoice,) = stripe.seed([{"invoice": {"amount": 100, "status": "paid", "payments": [payment]}}])
    found = api.invoices.retrieve(invoice, {"expand": ["payments.data.payment.payment_intent"]})
    intent = found.payments.data[0].payment.payment_intent
    assert (intent.object, intent.amount_received) == ("payment_intent", 100)
    with pytest.raises(stripe_python.InvalidRequestError, match="more than 4 levels"):
        api.invoices.list({"expand": ["data.payments.data.payment.payment_intent"]})
    (listed,) = api.invoices.list({"expand": ["data.payments"]}).data
    assert listed.payments.data[0].payment.payment_intent == intent.id
    (row,) = api.payment_intents.list({"expand": ["data.latest_charge", "data.customer"]}).data
    assert (row.latest_charge.created, row.customer) == (1_700_000_500, None)


def test_only_the_first_payments_are_inlined(stripe, api) -> None:
    parts = [{"amount": 10} for _ in range(12)]
    (invoice,) = stripe.seed([{"invoice": {"amount": 120, "status": "paid", "payments": parts}}])
    payments = api.invoices.retrieve(invoice, {"expand": ["payments"]}).payments
    assert (len(payments.data), payments.has_more) == (10, True)
    assert len(api.invoice_payments.list({"invoice": invoice, "limit": 100}).data) == 12


def test_a_seeded_payment_has_no_metadata_of_its_invoice(stripe, api) -> None:
    """Stripe does not copy it: a payment intent that an invoice made says nothing of what the invoice is about."""
    named = {"invoice": {"amount": 100, "status": "paid", "metadata": {"invoice_id": "7"}}}
    of_its_own = {"invoice": {"amount": 100, "payments": [{"amount": 50, "metadata": {"part": "1"}}]}}
    stripe.seed([named, of_its_own])
    found = [intent.metadata.to_dict() for intent in api.payment_intents.list().data]
    assert sorted(found, key=len) == [{}, {"part": "1"}]


# Keys


def test_a_wrong_key_is_401(stripe) -> None:
    with pytest.raises(
        stripe_python.AuthenticationError, match=r"Invalid API Key provided: sk_test_\*+ring"
    ) as caught:
        stripe.client("sk_test_notonthekeyring").v1.customers.list()
    assert caught.value.http_status == 401
    answer = requests.get(f"{stripe.url}/v1/customers", timeout=5)
    assert (answer.status_code, "did not provide an API key" in answer.text) == (401, True)
    assert requests.get(f"{stripe.url}/v1/customers", auth=(stripe.key, ""), timeout=5).status_code == 200


def test_a_restricted_key_may_do_what_it_may(stripe, api, payer) -> None:
    intent = api.payment_intents.create(payer)
    key = stripe.keys.add("rk_test_reconcile", {"payment_intent": "read", "invoice": "write"})
    limited = stripe.client(key).v1
    assert limited.payment_intents.list().data[0].id == intent.id
    assert limited.invoices.list().data == []
    with pytest.raises(stripe_python.PermissionError, match="rak_payment_intent_write") as caught:
        limited.payment_intents.create(payer)
    assert caught.value.http_status == 403
    with pytest.raises(stripe_python.PermissionError, match="rak_charge_read"):
        limited.payment_intents.list({"expand": ["data.latest_charge"]})
    stripe.keys.revoke(key)
    with pytest.raises(stripe_python.AuthenticationError):
        limited.invoices.list()
    with pytest.raises(ValueError, match="no such permission"):
        stripe.keys.add("rk_test_typo", {"payment_intents": "read"})


def test_another_version_another_account_and_an_unknown_path_are_refused(stripe, api) -> None:
    with pytest.raises(stripe_python.InvalidRequestError, match="Stripe-Account"):
        api.customers.list({}, {"stripe_account": "acct_other"})
    with pytest.raises(stripe_python.InvalidRequestError, match="Invalid Stripe API version"):
        api.customers.list({}, {"stripe_version": "2024-06-20"})
    answer = requests.get(f"{stripe.url}/v1/colours", timeout=5)
    assert (answer.status_code, "Unrecognized request URL" in answer.text) == (404, True)


# Limits


def test_the_limit_is_per_endpoint_and_stripe_python_does_not_retry_it(stripe) -> None:
    stripe.settings.rate_limit = 5
    api = stripe.client(max_network_retries=2).v1
    for _ in range(5):
        api.customers.list()
    with pytest.raises(stripe_python.RateLimitError) as caught:
        api.customers.list()
    assert (caught.value.http_status, caught.value.headers["stripe-rate-limited-reason"]) == (
        429,
        "endpoint-rate",
    )
    assert stripe.calls["GET /v1/customers"] == 6
    assert stripe.calls.answered["GET /v1/customers", 429] == 1
    assert api.invoices.list().data == []


def test_all_ids_of_an_endpoint_share_its_limit(stripe, api) -> None:
    ids = stripe.seed({"payment_intent": {"amount": 100}} for _ in range(3))
    stripe.settings.rate_limit = 2
    api.payment_intents.retrieve(ids[0])
    api.payment_intents.retrieve(ids[1])
    with pytest.raises(stripe_python.RateLimitError):
        api.payment_intents.retrieve(ids[2])


def test_the_limit_counts_one_second_and_search_has_a_lower_one() -> None:
    now = [0.0]
    limiter = RateLimiter(lambda: now[0])

    def admitted(endpoint: str, limit: float | None, overall: float | None = None) -> bool:
        try:
            limiter.admit(endpoint, limit, overall)
        except Exception:  # noqa: BLE001
            return False
        return True

    assert sum(admitted("GET /a", 25) for _ in range(40)) == 25
    now[0] = 0.99
    assert not admitted("GET /a", 25)
    now[0] = 1.0
    assert sum(admitted("GET /a", 25) for _ in range(40)) == 25
    assert sum(admitted("GET /a/search", 25) for _ in range(40)) == 20
    assert all(admitted("GET /b", None) for _ in range(40))
    now[0] = 3.0
    assert sum(admitted(f"GET /{i}", 25, overall=10) for i in range(20)) == 10


# Idempotency


def test_a_key_replays_its_answer_and_charges_once(stripe, api, payer) -> None:
    first = api.payment_intents.create(payer, {"idempotency_key": "k"})
    again = api.payment_intents.create(payer, {"idempotency_key": "k"})
    assert again.id == first.id
    assert again.last_response.headers["idempotent-replayed"] == "true"
    assert again.last_response.headers["original-request"] == first.last_response.headers["request-id"]
    assert "idempotent-replayed" not in first.last_response.headers
    assert len(stripe.ledger) == 1


def test_a_key_replays_a_decline_too(stripe, api, payer) -> None:
    stripe.script(payer["payment_method"], "insufficient_funds")
    seen = set()
    for _ in range(2):
        with pytest.raises(stripe_python.CardError) as caught:
            api.payment_intents.create(payer, {"idempotency_key": "k"})
        seen.add(caught.value.error.payment_intent.id)
    assert len(seen) == 1
    assert api.payment_intents.create(payer, {"idempotency_key": "other"}).status == "succeeded"


def test_a_key_belongs_to_its_parameters_and_its_endpoint(stripe, api, payer) -> None:
    api.payment_intents.create(payer, {"idempotency_key": "k"})
    with pytest.raises(stripe_python.IdempotencyError, match="same parameters"):
        api.payment_intents.create({**payer, "amount": 901}, {"idempotency_key": "k"})
    with pytest.raises(stripe_python.IdempotencyError, match="same endpoint"):
        api.customers.create({}, {"idempotency_key": "k"})
    assert len(stripe.ledger) == 1


def test_what_was_refused_before_it_began_is_not_remembered(stripe, api, payer) -> None:
    with pytest.raises(stripe_python.InvalidRequestError):
        api.payment_intents.create({**payer, "colour": "red"}, {"idempotency_key": "k"})
    assert api.payment_intents.create(payer, {"idempotency_key": "k"}).status == "succeeded"


def test_a_key_is_forgotten_after_24_hours_and_then_charges_again(stripe, api, payer) -> None:
    stripe.clock.freeze()
    first = api.payment_intents.create(payer, {"idempotency_key": "k"})
    stripe.clock.advance(hours=23, minutes=59)
    assert api.payment_intents.create(payer, {"idempotency_key": "k"}).id == first.id
    stripe.clock.advance(minutes=1)
    assert api.payment_intents.create(payer, {"idempotency_key": "k"}).id != first.id
    assert len(stripe.ledger) == 2


def test_a_key_in_flight_is_409_which_stripe_python_retries(stripe, payer) -> None:
    stripe.faults.add(CREATE, "delay", seconds=0.4)
    slow: list[Any] = []
    options = {"idempotency_key": "k"}
    thread = threading.Thread(
        target=lambda: slow.append(stripe.client().v1.payment_intents.create(payer, options))
    )
    thread.start()
    while not stripe.calls[CREATE]:
        time.sleep(0.005)
    with pytest.raises(stripe_python.APIError) as caught:
        stripe.client().v1.payment_intents.create(payer, options)
    assert (caught.value.http_status, caught.value.error.code) == (409, "idempotency_key_in_use")
    patient = stripe.client(max_network_retries=5).v1.payment_intents.create(payer, options)
    thread.join()
    assert patient.id == slow[0].id
    assert len(stripe.ledger) == 1


def test_eight_callers_with_one_key_charge_once(stripe, payer) -> None:
    answers: list[str] = []

    def call() -> None:
        retrying = stripe.client(max_network_retries=8).v1
        answers.append(retrying.payment_intents.create(payer, {"idempotency_key": "k"}).id)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(answers), len(set(answers)), len(stripe.ledger)) == (8, 1, 1)


# Faults


@pytest.mark.parametrize(
    ("kind", "when", "options", "error", "charged"),
    [
        ("drop", "before", {}, stripe_python.APIConnectionError, 0),
        ("drop", "after", {}, stripe_python.APIConnectionError, 1),
        ("error", "before", {}, stripe_python.APIError, 0),
        ("error", "after", {"status": 503}, stripe_python.APIError, 1),
        ("rate_limit", "before", {}, stripe_python.RateLimitError, 0),
        ("hang", "before", {"seconds": 0.6}, stripe_python.APIConnectionError, 0),
        ("hang", "after", {"seconds": 0.6}, stripe_python.APIConnectionError, 1),
    ],
)
def test_a_fault_before_has_no_effect_and_one_after_has(
    stripe, payer, kind, when, options, error, charged
) -> None:
    fault = stripe.faults.add(CREATE, kind, when=when, **options)
    api = stripe.client(timeout=0.3).v1
    with pytest.raises(error):
        api.payment_intents.create(payer, {"idempotency_key": "k"})
    assert (fault.hits, len(stripe.ledger)) == (1, charged)
    if (kind, when) == ("hang", "before"):
        time.sleep(0.5)  # until the server gives up the call that the client has left
    intent = api.payment_intents.create(payer, {"idempotency_key": "k"})
    assert intent.status == "succeeded"
    assert len(stripe.ledger) == 1


def test_a_dropped_connection_is_reset_without_a_byte(stripe) -> None:
    stripe.faults.add("GET /v1/customers", "drop")
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        requests.get(f"{stripe.url}/v1/customers", auth=(stripe.key, ""), timeout=5)
    assert stripe.calls.as_dict() == {"GET /v1/customers": {"total": 1, "statuses": {}}}


def test_stripe_python_retries_a_drop_with_its_own_key(stripe, payer) -> None:
    stripe.faults.add(CREATE, "drop", when="after", count=2)
    intent = stripe.client(max_network_retries=2).v1.payment_intents.create(payer)
    assert intent.last_response.headers["idempotent-replayed"] == "true"
    assert (stripe.calls[CREATE], len(stripe.ledger)) == (3, 1)


def test_an_error_can_be_remembered_by_the_key(stripe, api, payer) -> None:
    stripe.faults.add(CREATE, "error", when="after", remembered=True)
    for _ in range(2):
        with pytest.raises(stripe_python.APIError) as caught:
            api.payment_intents.create(payer, {"idempotency_key": "k"})
        assert caught.value.http_status == 500
    assert len(stripe.ledger) == 1


def test_faults_are_aimed_by_endpoint_count_skip_and_parameters(stripe, api, payer) -> None:
    aimed = stripe.faults.add(CREATE, "error", count=2, skip=1, match={"metadata": {"invoice_id": "7"}})
    outcomes = []
    for invoice in ("8", "7", "7", "7", "7"):
        try:
            outcomes.append(api.payment_intents.create({**payer, "metadata": {"invoice_id": invoice}}).status)
        except stripe_python.APIError as error:
            outcomes.append(str(error.http_status))
    assert outcomes == ["succeeded", "succeeded", "500", "500", "succeeded"]
    assert (aimed.hits, list(stripe.faults)) == (2, [])
    stripe.faults.add("*", "error", count=None)
    for listed in (api.customers.list, api.invoices.list, api.customers.list):
        with pytest.raises(stripe_python.APIError):
            listed()
    stripe.faults.clear()
    assert len(api.customers.list().data) == 1
    with pytest.raises(ValueError, match="no such fault"):
        stripe.faults.add("*", "explode")


def test_latency_is_simulated_for_each_call(stripe, api) -> None:
    stripe.settings.latency = 0.05
    started = time.monotonic()
    for _ in range(3):
        api.customers.list()
    assert 0.15 <= time.monotonic() - started < 2


# The clock and the ledger


def test_the_clock_freezes_advances_and_resumes(stripe, api) -> None:
    stripe.clock.freeze(1_800_000_000)
    assert api.customers.create({}).created == 1_800_000_000
    stripe.clock.advance(days=1, seconds=5)
    assert api.customers.create({}).created == 1_800_000_000 + DAY + 5
    stripe.clock.resume()
    assert 0 <= stripe.clock.now() - (1_800_000_000 + DAY + 5) < 60
    stripe.clock.set(1_900_000_000)
    assert 0 <= api.customers.create({}).created - 1_900_000_000 < 60
    with pytest.raises(ValueError, match="only advances"):
        stripe.clock.advance(days=-1)


def test_nobody_can_change_the_ledger(stripe, api, payer) -> None:
    api.payment_intents.create({**payer, "metadata": {"invoice_id": "7", "attempt": "1"}})
    api.payment_intents.create({**payer, "metadata": {"invoice_id": "7", "attempt": "1"}})
    assert stripe.ledger.charged_more_than_once("invoice_id", "attempt") == {("7", "1"): 2}
    for statement in ("DELETE FROM ledger", "UPDATE ledger SET amount = 0"):
        with pytest.raises(Exception, match="append-only"):
            stripe.account.store.db.execute(statement)
    assert stripe.ledger.totals() == {"usd": 1_800}
