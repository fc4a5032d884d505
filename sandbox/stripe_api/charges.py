"""Charges as they are read; payment intents make them (https://docs.stripe.com/api/charges)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .pages import filters, page, time_bounds
from .store import Selection

if TYPE_CHECKING:
    from .call import Call
    from .shapes import Doc


def retrieve(call: Call) -> Doc:
    """Return a charge by id."""
    return call.named("charge")


def listed(call: Call) -> Doc:
    """Charges, failed ones too, by customer, payment intent and creation time."""
    equal = filters(call.account, call.params, "customer", "payment_intent")
    return page(call.account, "charge", call.params, Selection(equal, time_bounds(call.params, "created")))
