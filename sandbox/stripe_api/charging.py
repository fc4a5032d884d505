"""One attempt to charge a payment method for a payment intent, and what becomes of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import invoice_settlement
from .cards import DEBIT_CURRENCY, OUTCOMES, Outcome
from .catalog import new_id
from .errors import DOC_URL, ApiError, invalid
from .shapes import Doc, shown
from .store import Selection

if TYPE_CHECKING:
    from .account import Account


def attempt(
    account: Account, intent: Doc, method: Doc, *, off_session: bool, error_on_requires_action: bool = False
) -> Doc:
    """Charge ``method``: the intent ends succeeded, processing, requires_action or requires_payment_method.

    Raises ``ApiError`` 402 for a decline; the failed charge and the intent's new state are kept.
    """
    _check_currency(intent, method)
    outcome = OUTCOMES[_next_outcome(account, method)]
    if method["customer"] is None:
        account.save({**method, "_spent": True})
    intent.update(payment_method=method["id"], next_action=None, last_payment_error=None)
    intent["_idempotency_key"] = account.request.idempotency_key
    if outcome.code == "authentication_required" and not off_session:
        outcome = OUTCOMES["requires_action"]
    if outcome.step == "requires_action" and error_on_requires_action:
        outcome = OUTCOMES["authentication_required"]
    if outcome.step == "requires_action":
        return _ask_for_action(account, intent)
    if outcome.step == "processing":
        return _start_debit(account, intent, method, outcome)
    if outcome.step == "succeeded":
        return succeed(account, intent, _charge(account, intent, method), disputed=outcome.disputed)
    raise fail(account, intent, _charge(account, intent, method), method, outcome)


def _check_currency(intent: Doc, method: Doc) -> None:
    wanted = DEBIT_CURRENCY.get(method["type"])
    if wanted and intent["currency"] != wanted:
        raise invalid(
            f"The currency provided ({intent['currency']}) is invalid for {method['type']}. "
            f"Payments with {method['type']} support the following currencies: {wanted}.",
            param="currency",
        )


def _next_outcome(account: Account, method: Doc) -> str:
    if script := method.get("_script"):
        method["_script"] = script[1:]
        account.save(method)
        return str(script[0])
    return str(method.get("_outcome", "succeeded"))


def _charge(account: Account, intent: Doc, method: Doc) -> Doc:
    details: Doc = {"type": method["type"], method["type"]: dict(method.get(method["type"], {}))}
    return account.draft(
        "charge",
        amount=intent["amount"],
        currency=intent["currency"],
        customer=intent["customer"],
        description=intent["description"],
        metadata=dict(intent["metadata"]),
        payment_intent=intent["id"],
        payment_method=method["id"],
        payment_method_details=details,
        billing_details=method["billing_details"],
        receipt_email=intent["receipt_email"],
        status="pending",
    )


def _outcome_details(kind: str, network: str, reason: str | None, message: str, advice: str | None) -> Doc:
    return {
        "advice_code": advice, "network_advice_code": None, "network_decline_code": None,
        "network_status": network, "reason": reason, "risk_level": "normal", "risk_score": 12,
        "seller_message": message, "type": kind,
    }  # fmt: skip


def succeed(account: Account, intent: Doc, charge: Doc, *, disputed: bool = False) -> Doc:
    """Book a successful charge: charge, intent, ledger, the invoices that it pays."""
    amount = charge["amount"]
    charge.update(
        status="succeeded", paid=True, captured=True, amount_captured=amount, balance_transaction=new_id("txn"),
        outcome=_outcome_details("authorized", "approved_by_network", None, "Payment complete.", None),
    )  # fmt: skip
    if account.store.get("charge", charge["id"]) is None:
        account.store.insert(charge)
    account.save(charge, "charge.succeeded")
    intent.update(
        status="succeeded",
        amount_received=amount,
        latest_charge=charge["id"],
        processing=None,
        next_action=None,
    )
    account.save(intent, "payment_intent.succeeded")
    account.ledger.record("charge", account.now(), charge, intent.get("_idempotency_key"))
    invoice_settlement.intent_succeeded(account, intent)
    if disputed:
        open_dispute(account, charge, "fraudulent")
    return intent


def fail(account: Account, intent: Doc, charge: Doc, method: Doc, outcome: Outcome) -> ApiError:
    """Book a failed charge and return the error that tells of it."""
    charge.update(
        status="failed", failure_code=outcome.code, failure_message=outcome.message,
        outcome=_outcome_details(
            "issuer_declined", "declined_by_network", outcome.decline_code,
            "The bank did not return any further details with this decline.", outcome.advice_code),
    )  # fmt: skip
    if account.store.get("charge", charge["id"]) is None:
        account.store.insert(charge)
    account.save(charge, "charge.failed")
    fields: dict[str, Any] = {
        "charge": charge["id"],
        "decline_code": outcome.decline_code,
        "advice_code": outcome.advice_code,
        "payment_method": shown(method),
    }
    error: Doc = {
        "code": outcome.code,
        "doc_url": f"{DOC_URL}/{str(outcome.code).replace('_', '-')}",
        "message": outcome.message,
        "type": "card_error",
        **{name: value for name, value in fields.items() if value is not None},
    }
    intent.update(
        status="requires_payment_method", payment_method=None, processing=None, next_action=None,
        latest_charge=charge["id"], last_payment_error=error,
    )  # fmt: skip
    account.save(intent, "payment_intent.payment_failed")
    invoice_settlement.intent_failed(account, intent)
    return ApiError(
        402,
        outcome.message,
        kind="card_error",
        code=outcome.code,
        keeps_effect=True,
        payment_intent=shown(intent),
        **fields,
    )


def _ask_for_action(account: Account, intent: Doc) -> Doc:
    url = f"https://hooks.stripe.com/redirect/authenticate/{intent['id']}?client_secret={intent['client_secret']}"
    intent.update(
        status="requires_action",
        next_action={"type": "redirect_to_url", "redirect_to_url": {"return_url": None, "url": url}},
    )
    account.save(intent, "payment_intent.requires_action")
    invoice_settlement.intent_requires_action(account, intent)
    return intent


def _start_debit(account: Account, intent: Doc, method: Doc, outcome: Outcome) -> Doc:
    charge = _charge(account, intent, method)
    account.store.insert(charge)
    account.emit("charge.pending", charge)
    intent.update(status="processing", latest_charge=charge["id"], processing={"type": method["type"]})
    intent["_settles"] = outcome.settles
    account.save(intent, "payment_intent.processing")
    if outcome.settles:
        account.store.db.execute(
            "INSERT OR REPLACE INTO settlement VALUES (?, ?)",
            (intent["id"], account.now() + account.settings.settlement_delay),
        )
    return intent


def settle(account: Account, intent_id: str, result: str | None = None) -> Doc:
    """End a processing payment: ``succeeded`` or a failure code; default is what its test account says."""
    intent = account.find("payment_intent", intent_id)
    if intent["status"] != "processing":
        raise invalid(f"The PaymentIntent has a status of {intent['status']}, it is not processing.")
    account.store.db.execute("DELETE FROM settlement WHERE payment_intent = ?", (intent_id,))
    charge = account.find("charge", intent["latest_charge"])
    result = result or intent.get("_settles") or "succeeded"
    if result == "succeeded":
        return succeed(account, intent, charge)
    method = account.find("payment_method", intent["payment_method"])
    message = f"The payment failed: {result.replace('_', ' ')}."
    fail(account, intent, charge, method, Outcome("declined", result, None, message))
    return intent


def settle_due(account: Account) -> int:
    """Settle the debits whose time has come; how many."""
    due = account.store.db.execute(
        "SELECT payment_intent FROM settlement WHERE due <= ? ORDER BY due", (account.now(),)
    ).fetchall()
    for (intent_id,) in due:
        settle(account, intent_id)
    return len(due)


def authenticate(account: Account, intent_id: str, *, succeeds: bool = True) -> Doc:
    """Complete (or fail) the authentication that a payment waits for, as its customer."""
    intent = account.find("payment_intent", intent_id)
    if intent["status"] != "requires_action":
        raise invalid(f"The PaymentIntent has a status of {intent['status']}, it asks for no action.")
    method = account.find("payment_method", intent["payment_method"])
    charge = _charge(account, intent, method)
    if succeeds:
        return succeed(account, intent, charge)
    message = "We are unable to authenticate your payment method. Please choose a different payment method and try again."
    fail(
        account,
        intent,
        charge,
        method,
        Outcome("declined", "payment_intent_authentication_failure", None, message),
    )
    return intent


def open_dispute(
    account: Account,
    charge: Doc,
    reason: str = "general",
    amount: int | None = None,
    status: str = "needs_response",
) -> Doc:
    """Open a dispute, as the customer's bank does."""
    if account.store.count("dispute", Selection({"charge": charge["id"]})):
        raise invalid(f"Charge {charge['id']} has already been disputed.")
    dispute = account.make(
        "dispute",
        amount=amount or charge["amount"],
        charge=charge["id"],
        currency=charge["currency"],
        payment_intent=charge["payment_intent"],
        reason=reason,
        status=status,
    )
    charge["disputed"] = True
    account.save(charge, "charge.updated")
    account.emit("charge.dispute.created", dispute)
    return dispute
