"""``expand``: ids replaced by objects, at most four levels deep (https://docs.stripe.com/api/expanding_objects)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .catalog import KINDS
from .errors import ApiError, bad_parameter
from .invoice_lines import shown_lines
from .pages import page_of
from .shapes import Doc, shown
from .store import Selection

if TYPE_CHECKING:
    from .account import Account

MAX_LEVELS = 4
INLINED = 10
OFF_STRIPE = "amount_paid_off_stripe"
"""The one amount that only ``expand`` shows."""
Permit = Callable[[str], None]


def check_depth(paths: list[str]) -> None:
    """Refuse a path of more than four levels; ``data`` of a list counts as one."""
    if any(path.count(".") >= MAX_LEVELS for path in paths):
        raise bad_parameter("You cannot expand more than 4 levels of a property.", param="expand")


class Renderer:
    """Turns stored objects into answers; one per request.

    ``permit`` is called with each kind that is read for the answer and raises if the key may not read it.
    """

    def __init__(self, account: Account, permit: Permit) -> None:
        self._account = account
        self._permit = permit

    def render(self, answer: Doc, paths: list[str]) -> Doc:
        """Return the answer with every path expanded."""
        check_depth(paths)
        if answer.get("object") in ("list", "search_result"):
            return self._rendered_list(answer, [path.split(".") for path in paths], [])
        return self._rendered(answer, [path.split(".") for path in paths], [])

    def _rendered_list(self, answer: Doc, paths: list[list[str]], trail: list[str]) -> Doc:
        for path in paths:
            if path[0] != "data":
                raise _cannot_expand([*trail, *path], hint=[*trail, "data", *path])
        below = [path[1:] for path in paths if len(path) > 1]
        return {**answer, "data": [self._rendered(doc, below, [*trail, "data"]) for doc in answer["data"]]}

    def _rendered(self, doc: Doc, paths: list[list[str]], trail: list[str]) -> Doc:
        kind = doc["object"]
        result = self._with_lines(doc)
        for head, below in _grouped(paths):
            if kind == "invoice" and head == OFF_STRIPE and not below:
                result[head] = doc[f"_{head}"]
            else:
                self._expand_member(result, result, kind, [head], below, trail)
        return result

    def _expand_member(
        self, owner: Doc, holder: Doc, kind: str, name: list[str], below: list[list[str]], trail: list[str]
    ) -> None:
        about, dotted, member = KINDS.get(kind), ".".join(name), name[-1]
        path = [*trail, *name]
        if about and dotted in about.includable:
            self._permit(kind)
            holder[member] = self._rendered_list(self._included(owner, dotted), below, path)
        elif kind == "invoice" and dotted == "lines":
            holder[member] = self._rendered_list(holder[member], below, path)
        elif about and dotted in about.links:
            if holder.get(member) is not None:
                target = about.links[dotted]
                self._permit(target)
                linked_id = _id_of(holder[member])
                stub = self._account.deleted(target, linked_id)
                linked = stub or self._account.find(target, linked_id)
                holder[member] = self._rendered(linked, below, path)
        elif about and any(link.startswith(dotted + ".") for link in about.links) and below:
            inner = dict(holder[member])
            holder[member] = inner
            for head, deeper in _grouped(below):
                self._expand_member(owner, inner, kind, [*name, head], deeper, trail)
        else:
            raise _cannot_expand(path)

    def _with_lines(self, doc: Doc) -> Doc:
        result = shown(doc)
        if "_lines" in doc:
            result["lines"] = page_of(shown_lines(doc), {"limit": INLINED}, f"/v1/invoices/{doc['id']}/lines")
            result["lines"]["total_count"] = len(doc["_lines"])
        return result

    def _included(self, owner: Doc, name: str) -> Doc:
        kind, column = ("invoice_payment", "invoice") if name == "payments" else ("refund", "charge")
        found = self._account.store.select(kind, Selection({column: owner["id"]}), INLINED + 1)
        data, has_more = found[:INLINED], len(found) > INLINED
        url = "/v1/invoice_payments" if name == "payments" else f"/v1/charges/{owner['id']}/refunds"
        return {"object": "list", "data": data, "has_more": has_more, "url": url}


def _id_of(value: Any) -> str:
    return str(value["id"]) if isinstance(value, dict) else str(value)


def _grouped(paths: list[list[str]]) -> list[tuple[str, list[list[str]]]]:
    groups: dict[str, list[list[str]]] = {}
    for head, *below in paths:
        group = groups.setdefault(head, [])
        if below:
            group.append(below)
    return list(groups.items())


def _cannot_expand(path: list[str], hint: list[str] | None = None) -> ApiError:
    message = f"This property cannot be expanded ({'.'.join(path)})."
    if hint:
        message += f" You may want to try expanding '{'.'.join(hint)}' instead."
    return bad_parameter(message, param="expand")
