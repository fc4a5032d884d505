"""Write a settlement into the application's rows: intent, invoice, payment, failure, mail and audit event commit together."""

from __future__ import annotations

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


class _Booking:
    """One settlement, one invoice, one transaction."""

    def __init__(
        self,
        run: JobRun,
        tx: Transaction,
        intent: ChargeIntent,
        settlement: Settlement,
        invoice: dict[str, Any],
    ) -> None:
        self._run = run
        self._tx = tx
        self._intent = intent
        self._settlement = settlement
        self._invoice = invoice
        self._key = {"invoice_id": intent.invoice_id, "firm_id": intent.firm_id}

    def apply(self) -> str:
        match self._settlement.state:
            case AttemptState.SUCCEEDED:
                return self._succeeded()
            case AttemptState.PROCESSING | AttemptState.REQUIRES_ACTION:
                return self._waits()
        # Neither is a failure of the client's: nothing is counted, mailed or tried again because of it.
        if self._settlement.code in (OwnCode.NEVER_ARRIVED, OwnCode.CANCELED):
            return self._settlement.code
        return self._failed()

    # -- paid ---------------------------------------------------------------------------------------------------------

    def _succeeded(self) -> str:
        payment_intent = self._settlement.payment_intent
        # The application's webhook may have been faster than this run: then the payment is recorded already.
        if (
            self._tx.one("recorded_payment", firm_id=self._intent.firm_id, payment_intent=payment_intent)
            is None
        ):
            self._pay()
        self._tx.execute("autopay_done", now=self._run.now, payment_intent=payment_intent, **self._key)
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
        self._tx.execute("invoice_charged", open_statuses=list(OPEN_STATUSES), **money, **self._key)

    def _charge_day(self) -> date:
        """Give the day of the charge where the firm is."""
        charged_at = self._settlement.charged_at
        moment = datetime.fromtimestamp(charged_at, UTC) if charged_at else self._run.now
        return moment.astimezone(ZoneInfo(self._invoice["timezone"])).date()

    # -- not decided --------------------------------------------------------------------------------------------------

    def _waits(self) -> str:
        state = self._settlement.state
        self._tx.execute(
            "autopay_waits",
            status=state.value,
            payment_intent=self._settlement.payment_intent,
            code=self._settlement.code,
            open_statuses=list(OPEN_STATUSES),
            now=self._run.now,
            **self._key,
        )
        if state is AttemptState.REQUIRES_ACTION and self._intent.state != AttemptState.REQUIRES_ACTION:
            self._mail(PayerMail.NEEDS_AUTHENTICATION)
            self._audit("autopay.requires_action", "INFO", "pending")
        return state.value

    # -- failed -------------------------------------------------------------------------------------------------------

    def _failed(self) -> str:
        failures = self._invoice["payment_retry_count"] + 1
        aftermath = after_failure(self._settlement, failures=failures, now=self._run.now)
        if not self._note_failure(aftermath):
            return "declined, paid by other means"
        if aftermath.hard:
            self._tx.execute(
                "autopay_off",
                client_id=self._invoice["client_id"],
                firm_id=self._intent.firm_id,
                payment_method=self._intent.payment_method,
                now=self._run.now,
            )
        if aftermath.mailed:
            self._mail(PayerMail.DECLINED, final=not aftermath.hard, autopay_off=aftermath.hard)
        self._record_failure(aftermath)
        self._audit("autopay.declined", "WARNING" if aftermath.final else "INFO", "failure")
        return aftermath.outcome

    def _note_failure(self, aftermath: Aftermath) -> int:
        """Note the failure on the invoice; 0 when it is not owed any more."""
        return self._tx.execute(
            "autopay_failed",
            status=aftermath.invoice_status,
            reason=aftermath.reason[:255],
            code=self._settlement.code[:50],
            next_charge=aftermath.next_charge,
            autopay_status=aftermath.autopay_status,
            keep_autopay=not aftermath.hard,
            payment_intent=self._settlement.payment_intent,
            open_statuses=list(OPEN_STATUSES),
            now=self._run.now,
            **self._key,
        )

    def _record_failure(self, aftermath: Aftermath) -> None:
        self._tx.execute(
            "insert_failure",
            client_id=self._invoice["client_id"],
            amount=self._amount,
            currency=self._intent.currency,
            failure_code=self._settlement.failure_code,
            reason=aftermath.reason,
            payment_intent=self._settlement.payment_intent,
            code=self._settlement.code[:100],
            retries=aftermath.failures,
            next_charge=aftermath.next_charge,
            final=aftermath.final,
            notified=aftermath.mailed,
            now=self._run.now,
            **self._key,
        )

    # -- common to all ------------------------------------------------------------------------------------------------

    def _mail(self, kind: PayerMail, **facts: bool) -> None:
        mail_payer(self._run, self._tx, kind, self._intent, self._invoice, **facts)

    def _audit(self, action: str, severity: str, outcome: str) -> None:
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
