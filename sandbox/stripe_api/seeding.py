"""History in bulk: invoices and payments that already are what they are.

Seeded objects have no events and no ledger entries: the ledger tells what calls to this sandbox did.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from .account import Account, client_secret
from .catalog import new_id
from .invoice_lines import make_line
from .shapes import Doc

if TYPE_CHECKING:
    from collections.abc import Iterable

BATCH = 2000
INVOICE_FIELDS = frozenset(
    [
        "id",
        "customer",
        "amount",
        "currency",
        "status",
        "created",
        "due_date",
        "metadata",
        "payments",
        "number",
        "out_of_band",
        "description",
    ]
)
PAYMENT_FIELDS = frozenset(
    ["id", "amount", "status", "created", "paid_at", "customer", "currency", "metadata", "payment_method"]
)
Rows = dict[str, list[Doc]]


def seed(account: Account, specs: Iterable[Doc]) -> list[str]:
    """Add objects by short specifications and return the ids, one for each, in order.

    ``{"invoice": {"customer", "amount", "currency": "usd", "status": "paid", "created", "due_date", "metadata",
    "id", "number", "out_of_band", "payments": [payment, ...]}}``: ``amount`` in minor units; a paid invoice has
    one payment of its amount unless ``payments`` lists others or it was paid out of band. A payment has metadata of its
    own only: Stripe does not copy an invoice's.

    ``{"payment_intent": payment}`` with ``{"amount", "status": "succeeded", "created", "paid_at", "customer",
    "currency", "metadata", "payment_method", "id"}``: ``paid_at`` is the charge's time (default: created).

    ``{"customer": {...}}`` and ``{"payment_method": {...}}`` take the object's own members.

    Ids of customers and payment methods are not looked up. Raises ``ValueError`` for an unknown member.
    """
    ids: list[str] = []
    iterator = iter(specs)
    with account.store.transaction():
        while batch := list(itertools.islice(iterator, BATCH)):
            rows: Rows = {kind: [] for kind in _BUILDERS | {"charge": None, "invoice_payment": None}}
            for spec in batch:
                ((kind, members),) = spec.items()
                if kind not in _BUILDERS:
                    raise ValueError(f"cannot seed {kind!r}: {', '.join(_BUILDERS)} can be seeded")
                ids.append(_BUILDERS[kind](account, members, rows))
            for kind, docs in rows.items():
                account.store.insert_many(kind, docs)
    return ids


def seed_lines(account: Account, text: str) -> Doc:
    """``seed`` for a body of JSON lines."""
    return {"ids": seed(account, (json.loads(line) for line in text.splitlines() if line.strip()))}


def _check(members: Doc, known: frozenset[str]) -> None:
    if unknown := members.keys() - known:
        raise ValueError(
            f"cannot seed members {', '.join(sorted(unknown))} (known: {', '.join(sorted(known))})"
        )


def _plain(kind: str) -> Any:
    def build(account: Account, members: Doc, rows: Rows) -> str:
        rows[kind].append(account.draft(kind, **members))
        return str(rows[kind][-1]["id"])

    return build


def _payment(account: Account, members: Doc, rows: Rows) -> str:
    _check(members, PAYMENT_FIELDS)
    return str(_add_payment(account, members, rows)["id"])


def _add_payment(account: Account, members: Doc, rows: Rows) -> Doc:
    created = members.get("created", account.now())
    status = members.get("status", "succeeded")
    intent = account.draft(
        "payment_intent", id=members.get("id") or new_id("payment_intent"), created=created,
        amount=members["amount"], currency=members.get("currency", "usd"), customer=members.get("customer"),
        metadata=members.get("metadata", {}), payment_method=members.get("payment_method"), status=status,
    )  # fmt: skip
    intent["client_secret"] = client_secret(intent["id"])
    rows["payment_intent"].append(intent)
    if status in ("succeeded", "processing"):
        charge = account.draft(
            "charge", created=members.get("paid_at", created), amount=intent["amount"], currency=intent["currency"],
            customer=intent["customer"], metadata=intent["metadata"], payment_intent=intent["id"],
            payment_method=intent["payment_method"], status="pending",
        )  # fmt: skip
        intent["latest_charge"] = charge["id"]
        if status == "succeeded":
            charge.update(status="succeeded", paid=True, captured=True, amount_captured=charge["amount"])
            intent["amount_received"] = charge["amount"]
        rows["charge"].append(charge)
    elif status == "canceled":
        intent["canceled_at"] = created
    return intent


def _invoice(account: Account, members: Doc, rows: Rows) -> str:
    _check(members, INVOICE_FIELDS)
    created = members.get("created", account.now())
    status, amount = members.get("status", "open"), members["amount"]
    invoice = account.draft(
        "invoice", id=members.get("id") or new_id("invoice"), created=created, customer=members.get("customer"),
        currency=members.get("currency", "usd"), status=status, metadata=members.get("metadata", {}),
        due_date=members.get("due_date"), number=members.get("number"), description=members.get("description"),
        collection_method="send_invoice" if members.get("due_date") else "charge_automatically",
        period_start=created, period_end=created, amount_due=amount, subtotal=amount, total=amount,
        subtotal_excluding_tax=amount, total_excluding_tax=amount,
    )  # fmt: skip
    period = {"start": created, "end": created}
    invoice["_lines"] = [make_line(invoice, amount, members.get("description"), {}, period, None)]
    payments = members.get("payments")
    if payments is None:
        payments = (
            [{"amount": amount}] if status == "paid" and amount and not members.get("out_of_band") else []
        )
    settled = [_attach(account, invoice, payment, rows) for payment in payments]
    paid = sum(amount for amount, _ in settled)
    if members.get("out_of_band"):
        invoice["_amount_paid_off_stripe"] = amount - paid
        paid = amount
    invoice.update(
        amount_paid=paid, amount_remaining=max(0, amount - paid), amount_overpaid=max(0, paid - amount),
        attempted=paid > 0, attempt_count=len(payments),
    )  # fmt: skip
    if status == "paid" and invoice["amount_remaining"]:
        raise ValueError(f"a paid invoice of {amount} has payments of {paid}")
    last = max((at for _, at in settled if at is not None), default=None)
    _stamp(invoice, created if last is None or members.get("out_of_band") else last)
    rows["invoice"].append(invoice)
    return str(invoice["id"])


def _attach(account: Account, invoice: Doc, payment: Doc, rows: Rows) -> tuple[int, int | None]:
    """Add one payment of an invoice; what it paid, and when."""
    _check(payment, PAYMENT_FIELDS)
    inherited = {name: invoice[name] for name in ("customer", "currency", "created")}
    intent = _add_payment(account, {**inherited, **payment}, rows)
    done = intent["status"] == "succeeded"
    when = rows["charge"][-1]["created"] if done else None
    state = "paid" if done else "canceled" if intent["status"] == "canceled" else "open"
    rows["invoice_payment"].append(
        account.draft(
            "invoice_payment", created=intent["created"], amount_requested=intent["amount"],
            amount_paid=intent["amount"] if done else None, currency=invoice["currency"], invoice=invoice["id"],
            is_default=intent["amount"] == invoice["amount_due"], status=state,
            payment={"type": "payment_intent", "payment_intent": intent["id"]},
            status_transitions={"paid_at": when, "canceled_at": intent["canceled_at"]},
        )
    )  # fmt: skip
    return (intent["amount"], when) if done else (0, None)


def _stamp(invoice: Doc, paid_at: int) -> None:
    stamps, created = invoice["status_transitions"], invoice["created"]
    if invoice["status"] != "draft":
        stamps["finalized_at"] = invoice["effective_at"] = created
        invoice["number"] = invoice["number"] or f"SEED-{invoice['id'][-8:].upper()}"
    if invoice["status"] == "paid":
        stamps["paid_at"] = paid_at
    if invoice["status"] == "void":
        stamps["voided_at"] = created
    if invoice["status"] == "uncollectible":
        stamps["marked_uncollectible_at"] = created


_BUILDERS: dict[str, Any] = {
    "customer": _plain("customer"),
    "payment_method": _plain("payment_method"),
    "payment_intent": _payment,
    "invoice": _invoice,
}
