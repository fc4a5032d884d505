"""Book what became of an attempt: intent, invoice, payment, failure, mail and audit event commit together."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from cp_ops.finance.charges.answers import (
    CANCELED,
    CANCELED_BY_HAND,
    EXPIRED,
    NEVER_ARRIVED,
    DeclineClass,
    Settlement,
    State,
    next_attempt,
)
from cp_ops.finance.charges.mails import AUTHENTICATION, DECLINED, mail_payer

if TYPE_CHECKING:
    from cp_ops.finance.charges.intents import Intent
    from cp_ops.runtime.database import Tenant, Transaction
    from cp_ops.runtime.job import JobRun

STOPPED = {
    EXPIRED: "The client did not confirm the payment in time",
    CANCELED_BY_HAND: "The payment was canceled at Stripe",
}
"""Failures after which a person decides whether to charge again."""


def book(run: JobRun, tenant: Tenant, intent: Intent, settlement: Settlement) -> str:
    """Book a settlement in one transaction and give what it is called in the outcome; booked twice, it is booked once.

    An attempt that had failed is booked again when it was paid after all.

    :raises DatabaseConflictError: when the invoice stays locked: the attempt is settled by the next run.
    """
    with run.write(tenant) as tx:
        if tx.one("lock_intent", id=intent.id, state=intent.state) is None:
            return "settled before"
        invoice = tx.one("lock_invoice", invoice_id=intent.invoice_id, firm_id=intent.firm_id)
        tx.execute(
            "settle_intent",
            id=intent.id,
            state=settlement.state.value,
            payment_intent=settlement.payment_intent or intent.payment_intent,
            code=settlement.code,
            decline=settlement.decline.value,
            now=run.now,
        )
        if invoice is None:
            return (
                "charged, but its invoice is gone"
                if settlement.state is State.SUCCEEDED
                else "its invoice is gone"
            )
        return _Booking(run, tx, intent, settlement, invoice).apply()


class _Booking:
    def __init__(
        self, run: JobRun, tx: Transaction, intent: Intent, settlement: Settlement, invoice: dict[str, Any]
    ) -> None:
        self._run, self._tx, self._intent, self._settlement, self._invoice = (
            run,
            tx,
            intent,
            settlement,
            invoice,
        )
        self._key = {"invoice_id": intent.invoice_id, "firm_id": intent.firm_id}

    def apply(self) -> str:
        state, code = self._settlement.state, self._settlement.code
        if state is State.SUCCEEDED:
            return self._succeeded()
        if state in (State.PROCESSING, State.REQUIRES_ACTION):
            return self._waits()
        if code in (NEVER_ARRIVED, CANCELED):
            return code
        return self._failed()

    def _succeeded(self) -> str:
        found = self._tx.one(
            "recorded_payment", firm_id=self._intent.firm_id, payment_intent=self._settlement.payment_intent
        )
        if found is None:
            self._pay()
        self._tx.execute(
            "autopay_done", now=self._run.now, payment_intent=self._settlement.payment_intent, **self._key
        )
        self._tx.execute("failures_resolved", now=self._run.now, **self._key)
        self._audit("autopay.charged", "INFO", "success")
        return "charged"

    def _pay(self) -> None:
        """Record the payment; what exceeds the invoice's balance stays unallocated."""
        amount, day = self._amount, self._charge_day()
        balance = max(self._invoice["total_amount"] - self._invoice["amount_paid"], Decimal(0))
        allocated = min(amount, balance)
        payment = self._tx.one(
            "insert_payment",
            firm_id=self._intent.firm_id,
            client_id=self._invoice["client_id"],
            number=f"AUTOPAY-{self._intent.invoice_id}-{self._intent.attempt}",
            amount=amount,
            currency=self._intent.currency,
            payment_intent=self._settlement.payment_intent,
            allocated=allocated,
            unallocated=amount - allocated,
            day=day,
            now=self._run.now,
        )
        if payment is None or not allocated:
            return
        money = {"amount": allocated, "day": day, "now": self._run.now}
        self._tx.execute("insert_allocation", payment_id=payment["id"], **money, **self._key)
        self._tx.execute("invoice_charged", **money, **self._key)

    def _charge_day(self) -> date:
        """Give the day of the charge where the firm is."""
        charged_at = self._settlement.charged_at
        moment = datetime.fromtimestamp(charged_at, UTC) if charged_at else self._run.now
        return moment.astimezone(ZoneInfo(self._invoice["timezone"])).date()

    def _waits(self) -> str:
        state = self._settlement.state
        self._tx.execute(
            "autopay_waits",
            status=state.value,
            payment_intent=self._settlement.payment_intent,
            code=self._settlement.code,
            now=self._run.now,
            **self._key,
        )
        if state is State.REQUIRES_ACTION and self._intent.state != State.REQUIRES_ACTION:
            mail_payer(self._run, self._tx, AUTHENTICATION, self._intent, self._invoice)
            self._audit("autopay.requires_action", "INFO", "pending")
        return state.value

    def _failed(self) -> str:
        """Plan the next attempt, or stop: at once after a hard decline or a cancellation, after the last retry otherwise."""
        hard = self._settlement.decline is DeclineClass.HARD
        stopped = hard or self._settlement.code in STOPPED
        failures = self._invoice["payment_retry_count"] + 1
        again = None if stopped else next_attempt(failures, self._run.now)
        final = again is None
        mailed = final and self._settlement.code != CANCELED_BY_HAND
        reason = STOPPED.get(self._settlement.code) or f"Charge refused by Stripe: {self._settlement.code}"
        updated = self._tx.execute(
            "autopay_failed",
            status="failed" if hard or not final else "overdue",
            reason=reason[:255],
            code=self._settlement.code[:50],
            next_charge=again,
            autopay_status="failed" if final else "retrying",
            keep_autopay=not hard,
            payment_intent=self._settlement.payment_intent,
            now=self._run.now,
            **self._key,
        )
        if not updated:
            return "declined, paid by other means"
        if hard:
            self._tx.execute(
                "autopay_off",
                client_id=self._invoice["client_id"],
                firm_id=self._intent.firm_id,
                payment_method=self._intent.payment_method,
                now=self._run.now,
            )
        if mailed:
            mail_payer(
                self._run, self._tx, DECLINED, self._intent, self._invoice, final=not hard, autopay_off=hard
            )
        self._record_failure(failures, again, reason, mailed=mailed)
        self._audit("autopay.declined", "WARNING" if final else "INFO", "failure")
        if self._settlement.code in STOPPED:
            return self._settlement.code
        return "declined_for_good" if hard else "declined"

    def _record_failure(self, failures: int, again: datetime | None, reason: str, *, mailed: bool) -> None:
        self._tx.execute(
            "insert_failure",
            client_id=self._invoice["client_id"],
            amount=self._amount,
            currency=self._intent.currency,
            failure_code=self._settlement.failure_code,
            reason=reason,
            payment_intent=self._settlement.payment_intent,
            code=self._settlement.code[:100],
            retries=failures,
            next_charge=again,
            final=again is None,
            notified=mailed,
            now=self._run.now,
            **self._key,
        )

    def _audit(self, action: str, severity: str, outcome: str) -> None:
        from psycopg.types.json import Jsonb

        metadata = {
            "attempt": self._intent.attempt,
            "amount": str(self._intent.money.amount),
            "currency": self._intent.currency,
            "payment_intent": self._settlement.payment_intent,
            "code": self._settlement.code,
        }
        self._tx.execute(
            "audit_charge",
            action=action,
            severity=severity,
            outcome=outcome,
            metadata=Jsonb({name: value for name, value in metadata.items() if value}),
            run_id=self._run.run_id,
            now=self._run.now,
            **self._key,
        )

    @property
    def _amount(self) -> Decimal:
        return self._intent.money.for_ledger()
