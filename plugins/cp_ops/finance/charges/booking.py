"""Write a settlement into the application's rows: intent, invoice, payment, failure, mail and audit event commit together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from psycopg.types.json import Jsonb

from cp_ops.finance.charges.answers import AttemptState, OwnCode, Settlement
from cp_ops.finance.charges.mails import PayerMail, mail_payer
from cp_ops.finance.charges.plan import OPEN_STATUSES
from cp_ops.finance.charges.retries import Aftermath, after_failure

if TYPE_CHECKING:
    from cp_ops.finance.charges.intents import ChargeIntent
    from cp_ops.runtime.database import Tenant, Transaction
    from cp_ops.runtime.job import JobRun


def book_settlement(run: JobRun, tenant: Tenant, intent: ChargeIntent, settlement: Settlement) -> str:
    """Book a settlement in one transaction and give what it is called in the outcome; booked twice, it is booked once.

    An attempt that had failed is booked again when it was paid after all.

    :raises DatabaseConflictError: when the invoice stays locked: the attempt is settled by the next run.
    """
    with run.write(tenant) as tx:
        # Another run may have settled the attempt since it was read. The row's lock makes one of the two wait and see.
        if tx.one("lock_intent", id=intent.id, state=intent.state) is None:
            return "settled before"
        # Locked before it is read: the balance must not change between the sum that is allocated and the sum that is paid.
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
            paid = settlement.state is AttemptState.SUCCEEDED
            return "charged, but its invoice is gone" if paid else "its invoice is gone"
        return _Booking(run, tx, intent, settlement, invoice).apply()


@dataclass(frozen=True, slots=True)
class _Booking:
    """One settlement, one invoice, one transaction."""

    run: JobRun
    tx: Transaction
    intent: ChargeIntent
    settlement: Settlement
    invoice: dict[str, Any]

    def apply(self) -> str:
        match self.settlement.state:
            case AttemptState.SUCCEEDED:
                return self._succeeded()
            case AttemptState.PROCESSING | AttemptState.REQUIRES_ACTION:
                return self._waits()
        # Neither is a failure of the client's: nothing is counted, mailed or tried again because of it.
        if self.settlement.code in (OwnCode.NEVER_ARRIVED, OwnCode.CANCELED):
            return self.settlement.code
        return self._failed()

    # -- paid ---------------------------------------------------------------------------------------------------------

    def _succeeded(self) -> str:
        payment_intent = self.settlement.payment_intent
        # The application's webhook may have been faster than this run: then the payment is recorded already.
        if (
            self.tx.one("recorded_payment", firm_id=self.intent.firm_id, payment_intent=payment_intent)
            is None
        ):
            self._pay()
        self.tx.execute("autopay_done", now=self.run.now, payment_intent=payment_intent, **self._key)
        self.tx.execute("failures_resolved", now=self.run.now, **self._key)
        self._audit("autopay.charged", "INFO", "success")
        return "charged"

    def _pay(self) -> None:
        """Record the payment; what exceeds the invoice's balance stays unallocated."""
        amount, day = self._amount, self._charge_day()
        balance = max(self.invoice["total_amount"] - self.invoice["amount_paid"], Decimal(0))
        allocated = min(amount, balance)
        payment = self.tx.one(
            "insert_payment",
            firm_id=self.intent.firm_id,
            client_id=self.invoice["client_id"],
            number=f"AUTOPAY-{self.intent.invoice_id}-{self.intent.attempt}",
            amount=amount,
            currency=self.intent.currency,
            payment_intent=self.settlement.payment_intent,
            allocated=allocated,
            unallocated=amount - allocated,
            day=day,
            now=self.run.now,
        )
        # An earlier booking of this attempt wrote the payment, or the client paid by other means and nothing is owed.
        if payment is None or not allocated:
            return
        money = {"amount": allocated, "day": day, "now": self.run.now}
        self.tx.execute("insert_allocation", payment_id=payment["id"], **money, **self._key)
        self.tx.execute("invoice_charged", open_statuses=list(OPEN_STATUSES), **money, **self._key)

    def _charge_day(self) -> date:
        """Give the day of the charge where the firm is."""
        charged_at = self.settlement.charged_at
        moment = datetime.fromtimestamp(charged_at, UTC) if charged_at else self.run.now
        return moment.astimezone(ZoneInfo(self.invoice["timezone"])).date()

    # -- not decided --------------------------------------------------------------------------------------------------

    def _waits(self) -> str:
        state = self.settlement.state
        self.tx.execute(
            "autopay_waits",
            status=state.value,
            payment_intent=self.settlement.payment_intent,
            code=self.settlement.code,
            open_statuses=list(OPEN_STATUSES),
            now=self.run.now,
            **self._key,
        )
        # One mail per attempt: the hourly run finds the same payment waiting again and again.
        if state is AttemptState.REQUIRES_ACTION and self.intent.state != AttemptState.REQUIRES_ACTION:
            self._mail(PayerMail.NEEDS_AUTHENTICATION)
            self._audit("autopay.requires_action", "INFO", "pending")
        return state.value

    # -- failed -------------------------------------------------------------------------------------------------------

    def _failed(self) -> str:
        failures = self.invoice["payment_retry_count"] + 1
        aftermath = after_failure(self.settlement, failures=failures, now=self.run.now)
        if not self._note_failure(aftermath):
            return "declined, paid by other means"
        # Every other invoice of the client with this payment method would be declined, too.
        if aftermath.hard:
            self.tx.execute(
                "autopay_off",
                client_id=self.invoice["client_id"],
                firm_id=self.intent.firm_id,
                payment_method=self.intent.payment_method,
                now=self.run.now,
            )
        if aftermath.mailed:
            self._mail(PayerMail.DECLINED, final=not aftermath.hard, autopay_off=aftermath.hard)
        self._record_failure(aftermath)
        self._audit("autopay.declined", "WARNING" if aftermath.final else "INFO", "failure")
        return aftermath.outcome

    def _note_failure(self, aftermath: Aftermath) -> int:
        """Note the failure on the invoice; 0 when it is not owed any more."""
        return self.tx.execute(
            "autopay_failed",
            status=aftermath.invoice_status,
            reason=aftermath.reason[:255],
            code=self.settlement.code[:50],
            next_charge=aftermath.next_charge,
            autopay_status=aftermath.autopay_status,
            keep_autopay=not aftermath.hard,
            payment_intent=self.settlement.payment_intent,
            open_statuses=list(OPEN_STATUSES),
            now=self.run.now,
            **self._key,
        )

    def _record_failure(self, aftermath: Aftermath) -> None:
        self.tx.execute(
            "insert_failure",
            client_id=self.invoice["client_id"],
            amount=self._amount,
            currency=self.intent.currency,
            failure_code=self.settlement.failure_code,
            reason=aftermath.reason,
            payment_intent=self.settlement.payment_intent,
            code=self.settlement.code[:100],
            retries=aftermath.failures,
            next_charge=aftermath.next_charge,
            final=aftermath.final,
            notified=aftermath.mailed,
            now=self.run.now,
            **self._key,
        )

    # -- common to all ------------------------------------------------------------------------------------------------

    def _mail(self, kind: PayerMail, **facts: bool) -> None:
        mail_payer(self.run, self.tx, kind, self.intent, self.invoice, **facts)

    def _audit(self, action: str, severity: str, outcome: str) -> None:
        metadata = {
            "attempt": self.intent.attempt,
            "amount": str(self.intent.money.amount),
            "currency": self.intent.currency,
            "payment_intent": self.settlement.payment_intent,
            "code": self.settlement.code,
        }
        self.tx.execute(
            "audit_charge",
            action=action,
            severity=severity,
            outcome=outcome,
            metadata=Jsonb({name: value for name, value in metadata.items() if value}),
            run_id=self.run.run_id,
            now=self.run.now,
            **self._key,
        )

    @property
    def _amount(self) -> Decimal:
        return self.intent.money.for_ledger()

    @property
    def _key(self) -> dict[str, int]:
        return {"invoice_id": self.intent.invoice_id, "firm_id": self.intent.firm_id}
