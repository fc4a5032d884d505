"""Disputes as far as they are read or accepted (https://docs.stripe.com/api/disputes)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import invalid
from .pages import filters, page, time_bounds
from .store import Selection

if TYPE_CHECKING:
    from .account import Account
    from .call import Call
    from .shapes import Doc

CLOSED_DISPUTES = ("won", "lost", "warning_closed", "prevented")


def retrieve(call: Call) -> Doc:
    """Return a dispute by id."""
    return call.named("dispute")


def listed(call: Call) -> Doc:
    """Disputes by charge, payment intent and creation time."""
    equal = filters(call.account, call.params, "charge", "payment_intent")
    return page(call.account, "dispute", call.params, Selection(equal, time_bounds(call.params, "created")))


def accept(call: Call) -> Doc:
    """Accept a dispute, which loses it."""
    return close(call.account, call.named("dispute"), "lost")


def close(account: Account, dispute: Doc, status: str) -> Doc:
    """End a dispute as the bank decides: won or lost."""
    if dispute["status"] in CLOSED_DISPUTES:
        raise invalid("This dispute is already closed")
    if status not in CLOSED_DISPUTES:
        raise ValueError(f"a dispute ends as one of {', '.join(CLOSED_DISPUTES)}, not {status}")
    dispute["status"] = status
    return account.save(dispute, "charge.dispute.closed")
