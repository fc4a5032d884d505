"""Refunds (https://docs.stripe.com/api/refunds)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .currencies import check_granularity, display
from .errors import bad_parameter, invalid
from .pages import filters, page, time_bounds
from .params import merged_metadata
from .store import Selection

if TYPE_CHECKING:
    from .account import Account
    from .call import Call
    from .shapes import Doc


def create(call: Call) -> Doc:
    """Refund a charge, or the charge of a payment intent, in whole or in part."""
    account, params = call.account, call.params
    charge = _charge_to_refund(account, params)
    left = charge["amount_captured"] - charge["amount_refunded"]
    amount = params.get("amount", left)
    if charge["disputed"]:
        raise invalid(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed"
        )
    if left == 0:
        raise invalid(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    if amount < 1:
        raise bad_parameter("Invalid positive integer", param="amount", code="parameter_invalid_integer")
    check_granularity(amount, charge["currency"])
    if amount > left:
        raise invalid(
            f"Refund amount ({display(amount, charge['currency'])}) is greater than unrefunded amount on charge "
            f"({display(left, charge['currency'])})",
            param="amount",
        )
    made = account.make(
        "refund", amount=amount, charge=charge["id"], currency=charge["currency"], customer=charge["customer"],
        payment_intent=charge["payment_intent"], reason=params.get("reason"),
        metadata=merged_metadata({}, params.get("metadata")),
    )  # fmt: skip
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    account.save(charge, "charge.refunded")
    account.emit("refund.created", made)
    account.ledger.record("refund", account.now(), made, account.request.idempotency_key)
    return made


def fail(account: Account, refund: Doc, reason: str = "unknown") -> Doc:
    """Let a refund fail after the fact: the customer's bank did not take it, and its amount is the account's again.

    https://docs.stripe.com/refunds (failed refunds).
    """
    if refund["status"] != "succeeded":
        raise invalid(f"Refund {refund['id']} is {refund['status']}; only one that succeeded can fail later.")
    refund.update(status="failed", failure_reason=reason)
    charge = account.find("charge", refund["charge"])
    charge["amount_refunded"] -= refund["amount"]
    charge["refunded"] = False
    account.store.save(charge)
    account.ledger.record("refund_failure", account.now(), refund, None)
    return account.save(refund, "refund.updated", "charge.refund.updated", "refund.failed")


def _charge_to_refund(account: Account, params: Doc) -> Doc:
    if "charge" in params:
        charge = account.find("charge", params["charge"], param="charge")
    elif "payment_intent" in params:
        intent = account.find("payment_intent", params["payment_intent"], param="payment_intent")
        if intent["status"] != "succeeded":
            raise invalid(
                f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
                param="payment_intent",
            )
        charge = account.find("charge", intent["latest_charge"])
    else:
        raise bad_parameter(
            "One of the following params should be provided for this request: payment_intent or charge.",
            param="charge",
        )
    if charge["status"] != "succeeded":
        raise invalid(f"Charge {charge['id']} did not succeed; there is nothing to refund.", param="charge")
    return charge


def update(call: Call) -> Doc:
    """Change a refund's metadata."""
    made = call.named("refund")
    made["metadata"] = merged_metadata(made["metadata"], call.params.get("metadata"))
    return call.account.save(made, "refund.updated")


def retrieve(call: Call) -> Doc:
    """Return a refund by id."""
    return call.named("refund")


def listed(call: Call) -> Doc:
    """Refunds by charge, payment intent and creation time; of one charge under its own path."""
    params = call.params | ({"charge": call.named("charge")["id"]} if "id" in call.ids else {})
    url = f"/v1/charges/{call.ids['id']}/refunds" if "id" in call.ids else None
    selection = Selection(
        filters(call.account, params, "charge", "payment_intent"), time_bounds(params, "created")
    )
    return page(call.account, "refund", params, selection, url)
