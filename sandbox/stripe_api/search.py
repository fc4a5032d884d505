"""Search (https://docs.stripe.com/search): eventually consistent, so objects appear only after a delay."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .catalog import KINDS
from .errors import bad_parameter
from .pages import page_limit
from .shapes import Doc
from .store import Selection

if TYPE_CHECKING:
    from .call import Call

FIELDS: dict[str, frozenset[str]] = {
    "charge": frozenset({"amount", "created", "currency", "customer", "disputed", "refunded", "status"}),
    "customer": frozenset({"created", "email", "name", "phone"}),
    "invoice": frozenset({"created", "currency", "customer", "number", "receipt_number", "status", "total"}),
    "payment_intent": frozenset({"amount", "created", "currency", "customer", "status"}),
}
_CLAUSE = re.compile(
    r"""\s*(?P<not>-)?(?:metadata\[(?P<mq>["'])(?P<key>.+?)(?P=mq)\]|(?P<field>\w+))\s*
    (?P<op>:|~|>=|<=|>|<)\s*(?:(?P<q>["'])(?P<text>.*?)(?P=q)|(?P<bare>[\w.]+))\s*""",
    re.VERBOSE,
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip
_BATCH = 500
Predicate = Callable[[Doc], bool]


def search(kind: str) -> Callable[[Call], Doc]:
    """Return the search endpoint of a kind."""

    def run(call: Call) -> Doc:
        return _searched(call, kind)

    return run


def _searched(call: Call, kind: str) -> Doc:
    account, limit = call.account, page_limit(call.params)
    matches = parsed(call.params["query"], kind)
    visible = Selection({}, [("created", "<=", account.now() - account.settings.search_delay)])
    token = call.get("page")
    after = account.store.position(kind, token) if token else None
    if token and after is None:
        raise bad_parameter(f"Invalid page token: {token}", param="page")
    found: list[Doc] = []
    while len(found) <= limit and (batch := account.store.select(kind, visible, _BATCH, after=after)):
        found.extend(doc for doc in batch if matches(doc))
        after = account.store.position(kind, batch[-1]["id"])
    data, has_more = found[:limit], len(found) > limit
    return {
        "object": "search_result", "data": data, "has_more": has_more, "url": f"/v1/{KINDS[kind].path}/search",
        "next_page": data[-1]["id"] if has_more else None,
    }  # fmt: skip


def parsed(query: str, kind: str) -> Predicate:
    """Return a query as a predicate: clauses joined by AND, or by OR, not both."""
    joiners = set(re.findall(r"\s(AND|OR)\s", query))
    if len(joiners) > 1:
        raise bad_parameter("You cannot combine AND and OR in one query.", param="query")
    joiner = joiners.pop() if joiners else "AND"
    clauses = [_clause(text, kind) for text in re.split(r"\s(?:AND|OR)\s", query)]
    if joiner == "AND":
        return lambda doc: all(clause(doc) for clause in clauses)
    return lambda doc: any(clause(doc) for clause in clauses)


def _clause(text: str, kind: str) -> Predicate:
    found = _CLAUSE.fullmatch(text)
    if found is None:
        raise bad_parameter(f"We were unable to parse your search query near {text!r}.", param="query")
    field, key = found["field"], found["key"]
    if key is None and field not in FIELDS[kind]:
        raise bad_parameter(
            f"Field `{field}` is an unsupported search field for resource `{kind}`.", param="query"
        )
    wanted = found["bare"] if found["text"] is None else found["text"]

    def holds(doc: Doc) -> bool:
        value = doc["metadata"].get(key) if key is not None else doc.get(field)
        return _compare(value, found["op"], wanted) != bool(found["not"])

    return holds


def _compare(value: Any, sign: str, wanted: str) -> bool:
    if wanted == "null" and sign == ":":
        return value is None
    if value is None:
        return False
    if sign == ":":
        return str(value).lower() == wanted.lower()
    if sign == "~":
        return wanted.lower() in str(value).lower()
    return _COMPARE[sign](value, int(wanted))
