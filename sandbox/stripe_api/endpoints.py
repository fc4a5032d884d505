"""The table of endpoints: path, function, parameter type, modelled parameters, permission.

The ids in a path are ``{id}`` and ``{method}``; the text of the path is the endpoint's name in counters, limits
and faults.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import (
    charges,
    customers,
    disputes,
    events,
    invoice_lines,
    invoices,
    payment_intents,
    payment_methods,
    refunds,
)
from .catalog import ACCOUNT_ID
from .pages import PAGE_PARAMS
from .search import search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .call import Call
    from .shapes import Doc


@dataclass(frozen=True)
class Endpoint:
    """One endpoint. ``schema`` is a class of ``stripe.params``; ``modelled`` its parameters that have an effect."""

    method: str
    path: str
    run: Callable[[Call], Doc]
    schema: str
    modelled: frozenset[str]
    resource: str

    @property
    def name(self) -> str:
        """How counters, limits and faults call it."""
        return f"{self.method} {self.path}"

    @property
    def level(self) -> str:
        """The permission that a restricted key needs on the resource."""
        return "read" if self.method == "GET" else "write"


def _endpoint(
    route: str,
    run: Callable[[Call], Doc],
    schema: str,
    modelled: str | Iterable[str] = "",
    resource: str = "",
) -> Endpoint:
    method, path = route.split()
    names = modelled.split() if isinstance(modelled, str) else modelled
    if method == "GET" and ("List" in schema):
        names = {*names, *PAGE_PARAMS}
    return Endpoint(method, path, run, f"{schema}Params", frozenset(names), resource)


def _of(resource: str, *rows: tuple[str, Callable[[Call], Doc], str, str]) -> list[Endpoint]:
    return [_endpoint(route, run, schema, modelled, resource) for route, run, schema, modelled in rows]


def _own_account(call: Call) -> Doc:
    """Return the account behind the key, as far as a connection test reads it."""
    return {
        "id": ACCOUNT_ID, "object": "account", "charges_enabled": True, "country": "US",
        "default_currency": "usd", "details_submitted": True, "email": "billing@example.test",
        "metadata": {}, "payouts_enabled": True, "type": "standard", "created": call.account.now(),
    }  # fmt: skip


_CUSTOMER = "address balance description email invoice_settings metadata name phone preferred_locales shipping tax_exempt"
_INTENT = "description metadata payment_method receipt_email setup_future_usage statement_descriptor "
_INTENT += "statement_descriptor_suffix transfer_group"
_CONFIRM = "off_session error_on_requires_action return_url use_stripe_sdk mandate"
_INVOICE = (
    "auto_advance collection_method custom_fields days_until_due default_payment_method description due_date "
)
_INVOICE += "effective_at footer metadata number statement_descriptor"
_SEARCH = "query limit page"

ENDPOINTS: list[Endpoint] = [
    *_of(
        "customer",
        ("GET /v1/customers/search", search("customer"), "CustomerSearch", _SEARCH),
        ("POST /v1/customers", customers.create, "CustomerCreate", f"{_CUSTOMER} payment_method"),
        ("GET /v1/customers", customers.listed, "CustomerList", "created email"),
        ("GET /v1/customers/{id}", customers.retrieve, "CustomerRetrieve", ""),
        ("POST /v1/customers/{id}", customers.update, "CustomerUpdate", _CUSTOMER),
        ("DELETE /v1/customers/{id}", customers.delete, "CustomerDelete", ""),
    ),
    *_of(
        "payment_method",
        (
            "GET /v1/customers/{id}/payment_methods",
            payment_methods.listed,
            "CustomerPaymentMethodList",
            "type",
        ),
        (
            "GET /v1/customers/{id}/payment_methods/{method}",
            payment_methods.retrieve_of_customer,
            "CustomerPaymentMethodRetrieve",
            "",
        ),
        (
            "POST /v1/payment_methods",
            payment_methods.create,
            "PaymentMethodCreate",
            "type card metadata billing_details",
        ),
        ("GET /v1/payment_methods", payment_methods.listed, "PaymentMethodList", "customer type"),
        (
            "GET /v1/payment_methods/{id}",
            lambda call: call.named("payment_method"),
            "PaymentMethodRetrieve",
            "",
        ),
        (
            "POST /v1/payment_methods/{id}",
            payment_methods.update,
            "PaymentMethodUpdate",
            "metadata billing_details",
        ),
        ("POST /v1/payment_methods/{id}/attach", payment_methods.attach, "PaymentMethodAttach", "customer"),
        ("POST /v1/payment_methods/{id}/detach", payment_methods.detach, "PaymentMethodDetach", ""),
    ),
    *_of(
        "payment_intent",
        ("GET /v1/payment_intents/search", search("payment_intent"), "PaymentIntentSearch", _SEARCH),
        (
            "POST /v1/payment_intents",
            payment_intents.create,
            "PaymentIntentCreate",
            (
                f"{_INTENT} {_CONFIRM} amount currency customer confirm confirmation_method allowed_payment_method_types "
                "automatic_payment_methods"
            ),
        ),
        ("GET /v1/payment_intents", payment_intents.listed, "PaymentIntentList", "created customer"),
        ("GET /v1/payment_intents/{id}", payment_intents.retrieve, "PaymentIntentRetrieve", "client_secret"),
        (
            "POST /v1/payment_intents/{id}",
            payment_intents.update,
            "PaymentIntentUpdate",
            f"{_INTENT} amount currency customer",
        ),
        (
            "POST /v1/payment_intents/{id}/confirm",
            payment_intents.confirm,
            "PaymentIntentConfirm",
            f"{_CONFIRM} payment_method",
        ),
        (
            "POST /v1/payment_intents/{id}/cancel",
            payment_intents.cancel,
            "PaymentIntentCancel",
            "cancellation_reason",
        ),
    ),
    *_of(
        "charge",
        ("GET /v1/charges/search", search("charge"), "ChargeSearch", _SEARCH),
        ("GET /v1/charges", charges.listed, "ChargeList", "created customer payment_intent"),
        ("GET /v1/charges/{id}", charges.retrieve, "ChargeRetrieve", ""),
        ("GET /v1/charges/{id}/refunds", refunds.listed, "ChargeListRefunds", ""),
        ("POST /v1/refunds", refunds.create, "RefundCreate", "amount charge metadata payment_intent reason"),
        ("GET /v1/refunds", refunds.listed, "RefundList", "charge created payment_intent"),
        ("GET /v1/refunds/{id}", refunds.retrieve, "RefundRetrieve", ""),
        ("POST /v1/refunds/{id}", refunds.update, "RefundUpdate", "metadata"),
    ),
    *_of(
        "dispute",
        ("GET /v1/disputes", disputes.listed, "DisputeList", "charge created payment_intent"),
        ("GET /v1/disputes/{id}", disputes.retrieve, "DisputeRetrieve", ""),
        ("POST /v1/disputes/{id}/close", disputes.accept, "DisputeClose", ""),
    ),
    *_of(
        "invoice",
        ("GET /v1/invoices/search", search("invoice"), "InvoiceSearch", _SEARCH),
        (
            "POST /v1/invoices",
            invoices.create,
            "InvoiceCreate",
            f"{_INVOICE} currency customer pending_invoice_items_behavior",
        ),
        (
            "GET /v1/invoices",
            invoices.listed,
            "InvoiceList",
            "collection_method created customer due_date status",
        ),
        ("GET /v1/invoices/{id}", invoices.retrieve, "InvoiceRetrieve", ""),
        ("POST /v1/invoices/{id}", invoices.update, "InvoiceUpdate", _INVOICE),
        ("DELETE /v1/invoices/{id}", invoices.delete, "InvoiceDelete", ""),
        (
            "POST /v1/invoices/{id}/add_lines",
            invoice_lines.add_lines,
            "InvoiceAddLines",
            "lines invoice_metadata",
        ),
        (
            "POST /v1/invoices/{id}/attach_payment",
            invoices.attach_payment,
            "InvoiceAttachPayment",
            "payment_intent",
        ),
        ("POST /v1/invoices/{id}/finalize", invoices.finalize, "InvoiceFinalizeInvoice", "auto_advance"),
        (
            "POST /v1/invoices/{id}/mark_uncollectible",
            invoices.mark_uncollectible,
            "InvoiceMarkUncollectible",
            "",
        ),
        (
            "POST /v1/invoices/{id}/pay",
            invoices.pay,
            "InvoicePay",
            "off_session paid_out_of_band payment_method",
        ),
        ("POST /v1/invoices/{id}/send", invoices.send, "InvoiceSendInvoice", ""),
        ("POST /v1/invoices/{id}/void", invoices.void, "InvoiceVoidInvoice", ""),
        ("GET /v1/invoices/{id}/lines", invoice_lines.list_lines, "InvoiceLineItemList", ""),
        (
            "POST /v1/invoiceitems",
            invoice_lines.create_item,
            "InvoiceItemCreate",
            "amount currency customer description invoice metadata period",
        ),
        ("GET /v1/invoiceitems", invoice_lines.list_items, "InvoiceItemList", "created customer invoice"),
        ("GET /v1/invoiceitems/{id}", invoice_lines.retrieve_item, "InvoiceItemRetrieve", ""),
        ("DELETE /v1/invoiceitems/{id}", invoice_lines.delete_item, "InvoiceItemDelete", ""),
        (
            "GET /v1/invoice_payments",
            invoices.list_payments,
            "InvoicePaymentList",
            "created invoice payment status",
        ),
        ("GET /v1/invoice_payments/{id}", invoices.retrieve_payment, "InvoicePaymentRetrieve", ""),
    ),
    *_of(
        "event",
        ("GET /v1/events", events.listed, "EventList", "created type types"),
        ("GET /v1/events/{id}", events.retrieve, "EventRetrieve", ""),
    ),
    *_of("account", ("GET /v1/account", _own_account, "AccountRetrieveCurrent", "")),
]
