"""New charges. For each invoice: look at Stripe, claim the invoice, ask for the charge, book the answer.

An attempt is `planned` in one commit, `submitting` in the next, and only then sent: whatever happens, the row says
whether something may have been sent, and under which key. What may have happened is never tried blindly again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cp_ops.finance.charges.answers import (
    PAYMENT_METHOD_MISSING,
    AttemptState,
    DeclineClass,
    OwnCode,
    Settlement,
)
from cp_ops.finance.charges.intents import ChargeIntent, StripePayments, idempotency_key
from cp_ops.finance.charges.plan import OPEN_STATUSES, ChargeInvoice
from cp_ops.finance.charges.preconditions import PaymentMethods, obstacle_at_stripe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cp_ops.finance.charges.attempts import Attempts
    from cp_ops.runtime.database import Tenants
    from cp_ops.runtime.job import JobRun
    from cp_ops.runtime.plan import Action

log = logging.getLogger(__name__)

CHANGED = "locked, or changed since it was planned"
PAID_THERE = "its last failed charge was paid at Stripe meanwhile"
CANNOT_BE_PAID = (OwnCode.CANCELED, OwnCode.CANCELED_BY_HAND, OwnCode.EXPIRED)
"""Codes of failed attempts whose payment intent is canceled already."""


@dataclass(frozen=True, slots=True)
class NewCharges:
    """Makes the planned charges, one after the other."""

    run: JobRun
    stripe: StripePayments
    tenants: Tenants
    attempts: Attempts
    methods: PaymentMethods

    def make(self, actions: Sequence[Action]) -> None:
        """Write the planned charges down, then make them one by one."""
        charges = [action.payload(ChargeInvoice) for action in actions]
        self.methods.resolve(charge.payment_method for charge in charges)
        ids = self._write_down(charges, firm_ids=[action.firm_id for action in actions])
        for charge in charges:
            # The database refused the row: another run has begun to charge the invoice since the plan was made.
            if charge.invoice not in ids:
                self.run.skip("another attempt stands in the way")
                continue
            self._charge_alone(ids[charge.invoice], charge)
            self.run.progress(f"{self.run.outcome.done} of {len(charges)} charges made")

    def _write_down(
        self, charges: Sequence[ChargeInvoice], *, firm_ids: Sequence[int | None]
    ) -> dict[int, int]:
        """Insert the attempts, all of them before the first is sent; gives their ids by invoice."""
        with self.run.write() as tx:
            tx.execute("withdraw_planned", run_id=self.run.run_id, firm_ids=self.tenants.firm_ids)
            rows = tx.rows(
                "insert_intents",
                now=self.run.now,
                run_id=self.run.run_id,
                firm_ids=firm_ids,
                invoice_ids=[charge.invoice for charge in charges],
                attempts=[charge.attempt for charge in charges],
                keys=[idempotency_key(charge.invoice, charge.attempt) for charge in charges],
                amounts=[charge.amount for charge in charges],
                currencies=[charge.currency for charge in charges],
                methods=[charge.payment_method for charge in charges],
                stripe_invoices=[charge.stripe_invoice for charge in charges],
            )
        return {row["invoice_id"]: row["id"] for row in rows}

    def _charge_alone(self, intent_id: int, planned: ChargeInvoice) -> None:
        intent = self.attempts.read(intent_id)
        if intent is not None:
            with self.attempts.failing_alone(intent):
                self._charge(intent, planned)

    def _charge(self, intent: ChargeIntent, planned: ChargeInvoice) -> None:
        tenant = self.tenants.of(intent.firm_id)
        if obstacle := obstacle_at_stripe(self.run, self.stripe, tenant, intent):
            self._leave(intent, obstacle)
            return
        if not self._last_failure_is_closed(intent):
            return
        # The application keeps no customer, and a payment method may have been moved: Stripe says whose it is now.
        customer = self.methods.customer_of(intent.payment_method)
        if customer is None:
            missing = Settlement(AttemptState.FAILED, code=PAYMENT_METHOD_MISSING, decline=DeclineClass.HARD)
            self.attempts.book(intent, missing)
            return
        # The claim is the last look at the application. What changes after it is met when the answer is booked.
        if not self._claim(intent, planned, customer):
            self._leave(intent, CHANGED)
            return
        # From the claim's commit on the charge may have been sent. A later run that finds it `submitting` finds out.
        claimed = replace(
            intent, customer=customer, state=AttemptState.SUBMITTING.value, submitted_at=self.run.now
        )
        self.attempts.book(claimed, self.attempts.ask(claimed, first=True))

    def _claim(self, intent: ChargeIntent, planned: ChargeInvoice, customer: str) -> bool:
        """Turn a planned attempt into one that is sent; not when its invoice is locked or is not what was planned on."""
        with self.run.write(self.tenants.of(intent.firm_id)) as tx:
            claimed = tx.one(
                "claim_intent",
                id=intent.id,
                invoice_id=intent.invoice_id,
                firm_id=intent.firm_id,
                customer=customer,
                open_statuses=list(OPEN_STATUSES),
                total=planned.total,
                paid=planned.paid,
                now=self.run.now,
            )
        return claimed is not None

    def _leave(self, intent: ChargeIntent, reason: str) -> None:
        self.attempts.withdraw(intent)
        log.info("not charged: %s: %s", intent.target, reason)
        self.run.skip(reason)

    def _last_failure_is_closed(self, intent: ChargeIntent) -> bool:
        """Cancel the payment of the last failed attempt, which the client could still pay; False: it was paid.

        Each attempt closes the one before, so that at most one of an invoice can be paid at any time.
        """
        with self.run.read() as tx:
            failed = tx.one(
                "last_failure", ChargeIntent, invoice_id=intent.invoice_id, attempt=intent.attempt
            )
        if failed is None or failed.code in CANNOT_BE_PAID:
            return True
        try:
            settlement = self.attempts.cancel(failed)
        except Exception:
            self.attempts.withdraw(intent)  # nothing was sent for it
            raise
        if settlement.state is AttemptState.FAILED:
            return True
        # The new attempt goes first: an invoice has one open attempt at most, and the old one may become `processing`.
        self._leave(intent, PAID_THERE)
        self.attempts.book(failed, settlement)
        return False
