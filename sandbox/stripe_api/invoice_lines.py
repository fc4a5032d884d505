"""Invoice items and line items (https://docs.stripe.com/api/invoiceitems)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .catalog import new_id
from .currencies import check_granularity, checked_currency
from .errors import bad_parameter, invalid
from .pages import filters, page, page_of, time_bounds
from .params import merged_metadata
from .shapes import Doc, line_item
from .store import Selection

if TYPE_CHECKING:
    from .account import Account
    from .call import Call


def draft_only(invoice: Doc) -> None:
    """Lines change only while the invoice is a draft."""
    if invoice["status"] != "draft":
        raise invalid(
            f"This invoice is no longer editable: its status is {invoice['status']}.",
            code="invoice_not_editable",
        )


def recompute(invoice: Doc) -> None:
    """Sum up the lines; the sandbox has no taxes, discounts or credit notes."""
    total = sum(line["amount"] for line in invoice["_lines"])
    due = max(0, total + invoice["starting_balance"])
    for name in ("subtotal", "subtotal_excluding_tax", "total", "total_excluding_tax"):
        invoice[name] = total
    invoice.update(amount_due=due, amount_remaining=max(0, due - invoice["amount_paid"]))


def make_line(
    invoice: Doc,
    amount: int,
    description: str | None,
    metadata: dict[str, str],
    period: Doc,
    item: str | None,
) -> Doc:
    """Return a line of an invoice; ``item`` is the invoice item behind it."""
    parent = item and {
        "type": "invoice_item_details",
        "subscription_item_details": None,
        "invoice_item_details": {
            "invoice_item": item, "proration": False, "proration_details": {"credited_items": None},
            "subscription": None,
        },
    }  # fmt: skip
    line = {
        "id": new_id("il"), "amount": amount, "currency": invoice["currency"], "subtotal": amount,
        "invoice": invoice["id"], "period": period,
    }  # fmt: skip
    given = {"description": description, "metadata": metadata, "parent": parent}
    return line | {name: value for name, value in given.items() if value}


def shown_lines(invoice: Doc) -> list[Doc]:
    """Return the lines with all their members; stored are only those that say something."""
    return [{**line_item(), **line} for line in invoice["_lines"]]


def _put_on(account: Account, invoice: Doc, item: Doc) -> None:
    draft_only(invoice)
    if item["currency"] != invoice["currency"]:
        raise invalid(
            f"The currency of the invoice item ({item['currency']}) must match that of the invoice "
            f"({invoice['currency']}).",
            param="currency",
        )
    item["invoice"] = invoice["id"]
    account.store.save(item)
    line = make_line(
        invoice, item["amount"], item["description"], dict(item["metadata"]), item["period"], item["id"]
    )
    invoice["_lines"].append(line)
    recompute(invoice)
    account.save(invoice, "invoice.updated")


def collect_pending(account: Account, invoice: Doc) -> None:
    """Put the customer's pending invoice items of this currency on the invoice."""
    pending = account.store.select("invoiceitem", Selection({"customer": invoice["customer"]}), 250)
    for item in reversed(pending):
        if item["invoice"] is None and item["currency"] == invoice["currency"]:
            _put_on(account, invoice, item)


def create_item(call: Call) -> Doc:
    """Create an invoice item, on a draft invoice or pending for the customer's next one."""
    account, params = call.account, call.params
    invoice = account.find("invoice", params["invoice"], param="invoice") if "invoice" in params else None
    customer_id = params.get("customer") or (invoice or {}).get("customer")
    if customer_id is None:
        raise bad_parameter("Missing required param: customer.", param="customer", code="parameter_missing")
    customer = account.find("customer", customer_id, param="customer")
    if invoice and invoice["customer"] != customer["id"]:
        raise invalid("The invoice belongs to another customer.", param="invoice")
    fallback = invoice["currency"] if invoice else customer["currency"] or "usd"
    currency = checked_currency(params.get("currency", fallback))
    if "amount" not in params:
        raise bad_parameter("Missing required param: amount.", param="amount", code="parameter_missing")
    check_granularity(params["amount"], currency)
    now = account.now()
    item = account.make(
        "invoiceitem", amount=params["amount"], currency=currency, customer=customer["id"], date=now,
        description=params.get("description"), metadata=merged_metadata({}, params.get("metadata")),
        net_amount=params["amount"], period=params.get("period", {"start": now, "end": now}),
    )  # fmt: skip
    if customer["currency"] is None:
        account.save({**customer, "currency": currency})
    if invoice:
        _put_on(account, invoice, item)
    account.emit("invoiceitem.created", item)
    return item


def delete_item(call: Call) -> Doc:
    """Take an item off its draft invoice, or out of the pending ones."""
    account, item = call.account, call.named("invoiceitem")
    if item["invoice"]:
        invoice = account.find("invoice", item["invoice"])
        draft_only(invoice)
        invoice["_lines"] = [
            line
            for line in invoice["_lines"]
            if line.get("parent", {}).get("invoice_item_details", {}).get("invoice_item") != item["id"]
        ]
        recompute(invoice)
        account.save(invoice, "invoice.updated")
    account.store.delete("invoiceitem", item["id"])
    return {"id": item["id"], "object": "invoiceitem", "deleted": True}


def retrieve_item(call: Call) -> Doc:
    """Return an invoice item by id."""
    return call.named("invoiceitem")


def list_items(call: Call) -> Doc:
    """Invoice items by customer, invoice, pending and creation time."""
    equal = filters(call.account, call.params, "customer", "invoice")
    return page(
        call.account, "invoiceitem", call.params, Selection(equal, time_bounds(call.params, "created"))
    )


def add_lines(call: Call) -> Doc:
    """Add lines by amount to a draft."""
    account, invoice = call.account, call.named("invoice")
    draft_only(invoice)
    now = account.now()
    for index, given in enumerate(call.params["lines"]):
        for name in given.keys() - {"amount", "description", "metadata", "period"}:
            raise bad_parameter(
                f"The sandbox does not model lines[{index}][{name}].",
                param=f"lines[{index}][{name}]",
                code="sandbox_unsupported",
            )
        if "amount" not in given:
            raise bad_parameter("Missing required param: amount.", param=f"lines[{index}][amount]")
        check_granularity(given["amount"], invoice["currency"], f"lines[{index}][amount]")
        period = given.get("period", {"start": now, "end": now})
        metadata = merged_metadata({}, given.get("metadata"))
        line = make_line(invoice, given["amount"], given.get("description"), metadata, period, None)
        invoice["_lines"].append(line)
    if "invoice_metadata" in call.params:
        invoice["metadata"] = merged_metadata(invoice["metadata"], call.params["invoice_metadata"])
    recompute(invoice)
    return account.save(invoice, "invoice.updated")


def list_lines(call: Call) -> Doc:
    """Return the lines of an invoice, all pages of them."""
    invoice = call.named("invoice")
    return page_of(shown_lines(invoice), call.params, f"/v1/invoices/{invoice['id']}/lines")
