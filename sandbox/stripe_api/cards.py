"""Test payment methods and what happens when they are charged.

https://docs.stripe.com/testing lists the names; https://docs.stripe.com/declines/codes the decline codes.
``pm_sepaDebit`` and its variants are this sandbox's own names, for bank debits in euro.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Outcome:
    """How an attempt ends.

    ``step`` is what happens at once. ``code``, ``decline_code`` and ``advice_code`` are those of the error;
    ``settles`` is how a bank debit ends (None: never by itself); ``disputed`` opens a dispute after the charge.
    """

    step: Literal["succeeded", "declined", "requires_action", "processing"]
    code: str | None = None
    decline_code: str | None = None
    message: str = ""
    advice_code: str | None = None
    settles: str | None = None
    disputed: bool = False


_RETRY, _STOP, _CONFIRM = "try_again_later", "do_not_try_again", "confirm_card_data"


def _declined(decline_code: str, advice: str, message: str = "Your card was declined.") -> Outcome:
    return Outcome("declined", "card_declined", decline_code, message, advice)


OUTCOMES: dict[str, Outcome] = {
    "succeeded": Outcome("succeeded"),
    "disputed": Outcome("succeeded", disputed=True),
    "expired_card": Outcome("declined", "expired_card", "expired_card", "Your card has expired.", _STOP),
    "incorrect_cvc": Outcome(
        "declined", "incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.", _CONFIRM
    ),
    "incorrect_number": Outcome(
        "declined", "incorrect_number", "incorrect_number", "Your card number is incorrect.", _CONFIRM
    ),
    "processing_error": Outcome(
        "declined",
        "processing_error",
        "processing_error",
        "An error occurred while processing your card. Try again in a little bit.",
        _RETRY,
    ),
    "authentication_required": Outcome(
        "declined",
        "authentication_required",
        "authentication_required",
        "Your card was declined. This transaction requires authentication.",
    ),
    "insufficient_funds": _declined("insufficient_funds", _RETRY, "Your card has insufficient funds."),
    "generic_decline": _declined("generic_decline", _RETRY),
    "requires_action": Outcome("requires_action"),
    "processing": Outcome("processing", settles="succeeded"),
    "processing_forever": Outcome("processing"),
    "processing_then_insufficient_funds": Outcome("processing", settles="insufficient_funds"),
    "processing_then_account_closed": Outcome("processing", settles="account_closed"),
    "processing_then_no_account": Outcome("processing", settles="no_account"),
    "processing_then_debit_not_authorized": Outcome("processing", settles="debit_not_authorized"),
} | {
    code: _declined(code, advice)
    for advice, codes in {
        _RETRY: "approve_with_id do_not_honor issuer_not_available reenter_transaction try_again_later "
        "card_velocity_exceeded withdrawal_count_limit_exceeded no_action_taken service_not_allowed "
        "transaction_not_allowed call_issuer",
        _STOP: "lost_card stolen_card pickup_card fraudulent merchant_blacklist restricted_card revocation_of_all_"
        "authorizations revocation_of_authorization security_violation stop_payment_order invalid_account "
        "new_account_information_available card_not_supported currency_not_supported highest_risk_level",
        _CONFIRM: "invalid_number invalid_cvc invalid_expiry_month invalid_expiry_year incorrect_zip pin_try_exceeded",
    }.items()
    for code in codes.split()
}


@dataclass(frozen=True)
class TestMethod:
    """What a test token stands for."""

    type: str
    outcome: str
    brand: str = "visa"
    last4: str = "4242"
    declines_on_attach: bool = False


def _card(outcome: str, last4: str) -> TestMethod:
    return TestMethod("card", outcome, last4=last4, declines_on_attach=OUTCOMES[outcome].code is not None)


def _debit(kind: str, outcome: str, last4: str) -> TestMethod:
    return TestMethod(kind, outcome, brand="", last4=last4)


TOKENS: dict[str, TestMethod] = {
    "pm_card_visa": _card("succeeded", "4242"),
    "pm_card_mastercard": TestMethod("card", "succeeded", "mastercard", "4444"),
    "pm_card_amex": TestMethod("card", "succeeded", "amex", "8431"),
    "pm_card_chargeCustomerFail": TestMethod("card", "generic_decline", last4="0341"),
    "pm_card_createDispute": _card("disputed", "0259"),
    "pm_card_chargeDeclined": _card("generic_decline", "0002"),
    "pm_card_chargeDeclinedInsufficientFunds": _card("insufficient_funds", "9995"),
    "pm_card_chargeDeclinedLostCard": _card("lost_card", "9987"),
    "pm_card_chargeDeclinedStolenCard": _card("stolen_card", "9979"),
    "pm_card_chargeDeclinedFraudulent": _card("fraudulent", "0019"),
    "pm_card_chargeDeclinedVelocityLimitExceeded": _card("card_velocity_exceeded", "6975"),
    "pm_card_chargeDeclinedExpiredCard": _card("expired_card", "0069"),
    "pm_card_chargeDeclinedIncorrectCvc": _card("incorrect_cvc", "0127"),
    "pm_card_chargeDeclinedProcessingError": _card("processing_error", "0119"),
    "pm_card_authenticationRequired": TestMethod("card", "authentication_required", last4="3184"),
    "pm_card_threeDSecure2Required": TestMethod("card", "authentication_required", last4="3220"),
} | {
    f"{name}{suffix}": _debit(kind, outcome, last4)
    for name, kind in (("pm_usBankAccount", "us_bank_account"), ("pm_sepaDebit", "sepa_debit"))
    for suffix, outcome, last4 in (
        ("", "processing", "6789"),
        ("_success", "processing", "6789"),
        ("_processing", "processing_forever", "4441"),
        ("_insufficientFunds", "processing_then_insufficient_funds", "2227"),
        ("_accountClosed", "processing_then_account_closed", "1113"),
        ("_noAccount", "processing_then_no_account", "1116"),
        ("_debitNotAuthorized", "processing_then_debit_not_authorized", "3335"),
    )
}
# Stripe has both spellings for its Visa declines.
TOKENS |= {
    name.replace("pm_card_", "pm_card_visa_"): method
    for name, method in TOKENS.items()
    if name.startswith("pm_card_chargeDeclined")
}
DEBIT_CURRENCY = {"us_bank_account": "usd", "sepa_debit": "eur"}
