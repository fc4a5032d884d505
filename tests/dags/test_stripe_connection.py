"""The connection stripe_default: what is wrong with it is one clear error before the first call."""

from __future__ import annotations

import json

import pytest

from cp_ops.hooks.stripe_api import StripeApiHook
from cp_ops.runtime.errors import ConnectionInvalidError, ConnectionMissingError, Verdict


@pytest.fixture
def connect(monkeypatch, stripe):
    def connect(**definition):
        definition = {
            "conn_type": "generic",
            "password": stripe.key,
            "extra": {"base_url": stripe.url},
        } | definition
        monkeypatch.setenv("AIRFLOW_CONN_STRIPE_DEFAULT", json.dumps(definition))
        return StripeApiHook().get_conn()

    return connect


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"password": ""}, "password is empty"),
        ({"password": "pk_live_abc"}, "publishable key"),
        ({"password": "hunter2"}, "is no API key"),
        ({"extra": {"rate_limit": "fast"}}, "rate_limit must be a number"),
        ({"extra": {"base_url": "http://api.stripe.com"}}, "must begin with https://"),
        ({"extra": {"api_verison": "2026-10-28.endive"}}, "api_verison is not known"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_called(connect, stripe, definition, message):
    with pytest.raises(ConnectionInvalidError, match=message) as caught:
        connect(**definition)
    assert sum(stripe.calls.received.values()) == 0
    assert "hunter2" not in str(caught.value)
    assert caught.value.verdict is Verdict.FAIL


def test_a_missing_connection_says_what_to_create(monkeypatch, metadata_db):
    monkeypatch.delenv("AIRFLOW_CONN_STRIPE_DEFAULT", raising=False)
    with pytest.raises(
        ConnectionMissingError, match=r"is not defined, or .* its password is Stripe's API key"
    ):
        StripeApiHook().get_conn()


def test_the_api_version_is_the_one_that_stripe_python_pins(connect, stripe):
    import stripe as library

    assert list(connect().pages("invoices")) == []
    assert stripe.calls.received["GET /v1/invoices"] == 1
    assert connect()._client._requestor._options.stripe_version == library._api_version._ApiVersion.CURRENT


def test_clients_of_one_connection_share_a_limit(connect):
    assert connect()._limiter is connect()._limiter
    assert connect()._limiter.per_second == 25


def test_another_api_version_is_sent(connect, stripe):
    from cp_ops.runtime.errors import RemoteRefusedError

    api = connect(extra={"base_url": stripe.url, "api_version": "2019-01-01"})
    with pytest.raises(RemoteRefusedError):
        api.get("invoices", "in_1")
