"""Mails to a client about a charge: that it was declined, or that the bank wants it confirmed."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cp_ops.runtime import outbox
from cp_ops.runtime.mail_templates import render

if TYPE_CHECKING:
    from cp_ops.finance.charges.intents import ChargeIntent
    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.job import JobRun


class PayerMail(StrEnum):
    """What a client is told: the mail's kind, and the name of its template."""

    DECLINED = "payment_declined"
    NEEDS_AUTHENTICATION = "payment_needs_authentication"


TITLES = {
    PayerMail.DECLINED: "We could not collect invoice {number}",
    PayerMail.NEEDS_AUTHENTICATION: "Please confirm your payment of invoice {number}",
}
TEMPLATES = {
    PayerMail.DECLINED: "finance/charges/payment_declined.txt.j2",
    PayerMail.NEEDS_AUTHENTICATION: "finance/charges/payment_needs_authentication.txt.j2",
}


def mail_payer(
    run: JobRun, tx: Transaction, kind: PayerMail, intent: ChargeIntent, invoice: dict[str, Any], **facts: Any
) -> int:
    """Put a mail to the client's billing contacts into the outbox, in the caller's transaction; gives how many."""
    payers = tx.one("payers", client_id=invoice["client_id"], firm_id=intent.firm_id)
    recipients = [address for address in (payers or {}).get("recipients") or [] if address]
    text = render(
        TEMPLATES[kind],
        name=payers["name"] if payers else "",
        amount=str(intent.money),
        number=invoice["invoice_number"],
        firm=invoice["firm_name"],
        link=f"{run.settings.frontend_url}/invoices/{intent.invoice_id}",
        **facts,
    )
    return outbox.enqueue(
        tx,
        [
            outbox.Mail(
                kind=kind.value,
                subject_key=intent.target,
                step=f"attempt-{intent.attempt}",
                recipient=recipient,
                title=TITLES[kind].format(number=invoice["invoice_number"]),
                text=text,
                firm_id=intent.firm_id,
            )
            for recipient in recipients
        ],
        run_id=run.run_id,
        sender=run.settings.default_from_email,
    )
