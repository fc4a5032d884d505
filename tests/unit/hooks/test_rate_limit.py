"""The limit on calls: never more than so many in any second, per endpoint, whatever the threads do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cp_ops.hooks.rate_limit import CallLimiter
from cp_ops.hooks.stripe_client import endpoint_name, pause_after


class Clock:
    def __init__(self):
        self.now = 0.0

    def sleep(self, seconds):
        self.now += seconds


@given(st.integers(1, 30), st.lists(st.floats(0, 0.4), min_size=1, max_size=120))
def test_no_second_has_more_calls_than_allowed(per_second, pauses):
    clock = Clock()
    limiter = CallLimiter(per_second, monotonic=lambda: clock.now, sleep=clock.sleep)
    starts = []
    for pause in pauses:
        clock.now += pause
        limiter.wait("GET /v1/invoices")
        starts.append(clock.now)
    for first, last in zip(starts, starts[per_second:], strict=False):
        assert last - first >= 1 - 1e-9


def test_endpoints_have_limits_of_their_own_and_none_waits_without_need():
    clock = Clock()
    limiter = CallLimiter(2, monotonic=lambda: clock.now, sleep=clock.sleep)
    for endpoint in ("a", "b", "a", "b"):
        assert limiter.wait(endpoint) == 0
    assert limiter.wait("a") == 1
    assert CallLimiter(0).wait("a") == 0


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.stripe.com/v1/payment_intents?limit=100", "GET /v1/payment_intents"),
        ("https://api.stripe.com/v1/payment_intents/pi_3abc", "GET /v1/payment_intents/{id}"),
        ("http://127.0.0.1:1/v1/invoices/in_1/attach_payment", "GET /v1/invoices/{id}/attach_payment"),
        ("/v1/invoices/search?query=x", "GET /v1/invoices/search"),
    ],
)
def test_all_ids_of_an_endpoint_share_its_limit(url, name):
    assert endpoint_name("get", url) == name


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"Retry-After": "7"}, 7), ({"retry-after": "0.5"}, 0.5), ({"Retry-After": "9999"}, 30)],
)
def test_retry_after_is_obeyed_within_reason(headers, seconds):
    assert pause_after(headers, 1) == seconds


def test_without_retry_after_the_pause_doubles():
    assert 0.3 < pause_after({}, 1) < 0.7
    assert 5 < pause_after({"Retry-After": "soon"}, 5) < 11
