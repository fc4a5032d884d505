"""The attempts that earlier runs left open: find out at Stripe what became of each, then book it.

What may have happened is never tried blindly again. While Stripe surely remembers the attempt's key, repeating the request
tells what became of it; after that, only a look into the customer's payments does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cp_ops.finance.charges.answers import AttemptState, OwnCode, Settlement, read_payment_intent
from cp_ops.finance.charges.intents import look_up, may_ask_again, may_conclude
from cp_ops.finance.charges.plan import OPEN_STATUSES, FinishAttempt
from cp_ops.runtime.errors import RemoteConnectionLostError, RowFailedError
from cp_ops.runtime.firms import SERVED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cp_ops.finance.charges.attempts import Attempts
    from cp_ops.finance.charges.intents import ChargeIntent, StripePayments
    from cp_ops.finance.charges.preconditions import PaymentMethods
    from cp_ops.runtime.database import Tenants
    from cp_ops.runtime.job import JobRun
    from cp_ops.runtime.plan import Action

AUTHENTICATION_DAYS = timedelta(days=14)
"""How long a client may take to confirm a payment; then it is canceled and the invoice is overdue."""


@dataclass(frozen=True, slots=True)
class UnfinishedAttempts:
    """Settles the attempts of earlier runs."""

    run: JobRun
    stripe: StripePayments
    tenants: Tenants
    attempts: Attempts
    methods: PaymentMethods

    def finish(self, actions: Sequence[Action]) -> None:
        """Find out what became of unfinished attempts."""
        for action in actions:
            intent = self.attempts.read(action.payload(FinishAttempt).intent)
            if intent is not None:
                with self.attempts.failing_alone(intent):
                    self._finish(intent)

    def _finish(self, intent: ChargeIntent) -> None:
        if intent.state == AttemptState.SUCCEEDED:
            self.attempts.attach(intent)
            return
        settlement = self._settlement_of(intent)
        # For example a bank debit, which takes days: it is processing still.
        if settlement is None or settlement.state == intent.state:
            self.run.skip(f"its last charge is {intent.state}")
            return
        self.attempts.book(intent, self._with_cause_of_cancellation(intent, settlement))

    def _settlement_of(self, intent: ChargeIntent) -> Settlement | None:
        """Give what Stripe says of an attempt; None: nothing new."""
        if intent.state in (AttemptState.SUBMITTING, AttemptState.UNKNOWN):
            return self._resolve_lost_answer(intent)
        settlement = read_payment_intent(self.attempts.retrieve(intent))
        if settlement.state is AttemptState.REQUIRES_ACTION:
            return self._waiting_for_client(intent)
        return settlement

    # -- a charge whose answer was lost -------------------------------------------------------------------------------

    def _resolve_lost_answer(self, intent: ChargeIntent) -> Settlement | None:
        """Resolve a charge that may have happened: by its key while Stripe remembers it, by its metadata after that.

        Repeating the request creates the charge if the first never arrived, so repeat it only while the invoice may
        still be charged.
        """
        if may_ask_again(intent, self.run.now) and self._may_still_be_charged(intent):
            return self._ask_again(intent)
        # Nothing found means "never arrived" only after a while: a request may still be on its way.
        found = look_up(self.stripe, intent)
        if found is None and may_conclude(intent, self.run.now):
            return Settlement(AttemptState.FAILED, code=OwnCode.NEVER_ARRIVED)
        return found

    def _ask_again(self, intent: ChargeIntent) -> Settlement:
        """Repeat the request under its key."""
        try:
            return self.attempts.ask(intent)
        except RemoteConnectionLostError:
            # Stripe may replay a 500 for as long as it remembers the key, so that asking would never end. A payment that
            # is found now settles the attempt; one that is not found proves nothing: this very request may arrive yet.
            found = look_up(self.stripe, intent) if may_conclude(intent, self.run.now) else None
            if found is None:
                raise
            return found

    def _may_still_be_charged(self, intent: ChargeIntent) -> bool:
        """Tell whether firm, client and invoice still want the charge, and its payment method is still the customer's.

        :raises RowFailedError: when Stripe does not know the customer: then it would not know the charge either.
        """
        if not self._is("may_be_charged", intent, served=list(SERVED)):
            return False
        if self.methods.customer_of(intent.payment_method) == intent.customer:
            return True
        # With the key of another account every payment is unknown. Taken for "never arrived", it would be charged again.
        if self.stripe.get("customers", intent.customer) is None:
            raise RowFailedError(
                f"Stripe does not know {intent.customer}, who may have been charged: check that connection "
                "stripe_default holds a key of the right account and mode"
            )
        return False

    # -- a payment that waits for its client --------------------------------------------------------------------------

    def _waiting_for_client(self, intent: ChargeIntent) -> Settlement | None:
        """Let a client have the time to confirm; cancel what was paid by other means, or waited for too long."""
        if self._is("still_due", intent) and not self._late(intent):
            return None
        return self.attempts.cancel(intent)

    def _with_cause_of_cancellation(self, intent: ChargeIntent, settlement: Settlement) -> Settlement:
        """Say why a payment was canceled: nobody owes it any more, nobody confirmed it in time, or a person did it."""
        if settlement.code != OwnCode.CANCELED or not self._is("still_due", intent):
            return settlement
        return replace(settlement, code=OwnCode.EXPIRED if self._late(intent) else OwnCode.CANCELED_BY_HAND)

    def _late(self, intent: ChargeIntent) -> bool:
        if intent.state != AttemptState.REQUIRES_ACTION or intent.submitted_at is None:
            return False
        return self.run.now - intent.submitted_at > AUTHENTICATION_DAYS

    def _is(self, rule: str, intent: ChargeIntent, **more: list[str]) -> bool:
        """Ask the database a yes-or-no rule about an attempt's invoice; no, when the invoice is gone.

        :param rule: the statement, ``still_due`` or ``may_be_charged``.
        """
        with self.run.read(self.tenants.of(intent.firm_id)) as tx:
            row = tx.one(
                rule,
                invoice_id=intent.invoice_id,
                firm_id=intent.firm_id,
                amount=intent.money.for_ledger(),
                open_statuses=list(OPEN_STATUSES),
                **more,
            )
        return bool(row and row["due"])
