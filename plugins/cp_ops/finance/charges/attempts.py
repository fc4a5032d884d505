"""What charging does at Stripe with one attempt: send it, cancel it, book its result, attach it to its invoice."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cp_ops.finance.charges.answers import OUR_CODES, Settlement, State, read_answer, read_intent
from cp_ops.finance.charges.booking import book
from cp_ops.finance.charges.intents import Intent, StripePayments, charge_request
from cp_ops.runtime.errors import (
    CpOpsError,
    ImplausibleError,
    LeaseLostError,
    RemoteConnectionLostError,
    RemoteRefusedError,
    RemoteUnavailableError,
    RowFailedError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cp_ops.runtime.database import Tenant
    from cp_ops.runtime.job import JobRun

GIVE_UP_AFTER = 3
"""Calls in a row without an answer after which the run stops: an outage must not make every charge unknown."""
DECIDED = ("succeeded", "processing", "requires_capture", "canceled")
"""Statuses of payment intents that cancel no more."""


class Sending:
    """The base of `Collection`: what it does with one attempt."""

    def __init__(self, run: JobRun, stripe: StripePayments, tenants: Mapping[int, Tenant]) -> None:
        self._run = run
        self._stripe = stripe
        self._tenants = tenants
        self._unanswered = 0

    def _send(self, intent: Intent, *, first: bool = False) -> Settlement:
        """Ask Stripe for the charge.

        :param first: nothing was sent for this attempt before.
        :raises RemoteConnectionLostError: when it may or may not have happened; the intent says so.
        :raises RemoteUnavailableError, RemoteRefusedError: when this send had no effect; a new intent is withdrawn.
        """
        try:
            answer = self._stripe.post(
                "/v1/payment_intents", charge_request(intent), idempotency_key=intent.idempotency_key
            )
        except RemoteConnectionLostError:
            self._mark_unknown(intent, "no_answer")
            raise
        except (RemoteUnavailableError, RemoteRefusedError):
            if first:
                self._withdraw(intent)
            raise
        return read_answer(answer.status, answer.body)

    def _cancel(self, intent: Intent) -> Settlement:
        """Cancel an attempt's payment intent, so that nobody can pay it any more; give what became of it.

        :raises RowFailedError: when it is neither canceled nor decided.
        """
        path = f"/v1/payment_intents/{intent.payment_intent}/cancel"
        lost: RemoteConnectionLostError | None = None
        try:
            answer = self._stripe.post(path, {}, idempotency_key=f"{intent.idempotency_key}-cancel")
            if answer.accepted:
                return read_intent(answer.body)
        except RemoteConnectionLostError as error:  # Stripe may replay a 500 as long as it remembers the key
            lost = error
        found = self._payment_of(intent)
        if found["status"] in DECIDED:
            return read_intent(found)
        raise lost or RowFailedError(
            f"Stripe would not cancel {intent.payment_intent}, which can still be paid: look into its account"
        )

    def _payment_of(self, intent: Intent) -> dict[str, Any]:
        found = self._stripe.get("payment_intents", intent.payment_intent, expand=("latest_charge",))
        if found is None:
            raise RowFailedError(
                f"Stripe does not know {intent.payment_intent} any more: look into its account"
            )
        return found

    def _withdraw(self, intent: Intent) -> None:
        with self._run.write() as tx:
            tx.execute("withdraw_intent", id=intent.id)

    def _mark_unknown(self, intent: Intent, code: str) -> None:
        with self._run.write() as tx:
            tx.execute("mark_unknown", id=intent.id, code=code)

    def _book(self, intent: Intent, settlement: Settlement) -> None:
        if settlement.state is State.UNKNOWN:
            self._mark_unknown(intent, settlement.code)
            raise RowFailedError(
                "Stripe knows the attempt's key for another request: the next run looks it up"
            )
        name = book(self._run, self._tenants[intent.firm_id], intent, settlement)
        self._run.done(name, 1, intent.firm_id)
        if settlement.state is State.SUCCEEDED and intent.stripe_invoice:
            self._attach(replace(intent, payment_intent=settlement.payment_intent))
        if settlement.state is State.FAILED and not settlement.decline and settlement.code not in OUR_CODES:
            raise RowFailedError(f"Stripe refused the request: {settlement.code}")

    def _attach(self, intent: Intent) -> None:
        """Let the payment pay the Stripe invoice, so that nobody pays it there again."""
        answer = self._stripe.post(
            f"/v1/invoices/{intent.stripe_invoice}/attach_payment",
            {"payment_intent": intent.payment_intent},
            idempotency_key=f"{intent.idempotency_key}-attach",
        )
        with self._run.write() as tx:
            tx.execute("mark_attached", id=intent.id, attached=answer.accepted)
        if not answer.accepted:
            code = answer.body.get("code") or answer.body.get("type")
            raise RowFailedError(
                f"charged, but Stripe would not attach the payment to {intent.stripe_invoice} ({code}): void it there"
            )

    def _guarded(self, intent_id: int, work: Any) -> None:
        """Work on one attempt; whatever befalls it does not stop the others, but a key that is refused does."""
        with self._run.read() as tx:
            intent = tx.one("intent", Intent, id=intent_id)
        if intent is None:
            return
        try:
            work(intent)
        except (LeaseLostError, RemoteRefusedError, ImplausibleError):
            raise
        except RemoteUnavailableError as error:
            self._run.fail(intent.target, error)
            self._unanswered += 1
            if self._unanswered >= GIVE_UP_AFTER:
                raise RemoteUnavailableError(
                    f"Stripe left {self._unanswered} calls in a row without an answer: stopped, the rest is not charged"
                ) from None
            return
        except CpOpsError as error:
            self._run.fail(intent.target, error)
        self._unanswered = 0
