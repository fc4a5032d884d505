"""Invoices, payments and the events that payment and message providers sent."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any, Literal

from sandbox.world.rows import Record

Provider = Literal["stripe", "square", "docusign", "sms"]

WEBHOOK_TABLES: dict[Provider, str] = {
    "stripe": "finance_stripe_webhook_events",
    "square": "finance_square_webhook_events",
    "docusign": "esignature_webhook_events",
    "sms": "sms_webhook_events",
}


class Invoice(Record):
    """finance_invoices."""

    table = "finance_invoices"

    def __init__(self, *args: Any, client_id: int) -> None:
        super().__init__(*args)
        self.client_id = client_id

    def paid_by(self, amount: str, **columns: Any) -> Payment:
        """Record a cleared payment, its allocation, and what the application then says on the invoice."""
        paid = Decimal(amount)
        payment = insert_payment(self, self.client_id, amount=paid, amount_allocated=paid, **columns)
        self.insert(
            "finance_payment_allocations",
            payment_id=payment.id,
            invoice_id=self.id,
            amount=paid,
            allocation_date=self.day(),
        )
        invoice = self.row()
        total_paid = invoice["amount_paid"] + paid
        complete = total_paid >= invoice["total_amount"]
        self.update(
            amount_paid=total_paid,
            status="paid" if complete else "partial",
            paid_date=self.day() if complete else None,
        )
        return payment


class Payment(Record):
    """finance_payments."""

    table = "finance_payments"


class WebhookEvent(Record):
    """An event of one of the four providers; `table` says which."""

    def __init__(self, *args: Any, table: str) -> None:
        super().__init__(*args)
        self.table = table  # type: ignore[misc]


def insert_invoice(
    owner: Record,
    client_id: int,
    *,
    total: str,
    paid: str,
    status: str | None,
    issued_days_ago: int,
    due_in_days: int | None,
    **columns: Any,
) -> Invoice:
    """Insert an invoice; without a status it is sent, partial or paid as the amounts say."""
    total_amount, amount_paid = Decimal(total), Decimal(paid)
    if status is None:
        status = "paid" if amount_paid >= total_amount > 0 else "partial" if amount_paid > 0 else "sent"
    issue_date = owner.day(-issued_days_ago)
    due_date = issue_date + timedelta(days=30) if due_in_days is None else owner.day(due_in_days)
    defaults = {
        "invoice_number": f"INV-{owner.world.serial():06d}",
        "subtotal": total_amount,
        "currency": owner.scope.currency,
        "paid_date": owner.day() if status == "paid" else None,
        "line_items": [{"description": "Advisory services", "quantity": 1, "rate": total, "amount": total}],
        "created_at": owner.world.ago(days=issued_days_ago),
    }
    key = owner.insert(
        "finance_invoices",
        client_id=client_id,
        status=status,
        total_amount=total_amount,
        amount_paid=amount_paid,
        issue_date=issue_date,
        due_date=due_date,
        **defaults | columns,
    )
    return Invoice(owner.world, key, owner.scope, client_id=client_id)


def insert_payment(owner: Record, client_id: int, *, amount: Decimal | str, **columns: Any) -> Payment:
    """Insert a cleared payment of today."""
    defaults = {
        "payment_number": f"PAY-{owner.world.serial():06d}",
        "payment_date": owner.day(),
        "currency": owner.scope.currency,
        "status": "cleared",
        "cleared_date": owner.day(),
    }
    key = owner.insert("finance_payments", client_id=client_id, amount=Decimal(amount), **defaults | columns)
    return Payment(owner.world, key, owner.scope)


class FinanceOfFirm(Record):
    """What a firm has of finance that hangs on no client."""

    def webhook_event(
        self,
        provider: Provider,
        *,
        age_days: float = 0,
        processed: bool = True,
        error: str = "",
        **columns: Any,
    ) -> WebhookEvent:
        """Insert an event received `age_days` ago; `error` makes it one whose processing failed."""
        table = WEBHOOK_TABLES[provider]
        received = self.world.ago(days=age_days)
        key = self.insert(
            table,
            **webhook_columns(provider, self.world.serial(), received, processed=processed and not error)
            | {"error_message": error}
            | columns,
        )
        return WebhookEvent(self.world, key, self.scope, table=table)


def webhook_columns(provider: Provider, number: int, received: Any, *, processed: bool) -> dict[str, Any]:
    """Return the provider's own columns of an event; a failed one bears a processing time, too."""
    reference = f"{number:010d}"
    stamped = {
        "processed_at": received,
        "processed_successfully": processed,
        "created_at": received,
        "updated_at": received,
    }
    match provider:
        case "stripe":
            return stamped | {
                "stripe_event_id": f"evt_{reference}",
                "idempotency_key": f"stripe-{reference}",
                "event_type": "payment_intent.succeeded",
                "event_data": {"object": "event", "livemode": False},
            }
        case "square":
            return stamped | {
                "square_event_id": f"sq-{reference}",
                "idempotency_key": f"square-{reference}",
                "event_type": "payment.updated",
                "event_data": {"type": "payment.updated"},
            }
        case "docusign":
            return {
                "docusign_envelope_id": f"envelope-{reference}",
                "event_id": f"ds-{reference}",
                "idempotency_key": f"docusign-{reference}",
                "event_type": "envelope-completed",
                "event_status": "completed",
                "payload": {"event": "envelope-completed"},
                "processed": processed,
                "processed_at": received if processed else None,
                "received_at": received,
            }
        case "sms":
            return stamped | {
                "twilio_message_sid": f"SM{reference}",
                "idempotency_key": f"sms-{reference}",
                "event_type": "message.status",
                "webhook_type": "status_callback",
                "message_status": "delivered",
                "event_data": {"MessageStatus": "delivered"},
            }
