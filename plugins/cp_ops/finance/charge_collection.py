"""Apply a plan of charges: every attempt is written down, sent, and booked; what is unfinished is found out first.

An attempt is `planned` in one commit, `submitting` in the next, and only then sent: whatever happens, the row says
whether something may have been sent, and under which key. What may have happened is never tried blindly again.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cp_ops.finance.charge_answers import (
    CANCELED,
    EXPIRED,
    NEVER_ARRIVED,
    DeclineClass,
    Settlement,
    State,
    read_answer,
    read_intent,
)
from cp_ops.finance.charge_booking import book
from cp_ops.finance.charge_intents import (
    Intent,
    StripePayments,
    charge_request,
    idempotency_key,
    look_up,
    may_ask_again,
    may_conclude,
)
from cp_ops.runtime.errors import (
    CpOpsError,
    LeaseLostError,
    RemoteConnectionLostError,
    RemoteRefusedError,
    RemoteUnavailableError,
    RowFailedError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cp_ops.runtime.database import Tenant
    from cp_ops.runtime.job import JobRun
    from cp_ops.runtime.plan import Action

log = logging.getLogger(__name__)

AUTHENTICATION_DAYS = timedelta(days=14)
"""How long a client may take to confirm a payment; then it is canceled and the invoice is overdue."""
GIVE_UP_AFTER = 3
"""Calls in a row without an answer after which the run stops: an outage must not make every charge unknown."""
CHANGED = "locked, or changed since it was planned"


class Collection:
    """Settles the attempts of earlier runs and makes the planned charges, one after the other."""

    def __init__(self, run: JobRun, stripe: StripePayments, tenants: Mapping[int, Tenant]) -> None:
        self._run = run
        self._stripe = stripe
        self._tenants = tenants
        self._methods: dict[str, str | None] = {}
        self._unanswered = 0

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
        self._book(intent, settlement)

    def _settlement_of(self, intent: Intent) -> Settlement | None:
        """Give what Stripe says of an attempt; None: nothing new."""
        if intent.state in (State.SUBMITTING, State.UNKNOWN):
            return self._ask_again_or_look_up(intent)
        found = self._stripe.get("payment_intents", intent.payment_intent, expand=("latest_charge",))
        if found is None:
            raise RowFailedError(
                f"Stripe does not know {intent.payment_intent} any more: look into its account"
            )
        settlement = read_intent(found)
        if settlement.state is State.REQUIRES_ACTION:
            return self._waiting_for_client(intent)
        return settlement

    def _ask_again_or_look_up(self, intent: Intent) -> Settlement | None:
        """Resolve a charge that may have happened: by its key while Stripe remembers it, by its metadata after that.

        Asked again, the charge is made if it never was: only while the invoice is due for it.
        """
        if may_ask_again(intent, self._run.now) and self._still_due(intent):
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

    def _waiting_for_client(self, intent: Intent) -> Settlement | None:
        """Let a client have the time to confirm; cancel what was paid by other means, or waited for too long."""
        due = self._still_due(intent)
        late = intent.submitted_at is not None and self._run.now - intent.submitted_at > AUTHENTICATION_DAYS
        if due and not late:
            return None
        path = f"/v1/payment_intents/{intent.payment_intent}/cancel"
        answer = self._stripe.post(path, {}, idempotency_key=f"{intent.idempotency_key}-cancel")
        if answer.accepted:
            code = EXPIRED if due else CANCELED
            return Settlement(State.FAILED, intent.payment_intent, code)
        found = self._stripe.get("payment_intents", intent.payment_intent, expand=("latest_charge",))
        return read_intent(found) if found else None

    def _still_due(self, intent: Intent) -> bool:
        with self._run.read(self._tenants[intent.firm_id]) as tx:
            row = tx.one(
                "still_due",
                invoice_id=intent.invoice_id,
                firm_id=intent.firm_id,
                amount=intent.money.for_ledger(),
            )
        return bool(row and row["due"])

    # -- new charges -------------------------------------------------------------------------------------------------

    def charge(self, actions: Sequence[Action]) -> None:
        """Write the planned charges down, then make them one by one."""
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
        if reason := self._collected_by_stripe(intent):
            self._withdraw(intent)
            self._run.skip(reason)
            return
        customer = self._customer_of(intent.payment_method)
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
            self._withdraw(intent)
            self._run.skip(CHANGED)
            return
        claimed_intent = replace(
            intent, customer=customer, state=State.SUBMITTING.value, submitted_at=self._run.now
        )
        self._book(claimed_intent, self._send(claimed_intent, first=True))

    def _collected_by_stripe(self, intent: Intent) -> str:
        """Tell why an invoice that Stripe has, too, is not charged: '' when it may be."""
        if not intent.stripe_invoice:
            return ""
        invoice = self._stripe.get("invoices", intent.stripe_invoice)
        if invoice is None:
            raise RowFailedError(
                f"Stripe does not know the invoice's {intent.stripe_invoice}: correct the reference"
            )
        if invoice["status"] != "open":
            return f"its Stripe invoice is {invoice['status']}"
        return "Stripe collects its Stripe invoice itself" if invoice.get("auto_advance") else ""

    def _customer_of(self, method: str) -> str | None:
        """Give the customer that owns a payment method; None: it is gone, or nobody's."""
        if method not in self._methods:
            found = self._stripe.get("payment_methods", method)
            self._methods[method] = (found or {}).get("customer")
        return self._methods[method]

    def _withdraw(self, intent: Intent) -> None:
        with self._run.write() as tx:
            tx.execute("withdraw_intent", id=intent.id)

    # -- sending and booking -----------------------------------------------------------------------------------------

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
        if settlement.state is State.FAILED and not settlement.decline and settlement.code not in _OUR_CODES:
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
        except (LeaseLostError, RemoteRefusedError):
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


_OUR_CODES = (NEVER_ARRIVED, CANCELED, EXPIRED)
