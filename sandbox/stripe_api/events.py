"""Events of the last 30 days (https://docs.stripe.com/api/events)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import bad_parameter, no_such
from .pages import page, time_bounds
from .store import Selection

if TYPE_CHECKING:
    from .account import Account
    from .call import Call
    from .shapes import Doc


def retrieve(call: Call) -> Doc:
    """Return an event of the last 30 days."""
    event = call.named("event")
    if event["created"] <= _oldest_event(call.account):
        raise no_such("event", event["id"], in_path=True)
    return event


def listed(call: Call) -> Doc:
    """Events of the last 30 days by type (or up to 20 types) and creation time."""
    params = call.params
    equal = {"type": params["type"]} if "type" in params else {}
    types = params.get("types", [])
    if types and equal:
        raise bad_parameter("You may pass either `type` or `types`, not both.", param="types")
    if len(types) > 20:
        raise bad_parameter("You may specify up to 20 event types.", param="types")
    between = [*time_bounds(params, "created"), ("created", ">", _oldest_event(call.account))]
    return page(call.account, "event", params, Selection(equal, between, {"type": types} if types else {}))


def _oldest_event(account: Account) -> int:
    return account.now() - account.settings.event_retention
