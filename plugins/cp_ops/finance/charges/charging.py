"""Apply a plan of charges: every attempt is written down, sent, and booked; what is unfinished is found out first.

An attempt is `planned` in one commit, `submitting` in the next, and only then sent: whatever happens, the row says
whether something may have been sent, and under which key. What may have happened is never tried blindly again.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cp_ops.finance.charges.answers import (
    CANCELED,
    CANCELED_BY_HAND,
    EXPIRED,
    NEVER_ARRIVED,
    DeclineClass,
    Settlement,
    State,
    read_intent,
)
from cp_ops.finance.charges.attempts import Sending
from cp_ops.finance.charges.intents import (
    Intent,
    StripePayments,
    idempotency_key,
    look_up,
    may_ask_again,
    may_conclude,
)
from cp_ops.finance.charges.preconditions import PaymentMethods, collected_by_stripe
from cp_ops.runtime.errors import RemoteConnectionLostError, RowFailedError
from cp_ops.runtime.firms import SERVED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cp_ops.runtime.database import Tenant
    from cp_ops.runtime.job import JobRun
    from cp_ops.runtime.plan import Action

log = logging.getLogger(__name__)

AUTHENTICATION_DAYS = timedelta(days=14)
"""How long a client may take to confirm a payment; then it is canceled and the invoice is overdue."""
CHANGED = "locked, or changed since it was planned"
PAID_THERE = "its last failed charge was paid at Stripe meanwhile"


class Collection(Sending):
    """Settles the attempts of earlier runs and makes the planned charges, one after the other."""

    def __init__(self, run: JobRun, stripe: StripePayments, tenants: Mapping[int, Tenant]) -> None:
        super().__init__(run, stripe, tenants)
        self._methods = PaymentMethods(run, stripe)

    # -- attempts of earlier runs ------------------------------------------------------------------------------------

    def finish(self, actions: Sequence[Action]) -> None:
        """Find out what became of unfinished attempts."""
        for action in actions:
            self._guarded(int(action.data["intent"] or 0), self._finish)

    def _finish(self, intent: Intent) -> None:
        if intent.state == State.SUCCEEDED:
            self._attach(intent)
            return
        settlement = self._settlement_of(intent)
        if settlement is None or settlement.state == intent.state:
            self._run.skip(f"its last charge is {intent.state}")
            return
        self._book(intent, self._explained(intent, settlement))

    def _settlement_of(self, intent: Intent) -> Settlement | None:
        """Give what Stripe says of an attempt; None: nothing new."""
        if intent.state in (State.SUBMITTING, State.UNKNOWN):
            return self._ask_again_or_look_up(intent)
        settlement = read_intent(self._payment_of(intent))
        if settlement.state is State.REQUIRES_ACTION:
            return self._waiting_for_client(intent)
        return settlement

    def _ask_again_or_look_up(self, intent: Intent) -> Settlement | None:
        """Resolve a charge that may have happened: by its key while Stripe remembers it, by its metadata after that.

        Asked again, the charge is made if it never was: only where a new one might be made, too.
        """
        if may_ask_again(intent, self._run.now) and self._may_be_charged(intent):
            try:
                return self._send(intent)
            except RemoteConnectionLostError:  # Stripe may replay a 500 as long as it remembers the key
                found = look_up(self._stripe, intent) if may_conclude(intent, self._run.now) else None
                if found is None:
                    raise
                return found
        found = look_up(self._stripe, intent)
        if found is None and may_conclude(intent, self._run.now):
            return Settlement(State.FAILED, code=NEVER_ARRIVED)
        return found

    def _may_be_charged(self, intent: Intent) -> bool:
        """Tell whether firm, client and invoice still want the charge, and its payment method is still the customer's.

        :raises RowFailedError: when Stripe does not know the customer: then it would not know the charge either.
        """
        if not self._due("may_be_charged", intent, served=list(SERVED)):
            return False
        if self._methods.customer_of(intent.payment_method) == intent.customer:
            return True
        if self._stripe.get("customers", intent.customer) is None:
            raise RowFailedError(
                f"Stripe does not know {intent.customer}, who may have been charged: check that connection "
                "stripe_default holds a key of the right account and mode"
            )
        return False

    def _waiting_for_client(self, intent: Intent) -> Settlement | None:
        """Let a client have the time to confirm; cancel what was paid by other means, or waited for too long."""
        return None if self._still_due(intent) and not self._late(intent) else self._cancel(intent)

    def _explained(self, intent: Intent, settlement: Settlement) -> Settlement:
        """Say why a payment was canceled: nobody owes it any more, nobody confirmed it in time, or a person did it."""
        if settlement.code != CANCELED or not self._still_due(intent):
            return settlement
        return replace(settlement, code=EXPIRED if self._late(intent) else CANCELED_BY_HAND)

    def _late(self, intent: Intent) -> bool:
        waits = intent.state == State.REQUIRES_ACTION and intent.submitted_at is not None
        return waits and self._run.now - (intent.submitted_at or self._run.now) > AUTHENTICATION_DAYS

    def _still_due(self, intent: Intent) -> bool:
        return self._due("still_due", intent)

    def _due(self, statement: str, intent: Intent, **more: list[str]) -> bool:
        with self._run.read(self._tenants[intent.firm_id]) as tx:
            row = tx.one(
                statement,
                invoice_id=intent.invoice_id,
                firm_id=intent.firm_id,
                amount=intent.money.for_ledger(),
                **more,
            )
        return bool(row and row["due"])

    # -- new charges -------------------------------------------------------------------------------------------------

    def charge(self, actions: Sequence[Action]) -> None:
        """Write the planned charges down, then make them one by one."""
        self._methods.resolve(str(action.data["payment_method"]) for action in actions)
        planned = {int(action.data["invoice"] or 0): action for action in actions}
        ids = self._write_down(actions)
        for invoice_id, action in planned.items():
            if invoice_id not in ids:
                self._run.skip("another attempt stands in the way")
                continue
            self._guarded(ids[invoice_id], lambda intent, action=action: self._charge(intent, action))
            self._run.progress(f"{self._run.outcome.done} of {len(planned)} charges made")

    def _write_down(self, actions: Sequence[Action]) -> dict[int, int]:
        ids: dict[int, int] = {}
        with self._run.write() as tx:
            tx.execute("withdraw_planned", run_id=self._run.run_id, firm_ids=list(self._tenants))
            rows = tx.rows(
                "insert_intents",
                now=self._run.now,
                run_id=self._run.run_id,
                firm_ids=[action.firm_id for action in actions],
                invoice_ids=[action.data["invoice"] for action in actions],
                attempts=[action.data["attempt"] for action in actions],
                keys=[
                    idempotency_key(int(action.data["invoice"] or 0), int(action.data["attempt"] or 0))
                    for action in actions
                ],
                amounts=[action.data["amount"] for action in actions],
                currencies=[action.data["currency"] for action in actions],
                methods=[action.data["payment_method"] for action in actions],
                stripe_invoices=[action.data["stripe_invoice"] for action in actions],
            )
        ids.update((row["invoice_id"], row["id"]) for row in rows)
        return ids

    def _charge(self, intent: Intent, action: Action) -> None:
        if reason := collected_by_stripe(self._run, self._stripe, self._tenants[intent.firm_id], intent):
            self._leave(intent, reason)
            return
        if not self._last_failure_closed(intent):
            return
        customer = self._methods.customer_of(intent.payment_method)
        if customer is None:
            code = "payment_method_missing"
            self._book(intent, Settlement(State.FAILED, code=code, decline=DeclineClass.HARD))
            return
        with self._run.write(self._tenants[intent.firm_id]) as tx:
            claimed = tx.one(
                "claim_intent",
                id=intent.id,
                invoice_id=intent.invoice_id,
                firm_id=intent.firm_id,
                customer=customer,
                total=action.data["total"],
                paid=action.data["paid"],
                now=self._run.now,
            )
        if claimed is None:
            self._leave(intent, CHANGED)
            return
        claimed_intent = replace(
            intent, customer=customer, state=State.SUBMITTING.value, submitted_at=self._run.now
        )
        self._book(claimed_intent, self._send(claimed_intent, first=True))

    def _leave(self, intent: Intent, reason: str) -> None:
        self._withdraw(intent)
        log.info("not charged: %s: %s", intent.target, reason)
        self._run.skip(reason)

    def _last_failure_closed(self, intent: Intent) -> bool:
        """Cancel the payment of the last failed attempt, which the client could still pay; False: it was paid.

        Each attempt closes the one before, so that at most one of an invoice can be paid at any time.
        """
        with self._run.read() as tx:
            failed = tx.one("last_failure", Intent, invoice_id=intent.invoice_id, attempt=intent.attempt)
        if failed is None or failed.code in (CANCELED, CANCELED_BY_HAND, EXPIRED):
            return True
        try:
            settlement = self._cancel(failed)
        except Exception:
            self._withdraw(intent)
            raise
        if settlement.state is State.FAILED:
            return True
        self._leave(intent, PAID_THERE)
        self._book(failed, settlement)
        return False
