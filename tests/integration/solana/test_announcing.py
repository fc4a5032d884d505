"""The optional webhook: whatever it answers, every payment is delivered, or given up loudly and taken up again."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta

import pytest

from cp_ops.hooks.payment_webhook import PaymentWebhook
from cp_ops.runtime.errors import RowsFailedError
from cp_ops.solana.announcing.job import AnnouncePayments
from cp_ops.solana.announcing.webhook import PATIENCE, POLICY
from cp_ops.solana.job import CloseExpiredPayments

SPACING = POLICY.spacing


class NoAssets:
    """Airflow's part is tested where Airflow runs: tests/dags/test_solana.py."""

    def registered(self):
        return set()

    def announce(self, kind, events):
        pass


class Deliveries:
    """Runs the job with a webhook, on a clock that moves a minute with every request."""

    def __init__(self, shop, listener):
        self.shop, self.listener = shop, listener
        self.now = datetime.now(UTC) + timedelta(minutes=1)

    def __call__(self, **options):
        webhook = PaymentWebhook(f"http://127.0.0.1:{self.listener.server_port}/", b"whsec")
        self.shop.runner.now = self.now
        try:
            return self.shop.runner(AnnouncePayments(NoAssets(), webhook, clock=self.clock), **options)
        finally:
            self.shop.runner.now = None

    def clock(self):
        self.now += timedelta(minutes=1)
        return self.now

    def states(self):
        return self.shop.own(
            "SELECT webhook_state, attempts, last_error FROM cp_ops.solana_payment_event ORDER BY id"
        )

    def posted(self):
        return [json.loads(body)["payment_id"] for _, body in self.listener.received]


@pytest.fixture
def deliver(shop, listener):
    return Deliveries(shop, listener)


def expired(shop, number):
    payments = [shop.payment(expires_in=-60) for _ in range(number)]
    shop.run(CloseExpiredPayments)
    events = [payment for payment, _ in shop.events()]
    assert sorted(events) == [payment.id for payment in payments]
    return events


@pytest.mark.parametrize("status", [401, 404, 410, 429, 500, 503])
def test_what_is_refused_once_is_delivered_when_the_receiver_is_well_again(shop, deliver, listener, status):
    (payment,) = expired(shop, 1)
    listener.status = status
    outcome = deliver()
    reason = f"not taken, tried again later: webhook: HTTP status {status}"
    assert (outcome.skip_reasons, outcome.failed) == ({reason: 1}, 0)
    listener.status = 200
    deliver()
    assert deliver.posted() == [payment], "not before its pause is over"
    deliver.now += timedelta(seconds=SPACING[0])
    assert deliver().done_kinds["deliver"] == 1
    assert deliver.posted() == [payment] * 2
    assert deliver.states() == [("delivered", 2, "")]


def test_every_request_is_signed_when_it_is_sent(shop, deliver, listener):
    expired(shop, 3)
    deliver()
    moments = [int(headers["X-Cp-Ops-Signature"].split(",")[0][2:]) for headers, _ in listener.received]
    assert len(moments) == 3
    assert all(later - earlier >= 60 for earlier, later in itertools.pairwise(moments))


def test_a_receiver_that_is_down_is_not_asked_for_every_payment(shop, deliver, listener):
    payments = expired(shop, PATIENCE + 2)
    listener.status = 503
    outcome = deliver()
    assert deliver.posted() == payments[:PATIENCE]
    assert outcome.skip_reasons[f"put off: {PATIENCE} deliveries in a row were not taken"] == 2
    assert [attempts for _, attempts, _ in deliver.states()] == [1] * PATIENCE + [0, 0]
    listener.status = 200
    deliver.now += timedelta(seconds=SPACING[0])
    assert deliver().done_kinds["deliver"] == PATIENCE + 2
    assert deliver.posted()[PATIENCE:] == payments


def test_what_was_given_up_fails_the_run_and_is_taken_up_again_on_request(shop, deliver, listener):
    (payment,) = expired(shop, 1)
    listener.status = 404
    for pause in SPACING:
        deliver()
        deliver.now += timedelta(seconds=pause)
    with pytest.raises(
        RowsFailedError, match=f"solana_payment:{payment}: given up: webhook: HTTP status 404"
    ):
        deliver()
    assert deliver.states() == [("failed", len(SPACING) + 1, "webhook: HTTP status 404")]
    listener.status = 200
    deliver.now += timedelta(days=10)
    deliver()
    assert len(listener.received) == len(SPACING) + 1
    listener.status = 503
    deliver(redeliver=True)
    listener.status = 200
    deliver.now += timedelta(seconds=SPACING[0])
    assert deliver().done_kinds["deliver"] == 1, "once taken up, however old, it is tried like a new one"
    assert deliver.states() == [("delivered", 2, "")]
