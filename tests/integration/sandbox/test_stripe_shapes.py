"""The sandbox's objects have the members of stripe-python's own types for the pinned API version."""

from __future__ import annotations

import pytest
import stripe

from sandbox.stripe_api import API_VERSION
from sandbox.stripe_api.endpoints import ENDPOINTS
from sandbox.stripe_api.params import parameter_types
from sandbox.stripe_api.shapes import SHAPES, shown

TYPES = {
    "customer": stripe.Customer,
    "payment_intent": stripe.PaymentIntent,
    "charge": stripe.Charge,
    "refund": stripe.Refund,
    "dispute": stripe.Dispute,
    "invoice": stripe.Invoice,
    "invoiceitem": stripe.InvoiceItem,
    "line_item": stripe.InvoiceLineItem,
    "invoice_payment": stripe.InvoicePayment,
    "event": stripe.Event,
}
# Set on every object when it is made, so an empty shape has no value for them.
SET_AT_BIRTH = {"id", "created", "amount", "currency", "status", "client_secret", "customer"}
# Shown by Stripe only on request (expand), on deletion, or in another situation that the sandbox does not have.
ON_REQUEST = {
    "customer": {
        "cash_balance",
        "deleted",
        "invoice_credit_balance",
        "sources",
        "subscriptions",
        "tax",
        "tax_ids",
    },
    "charge": {"refunds", "level3"},
    "invoice": {
        "amount_paid_off_stripe",
        "customer_account",
        "deleted",
        "lines",
        "payments",
        "period_end",
        "period_start",
    },
    "invoiceitem": {"deleted", "date", "net_amount", "period"},
    "line_item": {"invoice", "period", "subtotal"},
    "invoice_payment": {"invoice", "payment", "amount_requested"},
    "event": {"account", "context", "data", "request", "type", "reason"},
    "dispute": {"charge"},
}


def annotated(cls: type) -> set[str]:
    return {name for name in cls.__annotations__ if not name.startswith("_") and name != "OBJECT_NAME"}


def test_the_sandbox_speaks_the_version_that_stripe_python_pins() -> None:
    assert stripe.api_version in (None, API_VERSION)
    assert stripe._api_version._ApiVersion.CURRENT == API_VERSION


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_every_member_of_the_type_is_there_and_no_other(kind: str) -> None:
    members = set(shown(SHAPES[kind]()))
    expected = annotated(TYPES[kind])
    optional = SET_AT_BIRTH | ON_REQUEST.get(kind, set())
    assert members <= expected, f"not in stripe-python's type: {members - expected}"
    assert expected - members <= optional, f"missing: {expected - members - optional}"


def test_a_payment_method_has_the_members_that_do_not_depend_on_its_type() -> None:
    assert set(SHAPES["payment_method"]()) <= annotated(stripe.PaymentMethod)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_every_modelled_parameter_is_one_that_stripe_knows(endpoint) -> None:
    hints, required = parameter_types(endpoint.schema)
    assert endpoint.modelled <= hints.keys()
    assert required <= endpoint.modelled, "a required parameter must be modelled"
