"""What payments do to invoices: several payments may pay one invoice, each in part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .store import Selection

if TYPE_CHECKING:
    from .account import Account
    from .shapes import Doc

PAYABLE = ("open", "uncollectible")


def payments_of(account: Account, invoice_id: str, status: str | None = None) -> list[Doc]:
    """Return the invoice payments of an invoice, newest first."""
    equal = {"invoice": invoice_id} | ({"status": status} if status else {})
    return account.store.select("invoice_payment", Selection(equal), 1000)


def _open_payments(account: Account, intent: Doc) -> list[Doc]:
    selection = Selection({"payment_intent": intent["id"], "status": "open"})
    return account.store.select("invoice_payment", selection, 100)[::-1]


def intent_succeeded(account: Account, intent: Doc) -> None:
    """Give the received amount to the invoices that the intent is attached to, oldest first."""
    left = intent["amount_received"]
    for payment in _open_payments(account, intent):
        share = min(left, payment["amount_requested"])
        left -= share
        apply_payment(account, payment, share)


def apply_payment(account: Account, payment: Doc, amount: int) -> None:
    """Book ``amount`` of an invoice payment on its invoice; what is more than remains is overpaid."""
    now = account.now()
    payment.update(status="paid", amount_paid=amount)
    payment["status_transitions"]["paid_at"] = now
    account.store.save(payment)
    invoice = account.find("invoice", payment["invoice"])
    overpaid = max(0, amount - invoice["amount_remaining"])
    invoice["amount_paid"] += amount
    invoice["amount_remaining"] -= amount - overpaid
    invoice["amount_overpaid"] += overpaid
    invoice["attempted"] = True
    if payment["is_default"]:
        invoice["attempt_count"] += 1
    account.emit("invoice_payment.paid", payment)
    if overpaid and invoice["customer"]:
        customer = account.find("customer", invoice["customer"])
        customer["balance"] -= overpaid
        account.save(customer, "customer.updated")
    if invoice["amount_remaining"] == 0 and invoice["status"] in PAYABLE:
        mark_paid(account, invoice)
    else:
        account.save(invoice, "invoice.updated")
        sync_default_payment(account, invoice)


def mark_paid(account: Account, invoice: Doc) -> None:
    """Mark an invoice paid; payments that are still open are canceled."""
    invoice.update(status="paid", next_payment_attempt=None)
    invoice["status_transitions"]["paid_at"] = account.now()
    account.save(invoice, "invoice.updated", "invoice.paid", "invoice.payment_succeeded")
    cancel_open_payments(account, invoice, "automatic")


def cancel_open_payments(account: Account, invoice: Doc, reason: str) -> None:
    """Cancel the open invoice payments, and the intent of the default one unless it is under way."""
    for payment in payments_of(account, invoice["id"], "open"):
        intent = account.find("payment_intent", payment["payment"]["payment_intent"])
        if intent["status"] == "processing":
            continue
        payment["status"] = "canceled"
        payment["status_transitions"]["canceled_at"] = account.now()
        account.store.save(payment)
        if payment["is_default"] and intent["status"] not in ("succeeded", "canceled"):
            intent.update(
                status="canceled", canceled_at=account.now(), cancellation_reason=reason, next_action=None
            )
            account.save(intent, "payment_intent.canceled")


def sync_default_payment(account: Account, invoice: Doc) -> None:
    """Keep the default payment asking for what remains."""
    for payment in payments_of(account, invoice["id"], "open"):
        intent = account.find("payment_intent", payment["payment"]["payment_intent"])
        if payment["is_default"] and intent["status"] != "processing":
            payment["amount_requested"] = intent["amount"] = invoice["amount_remaining"]
            account.store.save(payment)
            account.store.save(intent)


def intent_failed(account: Account, intent: Doc) -> None:
    """Count the attempt on the invoices that the intent was to pay."""
    for payment in _open_payments(account, intent):
        invoice = account.find("invoice", payment["invoice"])
        invoice["attempted"] = True
        invoice["attempt_count"] += 1
        account.save(invoice, "invoice.updated", "invoice.payment_failed")


def intent_requires_action(account: Account, intent: Doc) -> None:
    """Tell that the customer has to act before the invoice can be paid."""
    for payment in _open_payments(account, intent):
        account.emit("invoice.payment_action_required", account.find("invoice", payment["invoice"]))
