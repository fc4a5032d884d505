"""Payment methods (https://docs.stripe.com/api/payment_methods)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .cards import OUTCOMES, TOKENS, TestMethod
from .errors import ApiError, bad_parameter, invalid
from .pages import filters, page
from .params import merged_metadata
from .shapes import Doc, billing_details
from .store import Selection

if TYPE_CHECKING:
    from .account import Account
    from .call import Call

_NOT_AGAIN = (
    "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared with "
    "a connected account without Customer attachment, or was detached from a Customer. It may not be used again. "
    "To use a PaymentMethod multiple times, you must attach it to a Customer first."
)


def from_token(account: Account, token: str) -> Doc:
    """Return a new payment method made from a test token such as ``pm_card_visa``."""
    method = TOKENS[token]
    return account.make(
        "payment_method", type=method.type, _outcome=method.outcome, **_details(method, token)
    )


def _details(method: TestMethod, token: str) -> Doc:
    if method.type == "card":
        details: Doc = {
            "brand": method.brand, "country": "US", "display_brand": method.brand, "exp_month": 12,
            "exp_year": 2034, "fingerprint": f"fp_{method.last4}", "funding": "credit", "generated_from": None,
            "last4": method.last4, "networks": {"available": [method.brand], "preferred": None},
            "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
            "regulated_status": "unregulated", "three_d_secure_usage": {"supported": True}, "wallet": None,
        }  # fmt: skip
    elif method.type == "us_bank_account":
        details = {
            "account_holder_type": "company", "account_type": "checking", "bank_name": "STRIPE TEST BANK",
            "financial_connections_account": None, "fingerprint": f"fp_{method.last4}", "last4": method.last4,
            "networks": {"preferred": "ach", "supported": ["ach"]}, "routing_number": "110000000",
            "status_details": {},
        }  # fmt: skip
    else:
        details = {
            "bank_code": "37040044", "branch_code": "", "country": "DE", "fingerprint": f"fp_{method.last4}",
            "generated_from": {"charge": None, "setup_attempt": None}, "last4": method.last4,
        }  # fmt: skip
    return {method.type: details, "_token": token}


def usable(account: Account, method_id: str, customer: str | None, param: str = "payment_method") -> Doc:
    """Return the payment method for a payment of ``customer``; another customer's, or a spent one, is refused."""
    if method_id in TOKENS:
        return from_token(account, method_id)
    method = account.find("payment_method", method_id, param=param)
    owner = method["customer"]
    if owner and customer is None:
        raise invalid(
            f"The `payment_method` parameter supplied {method_id} belongs to the Customer {owner}. Please include "
            "the Customer in the `customer` parameter on the PaymentIntent.",
            param=param,
        )
    if owner and owner != customer:
        raise invalid(
            f"The customer does not have a payment method with the ID {method_id}. The payment method must be "
            "attached to the customer.",
            param=param,
            code="resource_missing",
        )
    if owner is None and method.get("_spent"):
        raise invalid(_NOT_AGAIN, param=param)
    return method


def attach(call: Call) -> Doc:
    """Attach to a customer; a test token becomes a payment method of that customer."""
    account, token = call.account, call.ids["id"]
    if "customer" not in call.params:
        raise bad_parameter("Missing required param: customer.", param="customer", code="parameter_missing")
    customer = account.find("customer", call.params["customer"], param="customer")
    method = from_token(account, token) if token in TOKENS else call.named("payment_method")
    if method["customer"] == customer["id"]:
        return method
    if method["customer"]:
        raise invalid("The payment method you provided has already been attached to a customer.")
    if method.get("_spent"):
        raise invalid(_NOT_AGAIN)
    known = TOKENS.get(method.get("_token", ""))
    if account.settings.attach_declines and known and known.declines_on_attach:
        outcome = OUTCOMES[known.outcome]
        raise ApiError(
            402, outcome.message, kind="card_error", code=outcome.code, decline_code=outcome.decline_code
        )
    method["customer"] = customer["id"]
    return account.save(method, "payment_method.attached")


def detach(call: Call) -> Doc:
    """Detach from its customer, for good."""
    method = call.named("payment_method")
    if method["customer"] is None:
        raise invalid(
            "The payment method you provided is not attached to a customer so detachment is impossible."
        )
    method.update(customer=None, _spent=True)
    return call.account.save(method, "payment_method.detached")


def create(call: Call) -> Doc:
    """Return a payment method from ``card[token]=tok_...``; raw card numbers are refused, as for most accounts."""
    card, token = call.get("card"), None
    if call.get("type") != "card" or not isinstance(card, dict):
        raise bad_parameter(
            "The sandbox creates payment methods of type card; for bank debits attach pm_usBankAccount.",
            param="type",
            code="sandbox_unsupported",
        )
    if "number" in card:
        raise ApiError(
            402,
            "Sending credit card numbers directly to the Stripe API is generally unsafe. We suggest you use test "
            "tokens that map to the test card you are using, see https://stripe.com/docs/testing.",
            kind="card_error",
        )
    token = str(card.get("token", "")).replace("tok_", "pm_card_", 1)
    if token not in TOKENS:
        raise invalid(f"No such token: '{card.get('token')}'", param="card[token]", code="resource_missing")
    method = from_token(call.account, token)
    method["metadata"] = merged_metadata({}, call.get("metadata"))
    method["billing_details"] = {**billing_details(), **call.get("billing_details", {})}
    return call.account.save(method)


def update(call: Call) -> Doc:
    """Change metadata or billing details."""
    method = call.named("payment_method")
    if "metadata" in call.params:
        method["metadata"] = merged_metadata(method["metadata"], call.params["metadata"])
    method["billing_details"] = {**method["billing_details"], **(call.get("billing_details") or {})}
    return call.account.save(method, "payment_method.updated")


def listed(call: Call) -> Doc:
    """Payment methods of one customer, from either of the two list endpoints."""
    params = dict(call.params)
    url = "/v1/payment_methods"
    if "id" in call.ids:
        params["customer"] = call.named("customer")["id"]
        url = f"/v1/customers/{params['customer']}/payment_methods"
    equal = filters(call.account, params, "customer", "type")
    return page(call.account, "payment_method", params, Selection(equal), url)


def retrieve_of_customer(call: Call) -> Doc:
    """One payment method through its customer."""
    method = call.account.find("payment_method", call.ids["method"], in_path=True)
    if method["customer"] != call.named("customer")["id"]:
        raise ApiError(404, f"No such PaymentMethod: '{method['id']}'", code="resource_missing", param="id")
    return method


def script(account: Account, method_id: str, outcomes: list[str]) -> Doc:
    """Decide the outcomes of the next attempts with a payment method, in order; then it is as before."""
    unknown = [name for name in outcomes if name not in OUTCOMES]
    if unknown:
        raise ValueError(f"no such outcome: {', '.join(unknown)} (known: {', '.join(sorted(OUTCOMES))})")
    method = account.find("payment_method", method_id)
    return account.save({**method, "_script": list(outcomes)})
