"""Invoices in all their states (https://docs.stripe.com/api/invoices) and their payments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import charging, invoice_settlement
from .account import DAY, Account
from .catalog import ACCOUNT_ID
from .currencies import checked_currency
from .errors import ApiError, bad_parameter, invalid
from .invoice_lines import collect_pending, draft_only
from .pages import filters, page, time_bounds
from .params import merged_metadata
from .payment_intents import new_intent
from .payment_methods import usable
from .shapes import Doc, shown
from .store import Selection

if TYPE_CHECKING:
    from .call import Call

_TEXTS = ("auto_advance", "description", "footer", "statement_descriptor", "custom_fields", "effective_at")


def create(call: Call) -> Doc:
    """Create a draft for a customer, with the pending items if asked."""
    account, params = call.account, call.params
    if "customer" not in params:
        raise bad_parameter("Missing required param: customer.", param="customer", code="parameter_missing")
    customer = account.find("customer", params["customer"], param="customer")
    now = account.now()
    invoice = account.make(
        "invoice", customer=customer["id"], customer_email=customer["email"], customer_name=customer["name"],
        customer_phone=customer["phone"], customer_address=customer["address"], period_start=now, period_end=now,
        currency=checked_currency(params.get("currency", customer["currency"] or "usd")),
        collection_method=params.get("collection_method", "charge_automatically"),
        metadata=merged_metadata({}, params.get("metadata")), number=params.get("number"),
    )  # fmt: skip
    _apply(call, invoice)
    if invoice["collection_method"] == "send_invoice" and invoice["due_date"] is None:
        raise bad_parameter(
            "If invoice collection method is 'send_invoice', you must specify one of 'days_until_due' or 'due_date'.",
            param="days_until_due",
        )
    account.save(invoice, "invoice.created")
    if params.get("pending_invoice_items_behavior") == "include":
        collect_pending(account, invoice)
    return invoice


def _apply(call: Call, invoice: Doc) -> None:
    account, params = call.account, call.params
    invoice.update(call.given(*_TEXTS))
    due = params.get("due_date")
    if "days_until_due" in params:
        due = invoice["created"] + params["days_until_due"] * DAY
    if due is not None and invoice["collection_method"] != "send_invoice":
        raise bad_parameter(
            "You can only set a due date on invoices whose collection_method is 'send_invoice'.",
            param="due_date",
        )
    invoice["due_date"] = invoice["due_date"] if due is None else due
    if "default_payment_method" in params:
        method = usable(
            account, params["default_payment_method"], invoice["customer"], "default_payment_method"
        )
        invoice["default_payment_method"] = method["id"]


def update(call: Call) -> Doc:
    """Change what is not money; collection method and due date only in a draft."""
    invoice = call.named("invoice")
    if {"collection_method", "days_until_due", "due_date", "number"} & call.params.keys():
        draft_only(invoice)
    invoice.update(call.given("collection_method", "number"))
    _apply(call, invoice)
    if "metadata" in call.params:
        invoice["metadata"] = merged_metadata(invoice["metadata"], call.params["metadata"])
    return call.account.save(invoice, "invoice.updated")


def delete(call: Call) -> Doc:
    """Delete a draft, for good."""
    account, invoice = call.account, call.named("invoice")
    draft_only(invoice)
    account.store.delete("invoice", invoice["id"])
    account.emit("invoice.deleted", invoice)
    return {"id": invoice["id"], "object": "invoice", "deleted": True}


def finalize(call: Call) -> Doc:
    """Draft to open; an invoice of nothing is paid at once."""
    invoice = call.named("invoice")
    draft_only(invoice)
    invoice.update(call.given("auto_advance"))
    return finalized(call.account, invoice)


def finalized(account: Account, invoice: Doc) -> Doc:
    """Give the invoice its number, the customer's credit, and its default payment."""
    customer = account.find("customer", invoice["customer"])
    credit = customer["balance"]
    invoice["starting_balance"] = credit
    invoice["amount_due"] = invoice["amount_remaining"] = max(0, invoice["total"] + credit)
    invoice["ending_balance"] = min(0, invoice["total"] + credit)
    number = customer["next_invoice_sequence"]
    customer.update(balance=invoice["ending_balance"], next_invoice_sequence=number + 1)
    account.store.save(customer)
    page_url = f"https://invoice.stripe.com/i/{ACCOUNT_ID}/test_{invoice['id']}"
    invoice.update(
        status="open", number=invoice["number"] or f"{customer['invoice_prefix']}-{number:04d}",
        effective_at=invoice["effective_at"] or account.now(), hosted_invoice_url=page_url,
        invoice_pdf=f"{page_url}/pdf",
    )  # fmt: skip
    invoice["status_transitions"]["finalized_at"] = account.now()
    account.save(invoice, "invoice.finalized")
    if invoice["amount_due"] == 0:
        invoice["attempted"] = True
        invoice_settlement.mark_paid(account, invoice)
    else:
        intent = new_intent(
            account, amount=invoice["amount_due"], currency=invoice["currency"], customer=invoice["customer"],
            description=invoice["description"], payment_method_types=["card", "us_bank_account", "sepa_debit"],
            _invoice=invoice["id"],
        )  # fmt: skip
        account.emit("payment_intent.created", intent)
        add_payment(account, invoice, intent, invoice["amount_due"], is_default=True)
    return invoice


def add_payment(account: Account, invoice: Doc, intent: Doc, amount: int, *, is_default: bool) -> Doc:
    """Add an open invoice payment that asks ``amount`` of an intent."""
    return account.make(
        "invoice_payment", amount_requested=amount, currency=invoice["currency"], invoice=invoice["id"],
        is_default=is_default, payment={"type": "payment_intent", "payment_intent": intent["id"]},
    )  # fmt: skip


def pay(call: Call) -> Doc:
    """Pay now by card (off session unless said otherwise), or note that it was paid out of band."""
    account, params, invoice = call.account, call.params, call.named("invoice")
    if invoice["status"] == "draft":
        finalized(account, invoice)
        invoice = account.find("invoice", invoice["id"])
    if invoice["status"] == "paid":
        raise invalid("Invoice is already paid")
    if invoice["status"] == "void":
        raise invalid("This invoice is void and can no longer be paid.")
    if params.get("paid_out_of_band"):
        return _paid_out_of_band(account, invoice)
    intent = _default_intent(account, invoice)
    chosen = params.get("payment_method") or _default_method(account, invoice)
    method = usable(account, chosen, invoice["customer"])
    off_session = params.get("off_session", True)
    outcome = charging.attempt(account, intent, method, off_session=off_session)
    if outcome["status"] == "requires_action":
        raise ApiError(
            402,
            "This payment requires additional user action before it can be completed successfully. Payment can be "
            "completed using the PaymentIntent associated with the invoice.",
            kind="card_error",
            code="invoice_payment_intent_requires_action",
            keeps_effect=True,
            payment_intent=shown(outcome),
        )
    return account.find("invoice", invoice["id"])


def _default_intent(account: Account, invoice: Doc) -> Doc:
    for payment in invoice_settlement.payments_of(account, invoice["id"], "open"):
        if payment["is_default"]:
            intent = account.find("payment_intent", payment["payment"]["payment_intent"])
            if intent["status"] == "processing":
                raise invalid("A payment of this invoice is already processing.")
            return intent
    raise invalid("This invoice has no open default payment.")


def _default_method(account: Account, invoice: Doc) -> str:
    customer = account.find("customer", invoice["customer"])
    method = invoice["default_payment_method"] or customer["invoice_settings"]["default_payment_method"]
    if method is None:
        raise invalid(
            "There is no `default_payment_method` set on this Customer or Invoice. Please set a "
            "`default_payment_method` prior to paying the Invoice.",
            code="missing",
        )
    return str(method)


def _paid_out_of_band(account: Account, invoice: Doc) -> Doc:
    rest = invoice["amount_remaining"]
    invoice.update(
        amount_paid=invoice["amount_paid"] + rest, _amount_paid_off_stripe=rest, amount_remaining=0
    )
    invoice_settlement.mark_paid(account, invoice)
    return invoice


def void(call: Call) -> Doc:
    """Open or uncollectible to void."""
    return _closed(call, "void", "voided_at", "invoice.voided")


def mark_uncollectible(call: Call) -> Doc:
    """Open to uncollectible; it can still be paid or voided."""
    return _closed(call, "uncollectible", "marked_uncollectible_at", "invoice.marked_uncollectible")


def _closed(call: Call, status: str, stamp: str, event_type: str) -> Doc:
    account, invoice = call.account, call.named("invoice")
    allowed = ("open", "uncollectible") if status == "void" else ("open",)
    if invoice["status"] not in allowed:
        raise invalid(
            f"You can only pass in open invoices. This invoice isn't open. (status: {invoice['status']})",
            param="invoice",
        )
    invoice.update(status=status, next_payment_attempt=None)
    invoice["status_transitions"][stamp] = account.now()
    account.save(invoice, event_type)
    if status == "void":
        invoice_settlement.cancel_open_payments(account, invoice, "void_invoice")
    return invoice


def send(call: Call) -> Doc:
    """Finalize if need be, and note that it was sent; no mail leaves the sandbox."""
    invoice = call.named("invoice")
    if invoice["collection_method"] != "send_invoice":
        raise invalid("You can only manually send an invoice if its collection method is 'send_invoice'.")
    if invoice["status"] == "draft":
        finalized(call.account, invoice)
    call.account.emit("invoice.sent", invoice)
    return invoice


def attach_payment(call: Call) -> Doc:
    """Let a payment intent pay (part of) an open invoice; one that has succeeded pays at once."""
    account, invoice = call.account, call.named("invoice")
    if "payment_intent" not in call.params:
        raise bad_parameter(
            "Missing required param: payment_intent.", param="payment_intent", code="parameter_missing"
        )
    intent = account.find("payment_intent", call.params["payment_intent"], param="payment_intent")
    if invoice["status"] not in invoice_settlement.PAYABLE:
        raise invalid(f"You can only attach payments to open invoices (status: {invoice['status']}).")
    if (intent["currency"], intent["customer"]) != (invoice["currency"], invoice["customer"]):
        raise invalid(
            "The payment must have the currency and the customer of the invoice.", param="payment_intent"
        )
    if intent["status"] == "canceled" or account.store.count(
        "invoice_payment", Selection({"payment_intent": intent["id"]})
    ):
        raise invalid("This PaymentIntent is canceled or already attached.", param="payment_intent")
    requested = min(intent["amount"], invoice["amount_remaining"])
    payment = add_payment(account, invoice, intent, requested, is_default=False)
    if intent["status"] == "succeeded":
        invoice_settlement.apply_payment(account, payment, requested)
    return account.find("invoice", invoice["id"])


def retrieve(call: Call) -> Doc:
    """Return an invoice by id."""
    return call.named("invoice")


def listed(call: Call) -> Doc:
    """Invoices by customer, status, collection method, due date and creation time."""
    equal = filters(call.account, call.params, "customer", "status", "collection_method")
    between = [*time_bounds(call.params, "created"), *time_bounds(call.params, "due_date")]
    return page(call.account, "invoice", call.params, Selection(equal, between))


def retrieve_payment(call: Call) -> Doc:
    """Return an invoice payment by id."""
    return call.named("invoice_payment")


def list_payments(call: Call) -> Doc:
    """Invoice payments by invoice, payment, status and creation time."""
    account, params = call.account, call.params
    equal: Doc = {name: params[name] for name in ("invoice", "status") if name in params}
    if "invoice" in equal:
        account.find("invoice", equal["invoice"], param="invoice")
    if "payment" in params:
        if params["payment"]["type"] != "payment_intent":
            raise bad_parameter(
                "The sandbox has no payment records.", param="payment[type]", code="sandbox_unsupported"
            )
        equal["payment_intent"] = params["payment"].get("payment_intent")
    return page(account, "invoice_payment", params, Selection(equal, time_bounds(params, "created")))
