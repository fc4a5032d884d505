"""What is kept of Stripe's objects: one row per object, for the temporary tables. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

IMMEDIATE_METHODS = ("card", "card_present", "link")
"""The payment methods whose charge is the payment; the money of every other one arrives days later."""
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


def invoice_row(invoice: Mapping[str, Any]) -> tuple[Any, ...]:
    """Give what is staged of a Stripe invoice."""
    return (
        invoice["id"],
        invoice["status"],
        invoice["currency"],
        invoice["total"],
        invoice.get("amount_paid_off_stripe") or 0,
        invoice["status_transitions"]["paid_at"],
        *names_ours(invoice),
    )


def payment_row(payment: Mapping[str, Any]) -> tuple[Any, ...]:
    """Give what is staged of a payment intent and its latest charge; a charge's time is the payment's time."""
    charge = payment.get("latest_charge") or {}
    # The latest charge of an intent that did not succeed was declined or waits for the bank: its time says nothing.
    succeeded = payment["status"] == "succeeded"
    method = (charge.get("payment_method_details") or {}).get("type")
    return (
        payment["id"],
        payment["status"],
        payment["currency"],
        payment["amount"],
        payment["amount_received"],
        charge.get("amount_refunded") or 0,
        charge.get("created") if succeeded else None,
        method is not None and method not in IMMEDIATE_METHODS,
        *names_ours(payment),
    )


def link_row(payment: Mapping[str, Any]) -> tuple[Any, ...]:
    """Give what is staged of an invoice payment.

    A payment record tells of money that did not come through Stripe, and is in the invoice's `amount_paid_off_stripe`.
    """
    paid = payment["payment"]
    amount = 0 if paid["type"] == "payment_record" else payment.get("amount_paid") or 0
    return (payment["id"], payment["invoice"], paid.get("payment_intent"), amount, payment["status"])


def dispute_rows(disputes: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """Give what is staged of disputes that are about a payment intent."""
    for dispute in disputes:
        if dispute.get("payment_intent"):
            yield (dispute["id"], dispute["payment_intent"], dispute["status"])


def names_ours(thing: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Read firm and invoice from an object's metadata; None unless both are ids.

    Anybody with access to the dashboard can write metadata, so it is read as text that may hold anything.
    """
    metadata = thing.get("metadata") or {}
    firm, invoice = (str(metadata.get(name, "")) for name in ("firm_id", "invoice_id"))
    if _NUMBER.fullmatch(firm) and _NUMBER.fullmatch(invoice):
        return int(firm), int(invoice)
    return None, None
