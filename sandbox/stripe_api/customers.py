"""Customers (https://docs.stripe.com/api/customers)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from .pages import page, time_bounds
from .params import merged_metadata
from .payment_methods import usable
from .store import Selection

if TYPE_CHECKING:
    from .account import Account
    from .call import Call
    from .shapes import Doc

FIELDS = (
    "address",
    "balance",
    "description",
    "email",
    "name",
    "phone",
    "shipping",
    "tax_exempt",
    "preferred_locales",
)


def create(call: Call) -> Doc:
    """Create a customer, with ``payment_method`` attached when one is given."""
    account = call.account
    customer = account.make("customer", invoice_prefix=secrets.token_hex(4).upper())
    if "payment_method" in call.params:
        method = usable(account, call.params["payment_method"], None)
        account.save({**method, "customer": customer["id"]}, "payment_method.attached")
    _apply(call, account, customer)
    return account.save(customer, "customer.created")


def update(call: Call) -> Doc:
    """Change what was given."""
    customer = call.named("customer")
    _apply(call, call.account, customer)
    return call.account.save(customer, "customer.updated")


def _apply(call: Call, account: Account, customer: Doc) -> None:
    customer.update(call.given(*FIELDS))
    if "metadata" in call.params:
        customer["metadata"] = merged_metadata(customer["metadata"], call.params["metadata"])
    if "invoice_settings" in call.params:
        chosen = call.params["invoice_settings"].get("default_payment_method")
        if chosen:
            method = usable(account, chosen, customer["id"], "invoice_settings[default_payment_method]")
            if method["customer"] is None:
                account.save({**method, "customer": customer["id"]}, "payment_method.attached")
            chosen = method["id"]
        customer["invoice_settings"]["default_payment_method"] = chosen or None


def retrieve(call: Call) -> Doc:
    """Return a customer; of a deleted one only that it is deleted."""
    stub = call.account.deleted("customer", call.ids["id"])
    return stub or call.named("customer")


def delete(call: Call) -> Doc:
    """Delete a customer; its payments and invoices stay, its payment methods are detached."""
    account, customer = call.account, call.named("customer")
    while methods := account.store.select("payment_method", Selection({"customer": customer["id"]}), 100):
        for method in methods:
            account.save({**method, "customer": None, "_spent": True}, "payment_method.detached")
    account.emit("customer.deleted", customer)
    return account.mark_deleted("customer", customer["id"])


def listed(call: Call) -> Doc:
    """Return customers by e-mail (case-sensitive, as at Stripe) or creation time."""
    equal = {"email": call.params["email"]} if "email" in call.params else {}
    return page(call.account, "customer", call.params, Selection(equal, time_bounds(call.params, "created")))
