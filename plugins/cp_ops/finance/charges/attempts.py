"""The steps of one attempt: ask Stripe for the charge, cancel it, book its result, attach it to its Stripe invoice.

New charges and the attempts of earlier runs go through the same steps. Each step leaves the attempt's row saying what may
have happened at Stripe, whatever the step ends with.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cp_ops.finance.charges.answers import AttemptState, Settlement, read_answer, read_payment_intent
from cp_ops.finance.charges.booking import book_settlement
from cp_ops.finance.charges.intents import ChargeIntent, StripePayments, charge_request
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
    from collections.abc import Iterator

    from cp_ops.runtime.database import Tenants
    from cp_ops.runtime.job import JobRun

GIVE_UP_AFTER = 3
"""Calls in a row without an answer after which the run stops: an outage must not make every charge unknown."""
DECIDED = ("succeeded", "processing", "requires_capture", "canceled")
"""Statuses of payment intents that cancel no more."""


class Attempts:
    """What is done with attempts, one at a time."""

    def __init__(self, run: JobRun, stripe: StripePayments, tenants: Tenants) -> None:
        self._run = run
        self._stripe = stripe
        self._tenants = tenants
        self._unanswered = 0

    def read(self, intent_id: int) -> ChargeIntent | None:
        """Read an attempt's row as it is now; None when it was withdrawn."""
        with self._run.read() as tx:
            return tx.one("intent", ChargeIntent, id=intent_id)

    @contextmanager
    def failing_alone(self, intent: ChargeIntent) -> Iterator[None]:
        """Work on one attempt; what befalls it does not stop the others.

        :raises RemoteRefusedError, ImplausibleError: which concern every attempt: the key is refused, or is another
            account's.
        :raises RemoteUnavailableError: after several calls in a row without an answer.
        """
        try:
            yield
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

    def ask(self, intent: ChargeIntent, *, first: bool = False) -> Settlement:
        """Ask Stripe for the charge.

        :param first: nothing was sent for this attempt before.
        :raises RemoteConnectionLostError: when it may or may not have happened; the intent says so.
        :raises RemoteUnavailableError, RemoteRefusedError: when this send had no effect; a new intent is withdrawn.
        """
        request = charge_request(intent)
        try:
            answer = self._stripe.post("/v1/payment_intents", request, idempotency_key=intent.idempotency_key)
        except RemoteConnectionLostError:
            # No answer is not a refusal: Stripe may have charged. A later run finds out.
            self._mark_unknown(intent, "no_answer")
            raise
        except (RemoteUnavailableError, RemoteRefusedError):
            # Only the first send proves by its refusal that nothing was charged: an earlier one may have gone through.
            if first:
                self.withdraw(intent)
            raise
        return read_answer(answer.status, answer.body)

    def cancel(self, intent: ChargeIntent) -> Settlement:
        """Cancel an attempt's payment intent, so that nobody can pay it any more; give what became of it.

        :raises RowFailedError: when it is neither canceled nor decided.
        """
        path = f"/v1/payment_intents/{intent.payment_intent}/cancel"
        lost: RemoteConnectionLostError | None = None
        try:
            answer = self._stripe.post(path, {}, idempotency_key=f"{intent.idempotency_key}-cancel")
            if answer.accepted:
                return read_payment_intent(answer.body)
        except RemoteConnectionLostError as error:
            # The cancellation may have happened, and Stripe may replay this very error for as long as it remembers the
            # key: only the payment intent itself tells.
            lost = error
        found = self.retrieve(intent)
        if found["status"] in DECIDED:
            return read_payment_intent(found)
        raise lost or RowFailedError(
            f"Stripe would not cancel {intent.payment_intent}, which can still be paid: look into its account"
        )

    def retrieve(self, intent: ChargeIntent) -> dict[str, Any]:
        """Read an attempt's payment intent at Stripe.

        :raises RowFailedError: when Stripe does not know it.
        """
        found = self._stripe.get("payment_intents", intent.payment_intent, expand=("latest_charge",))
        if found is None:
            raise RowFailedError(
                f"Stripe does not know {intent.payment_intent} any more: look into its account"
            )
        return found

    def book(self, intent: ChargeIntent, settlement: Settlement) -> None:
        """Book what became of an attempt, and attach its payment to the Stripe invoice.

        :raises RowFailedError: when a person must look at it; what is known was booked before.
        """
        if settlement.state is AttemptState.UNKNOWN:
            self._mark_unknown(intent, settlement.code)
            raise RowFailedError(
                "Stripe knows the attempt's key for another request: the next run looks it up"
            )
        # Book first, then attach: were Stripe's invoice paid and ours not, the client would be asked for money again. An
        # attachment that is missing is made up for by the next run.
        name = book_settlement(self._run, self._tenants.of(intent.firm_id), intent, settlement)
        self._run.done(name, 1, intent.firm_id)
        if settlement.state is AttemptState.SUCCEEDED and intent.stripe_invoice:
            self.attach(replace(intent, payment_intent=settlement.payment_intent))
        if settlement.request_refused:
            raise RowFailedError(f"Stripe refused the request: {settlement.code}")

    def attach(self, intent: ChargeIntent) -> None:
        """Let the payment pay the Stripe invoice, so that nobody pays it there again.

        :raises RowFailedError: when Stripe refuses.
        """
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

    def withdraw(self, intent: ChargeIntent) -> None:
        """Forget an attempt of which nothing is at Stripe."""
        with self._run.write() as tx:
            tx.execute("withdraw_intent", id=intent.id)

    def _mark_unknown(self, intent: ChargeIntent, code: str) -> None:
        with self._run.write() as tx:
            tx.execute("mark_unknown", id=intent.id, code=code)
