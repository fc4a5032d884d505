"""Cursor pages, newest first (https://docs.stripe.com/api/pagination), and search results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .catalog import KINDS
from .errors import bad_parameter, invalid, no_such

if TYPE_CHECKING:
    from .account import Account
    from .shapes import Doc
    from .store import Selection

PAGE_PARAMS = ("limit", "starting_after", "ending_before")
_OPERATORS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def page_limit(params: Doc) -> int:
    """1 to 100, 10 when not given."""
    limit = params.get("limit", 10)
    if not 1 <= limit <= 100:
        bound = "less than or equal to 100" if limit > 100 else "greater than or equal to 1"
        raise bad_parameter(
            f"This value must be {bound} (given: {limit}).", param="limit", code="parameter_invalid_integer"
        )
    return int(limit)


def time_bounds(params: Doc, name: str) -> list[tuple[str, str, int]]:
    """Return ``created`` or ``due_date``: one timestamp, or gt, gte, lt, lte."""
    value = params.get(name)
    if value is None:
        return []
    if isinstance(value, int):
        return [(name, "=", value)]
    return [(name, _OPERATORS[operator], bound) for operator, bound in value.items()]


def list_object(url: str, data: list[Doc], *, has_more: bool) -> Doc:
    """Stripe's list envelope."""
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def page(account: Account, kind: str, params: Doc, selection: Selection, url: str | None = None) -> Doc:
    """Return the page of ``kind`` that ``params`` ask for among the selected objects."""
    limit = page_limit(params)
    after, before = params.get("starting_after"), params.get("ending_before")
    if after and before:
        raise invalid(
            "Received both starting_after and ending_before parameters. Please pass in only one.",
            param="ending_before",
        )
    docs = account.store.select(
        kind,
        selection,
        limit + 1,
        after=_cursor(account, kind, after, "starting_after"),
        before=_cursor(account, kind, before, "ending_before"),
    )
    has_more = len(docs) > limit
    docs = docs[1:] if has_more and before else docs[:limit]
    return list_object(url or f"/v1/{KINDS[kind].path}", docs, has_more=has_more)


def page_of(items: list[Doc], params: Doc, url: str) -> Doc:
    """Return a page of a list that is held inside one object (an invoice's lines), in its own order."""
    limit, start = page_limit(params), 0
    ids = [item["id"] for item in items]
    if after := params.get("starting_after"):
        if after not in ids:
            raise no_such("line_item", after, param="starting_after")
        start = ids.index(after) + 1
    return list_object(url, items[start : start + limit], has_more=len(items) > start + limit)


def filters(account: Account, params: Doc, *names: str) -> dict[str, Any]:
    """Equality filters among ``params``; a customer that does not exist is an error, as at Stripe."""
    equal = {name: params[name] for name in names if name in params}
    if "customer" in equal:
        account.find("customer", equal["customer"], param="customer")
    return equal


def _cursor(account: Account, kind: str, object_id: str | None, param: str) -> tuple[int, int] | None:
    if object_id is None:
        return None
    position = account.store.position(kind, object_id)
    if position is None:
        raise no_such(kind, object_id, param=param)
    return position
