"""What kinds of objects there are: their id prefixes, filter columns, links and permissions."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

API_VERSION = "2026-10-28.endive"
ACCOUNT_ID = "acct_1SandboxCP000000"


@dataclass(frozen=True)
class Kind:
    """One kind of object.

    ``columns`` maps a filter to the member (dotted path) that it reads; ``links`` maps an expandable member to
    the kind it names; ``includable`` are the lists that only ``expand`` shows; ``permission`` is the resource
    of a restricted key that guards it.
    """

    prefix: str
    path: str
    permission: str
    columns: dict[str, str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    includable: dict[str, str] = field(default_factory=dict)


KINDS: dict[str, Kind] = {
    "customer": Kind(
        "cus", "customers", "customer", {"email": "email"},
        {"invoice_settings.default_payment_method": "payment_method"},
    ),
    "payment_method": Kind(
        "pm", "payment_methods", "payment_method", {"customer": "customer", "type": "type"},
        {"customer": "customer"},
    ),
    "payment_intent": Kind(
        "pi", "payment_intents", "payment_intent", {"customer": "customer"},
        {"customer": "customer", "latest_charge": "charge", "payment_method": "payment_method"},
    ),
    "charge": Kind(
        "ch", "charges", "charge", {"customer": "customer", "payment_intent": "payment_intent"},
        {"customer": "customer", "payment_intent": "payment_intent"}, {"refunds": "charge"},
    ),
    "refund": Kind(
        "re", "refunds", "charge", {"charge": "charge", "payment_intent": "payment_intent"},
        {"charge": "charge", "payment_intent": "payment_intent"},
    ),
    "dispute": Kind(
        "du", "disputes", "dispute", {"charge": "charge", "payment_intent": "payment_intent"},
        {"charge": "charge", "payment_intent": "payment_intent"},
    ),
    "invoice": Kind(
        "in", "invoices", "invoice",
        {"customer": "customer", "status": "status", "collection_method": "collection_method",
         "due_date": "due_date"},
        {"customer": "customer", "default_payment_method": "payment_method"}, {"payments": "invoice"},
    ),
    "invoiceitem": Kind(
        "ii", "invoiceitems", "invoice", {"customer": "customer", "invoice": "invoice"},
        {"customer": "customer", "invoice": "invoice"},
    ),
    "invoice_payment": Kind(
        "inpay", "invoice_payments", "invoice",
        {"invoice": "invoice", "status": "status", "payment_intent": "payment.payment_intent"},
        {"invoice": "invoice", "payment.payment_intent": "payment_intent", "payment.charge": "charge"},
    ),
    "event": Kind("evt", "events", "event", {"type": "type"}),
}  # fmt: skip


def new_id(kind: str) -> str:
    """Return a fresh id, as opaque as Stripe's: its order says nothing about time."""
    prefix = KINDS[kind].prefix if kind in KINDS else kind
    return f"{prefix}_1{secrets.token_hex(12)}"
