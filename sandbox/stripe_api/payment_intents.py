"""Payment intents (https://docs.stripe.com/api/payment_intents)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import charging
from .account import Account, client_secret
from .currencies import check_charge_amount, checked_currency
from .errors import ApiError, bad_parameter, invalid
from .pages import filters, page, time_bounds
from .params import merged_metadata
from .payment_methods import usable
from .shapes import Doc, shown
from .store import Selection

if TYPE_CHECKING:
    from .call import Call

CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCELABLE = ("requires_payment_method", "requires_confirmation", "requires_action", "requires_capture")
CONFIRM_ONLY = ("off_session", "error_on_requires_action", "return_url", "use_stripe_sdk", "mandate")
_TEXTS = ("description", "receipt_email", "statement_descriptor", "statement_descriptor_suffix",
          "setup_future_usage", "transfer_group")  # fmt: skip


def new_intent(account: Account, **members: object) -> Doc:
    """Return a stored payment intent with its client secret."""
    intent = account.draft("payment_intent", **members)
    intent["client_secret"] = client_secret(intent["id"])
    return account.store.insert(intent)


def create(call: Call) -> Doc:
    """Create a payment intent; ``confirm`` charges at once."""
    account, params = call.account, call.params
    currency = checked_currency(params["currency"])
    check_charge_amount(params["amount"], currency)
    if not params.get("confirm"):
        for name in ("off_session", "error_on_requires_action", "mandate"):
            if name in params:
                raise bad_parameter(
                    f"The parameter `{name}` cannot be passed unless `confirm` is true.", param=name
                )
    if "customer" in params:
        account.find("customer", params["customer"], param="customer")
    intent = new_intent(
        account, amount=params["amount"], currency=currency, customer=params.get("customer"),
        metadata=merged_metadata({}, params.get("metadata")), **call.given(*_TEXTS),
    )  # fmt: skip
    _choose_types(call, intent)
    if "payment_method" in params:
        method = usable(account, params["payment_method"], intent["customer"])
        intent.update(payment_method=method["id"], status="requires_confirmation")
    account.save(intent, "payment_intent.created")
    return confirm_intent(call, intent) if params.get("confirm") else intent


def _choose_types(call: Call, intent: Doc) -> None:
    if "allowed_payment_method_types" in call.params:
        allowed = call.params["allowed_payment_method_types"]
        intent.update(allowed_payment_method_types=allowed, payment_method_types=allowed)
    else:
        automatic = call.get("automatic_payment_methods", {"enabled": True})
        intent["automatic_payment_methods"] = {"allow_redirects": "always", **automatic}
        intent["payment_method_types"] = ["card", "us_bank_account", "sepa_debit"]
    intent["confirmation_method"] = call.get("confirmation_method", "automatic")


def confirm(call: Call) -> Doc:
    """Confirm: charge the payment method now."""
    return confirm_intent(call, call.named("payment_intent"))


def confirm_intent(call: Call, intent: Doc) -> Doc:
    """Charge an intent with the call's payment method, or the one it has."""
    account, params = call.account, call.params
    if intent["status"] not in CONFIRMABLE:
        raise unexpected_state(intent, "confirm")
    if (
        "payment_method" in params
        and params["payment_method"] != intent["payment_method"]
        and "id" in call.ids
    ):
        intent["payment_method"] = usable(account, params["payment_method"], intent["customer"])["id"]
    if intent["payment_method"] is None:
        raise invalid(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update "
            "the PaymentIntent with a payment method and then confirm it again, or confirm it again directly with "
            "a payment method or ConfirmationToken.",
            code="payment_intent_unexpected_state",
            payment_intent=shown(intent),
        )
    method = usable(account, intent["payment_method"], intent["customer"])
    return charging.attempt(
        account,
        intent,
        method,
        off_session=bool(params.get("off_session")),
        error_on_requires_action=bool(params.get("error_on_requires_action")),
    )


def unexpected_state(intent: Doc, verb: str) -> ApiError:
    """Stripe's refusal of a verb in the wrong state."""
    return invalid(
        f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}.",
        code="payment_intent_unexpected_state",
        payment_intent=shown(intent),
    )


def _check_not_default(intent: Doc, verb: str) -> None:
    if intent.get("_invoice"):
        raise invalid(
            f"You cannot {verb} this PaymentIntent because it is the default payment of the invoice "
            f"{intent['_invoice']}; void, pay or change the invoice instead.",
            code="payment_intent_unexpected_state",
            payment_intent=shown(intent),
        )


def update(call: Call) -> Doc:
    """Change an intent that is not yet confirmed."""
    account, params, intent = call.account, call.params, call.named("payment_intent")
    protected = {"amount", "currency", "customer", "payment_method"} & params.keys()
    if protected and intent["status"] not in CONFIRMABLE:
        raise unexpected_state(intent, f"update {', '.join(sorted(protected))} of")
    if protected:
        _check_not_default(intent, "modify")
    if "customer" in params and intent["customer"] not in (None, params["customer"]):
        raise invalid(
            "You cannot modify `customer` on a PaymentIntent once it already has been set. To fulfill a payment "
            "with a different Customer, cancel this PaymentIntent and create a new one.",
            param="customer",
        )
    if "customer" in params:
        intent["customer"] = account.find("customer", params["customer"], param="customer")["id"]
    if "amount" in params or "currency" in params:
        intent["currency"] = checked_currency(params.get("currency", intent["currency"]))
        intent["amount"] = params.get("amount", intent["amount"])
        check_charge_amount(intent["amount"], intent["currency"])
    intent.update(call.given(*_TEXTS))
    if "metadata" in params:
        intent["metadata"] = merged_metadata(intent["metadata"], params["metadata"])
    if "payment_method" in params:
        method = usable(account, params["payment_method"], intent["customer"])
        intent.update(payment_method=method["id"], status="requires_confirmation")
    return account.save(intent)


def cancel(call: Call) -> Doc:
    """Cancel an intent that moved no money yet; a processing debit can no longer be canceled."""
    intent = call.named("payment_intent")
    if intent["status"] not in CANCELABLE:
        raise unexpected_state(intent, "cancel")
    _check_not_default(intent, "cancel")
    intent.update(
        status="canceled", canceled_at=call.account.now(), next_action=None,
        cancellation_reason=call.get("cancellation_reason"),
    )  # fmt: skip
    return call.account.save(intent, "payment_intent.canceled")


def retrieve(call: Call) -> Doc:
    """Return an intent by id."""
    return call.named("payment_intent")


def listed(call: Call) -> Doc:
    """Intents by customer and creation time; there is no status filter."""
    selection = Selection(filters(call.account, call.params, "customer"), time_bounds(call.params, "created"))
    return page(call.account, "payment_intent", call.params, selection)
