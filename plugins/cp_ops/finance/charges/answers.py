"""Read what Stripe said of a charge into a `Settlement`. Pure, and closed: every decline code is hard, soft or authentication.

Sources: docs.stripe.com/declines/codes; docs.stripe.com/billing/revenue-recovery/smart-retries (hard declines are
never tried again); the error's `advice_code` (docs.stripe.com/declines/card, "advice_code").
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class AttemptState(StrEnum):
    """Where an attempt to charge stands: column `state` of cp_ops.charge_intent."""

    PLANNED = "planned"
    SUBMITTING = "submitting"
    UNKNOWN = "unknown"
    PROCESSING = "processing"
    REQUIRES_ACTION = "requires_action"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class DeclineClass(StrEnum):
    """What to do after a decline."""

    HARD = "hard"
    SOFT = "soft"
    AUTHENTICATION = "authentication"
    NONE = ""


HARD = frozenset(
    """
    lost_card stolen_card pickup_card fraudulent merchant_blacklist restricted_card security_violation
    revocation_of_authorization revocation_of_all_authorizations stop_payment_order invalid_account
    new_account_information_available incorrect_number invalid_number expired_card invalid_expiry_month
    invalid_expiry_year card_not_supported currency_not_supported highest_risk_level transaction_not_allowed
    account_closed no_account debit_not_authorized bank_account_restricted bank_account_unusable
    payment_method_missing
    """.split()  # noqa: SIM905 - a table
)
"""Decline codes after which the same payment method will never work."""
AUTHENTICATION = frozenset(
    """
    authentication_required authentication_not_handled offline_pin_required payment_intent_authentication_failure
    """.split()  # noqa: SIM905 - a table
)
"""Decline codes with which the bank asks for the client."""
REFUSED = 400
"""HTTP statuses from here on are refusals."""


class OwnCode(StrEnum):
    """Why an attempt failed, where the reason is not one of Stripe's codes."""

    NEVER_ARRIVED = "never_arrived"
    CANCELED = "canceled"
    """Canceled when nobody owed it any more."""
    CANCELED_BY_HAND = "canceled_at_stripe"
    """Canceled by somebody else than this package, while it was owed."""
    EXPIRED = "authentication_expired"


OWN_CODES = frozenset(OwnCode)
PAYMENT_METHOD_MISSING = "payment_method_missing"
FAILURE_CODES = frozenset(
    """
    card_declined insufficient_funds expired_card incorrect_cvc processing_error authentication_required network_error
    """.split()  # noqa: SIM905 - a table
)
"""The application's own words for why a payment failed; the rest is `other`."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of an attempt.

    :param code: the decline code, else the error code; one of Stripe's words, or an `OwnCode`.
    :param charged_at: Unix seconds of the charge.
    """

    state: AttemptState
    payment_intent: str = ""
    code: str = ""
    decline: DeclineClass = DeclineClass.NONE
    charged_at: int | None = None

    @property
    def failure_code(self) -> str:
        """The application's word for the failure."""
        if self.code in FAILURE_CODES:
            return self.code
        return "card_declined" if self.decline is not DeclineClass.NONE else "other"

    @property
    def request_refused(self) -> bool:
        """Whether Stripe found fault with the request itself, which no card and no client can mend."""
        return self.state is AttemptState.FAILED and not self.decline and self.code not in OWN_CODES


def decline_class(code: str, advice: str = "") -> DeclineClass:
    """Tell what to do after a decline; an unknown code is soft, and so tried three more times at most."""
    if code in AUTHENTICATION:
        return DeclineClass.AUTHENTICATION
    if code in HARD or advice == "do_not_try_again":
        return DeclineClass.HARD
    return DeclineClass.SOFT


def read_payment_intent(intent: Mapping[str, Any]) -> Settlement:
    """Tell what a payment intent says became of the attempt."""
    status, key = intent["status"], str(intent["id"])
    if status == "succeeded":
        charge = intent.get("latest_charge")
        charged_at = charge["created"] if isinstance(charge, dict) else None
        return Settlement(AttemptState.SUCCEEDED, key, charged_at=charged_at)
    if status in ("processing", "requires_capture"):
        return Settlement(AttemptState.PROCESSING, key)
    if status in ("requires_action", "requires_confirmation"):
        return Settlement(
            AttemptState.REQUIRES_ACTION, key, "authentication_required", DeclineClass.AUTHENTICATION
        )
    if status == "canceled":
        return Settlement(AttemptState.FAILED, key, OwnCode.CANCELED)
    # What is left is requires_payment_method: the confirmation was declined, and the client may still pay this intent.
    return _declined(key, intent.get("last_payment_error") or {})


def read_answer(status: int, body: Mapping[str, Any]) -> Settlement:
    """Tell what Stripe's answer to the charge says became of it.

    A refused idempotency key means that the key was used with another request: whether that charged anything must be
    looked up.
    """
    if status < REFUSED:
        return read_payment_intent(body)
    if body.get("type") == "idempotency_error":
        return Settlement(AttemptState.UNKNOWN, code="idempotency_error")
    intent = str((body.get("payment_intent") or {}).get("id") or "")
    if body.get("type") == "card_error":
        return _declined(intent, body)
    code = str(body.get("code") or f"http_{status}")
    if code == "resource_missing" and body.get("param") in ("payment_method", "customer"):
        return Settlement(AttemptState.FAILED, intent, PAYMENT_METHOD_MISSING, DeclineClass.HARD)
    return Settlement(AttemptState.FAILED, intent, code)


def _declined(intent: str, error: Mapping[str, Any]) -> Settlement:
    code = str(error.get("decline_code") or error.get("code") or "generic_decline")
    decline = decline_class(code, str(error.get("advice_code") or ""))
    # The payment intent stays open after such a decline: the client can still confirm it, so it has not failed yet.
    waits = decline is DeclineClass.AUTHENTICATION
    return Settlement(AttemptState.REQUIRES_ACTION if waits else AttemptState.FAILED, intent, code, decline)
