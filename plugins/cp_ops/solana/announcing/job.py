"""Tell others of accepted and expired payments: an Airflow asset event, and optionally a signed HTTP webhook.

The payment module sends Django signals inside its own process; from here, the payment's event is a row that commits with
the payment (`cp_ops.solana_payment_event`, one per payment and kind) and that this job delivers at least once. Whoever
receives one twice knows it by its id.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from cp_ops.runtime.errors import RemoteRefusedError, RemoteUnavailableError
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.plan import Action, Plan
from cp_ops.solana.announcing.options import AnnouncePaymentsOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from decimal import Decimal

CLAIM_SECONDS = 300
"""How long a claimed delivery belongs to its run."""
SPACING = (60, 300, 900, 3_600, 14_400, 43_200, 86_400)
"""Seconds until the next attempt of a delivery; after the last one it is given up."""
PATIENCE = 3
"""Deliveries in a row that may fail before a run leaves the others for the next one."""
OLDEST = timedelta(days=7)
"""Events older than this are not delivered for the first time: a webhook set up later does not get the whole past."""
GIVEN_UP_WITHIN = timedelta(days=30)
"""How far back option `redeliver` reaches."""


@dataclass(frozen=True)
class PaymentEvent:
    """A payment that was accepted or has expired. `amount` is in minor units, `mint` None for SOL."""

    id: int
    payment_id: int
    kind: str
    status: str
    signature: str | None
    mint: str | None
    amount: Decimal | None
    occurred_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """Give the JSON form: what an asset event's extra and a webhook's body hold."""
        return {
            "event_id": self.id,
            "payment_id": self.payment_id,
            "kind": self.kind,
            "status": self.status,
            "signature": self.signature,
            "mint": self.mint,
            "amount": None if self.amount is None else str(int(self.amount)),
            "occurred_at": self.occurred_at.isoformat(),
        }


class Webhook(Protocol):
    """Where events are posted to."""

    secret: bytes

    def post(self, body: bytes, headers: dict[str, str]) -> None:
        """Post a body.

        :raises RemoteUnavailableError: it was not taken, whatever the answer: a wrong secret or a receiver that is being
            deployed passes, too.
        """


class Assets(Protocol):
    """Airflow's asset events, as the operator sees them."""

    def registered(self) -> set[int]:
        """Give the ids of payment events that recent asset events carry."""

    def announce(self, kind: str, events: Sequence[PaymentEvent]) -> None:
        """Attach events to the task; Airflow registers them when the task succeeds."""


def _now() -> datetime:
    return datetime.now(UTC)


def plan_announcements(events: Iterable[PaymentEvent], deliveries: Iterable[dict[str, Any]]) -> Plan:
    """Plan one action per event that is to be announced, and one per delivery that is due. Pure."""
    return Plan.of(
        [
            *(
                Action("announce", f"solana_payment:{event.payment_id}", event.kind, data={"event": event.id})
                for event in events
            ),
            *(
                Action(
                    "deliver", f"solana_payment:{due['payment_id']}", due["kind"], data={"event": due["id"]}
                )
                for due in deliveries
            ),
        ]
    )


class AnnouncePayments(Job[AnnouncePaymentsOptions]):
    """Announce payment events as asset events and deliver them to the webhook."""

    command = "cp_ops_announce_solana_payments"
    statements = "solana/announcing"
    options = AnnouncePaymentsOptions

    def __init__(
        self, assets: Assets, webhook: Webhook | None = None, *, clock: Callable[[], datetime] = _now
    ) -> None:
        self._assets = assets
        self._webhook = webhook
        self._clock = clock

    def run(self, run: JobRun, options: AnnouncePaymentsOptions) -> None:
        """Note what Airflow has registered, announce the rest, deliver what is due."""
        due_of = {
            "since": run.now - OLDEST,
            "given_up_since": run.now - GIVEN_UP_WITHIN if options.redeliver else run.now,
            "limit": options.max_events,
        }
        with run.read() as tx:
            events = tx.rows("events_to_announce", PaymentEvent, limit=options.max_events)
            due = []
            if self._webhook is not None:
                due = tx.rows("due_webhooks", now=run.now, **due_of)
        registered = self._assets.registered() & {event.id for event in events} if events else set()
        fresh = [event for event in events if event.id not in registered]
        if not run.accept(plan_announcements(fresh, due)) and not registered:
            return
        if run.dry_run:
            return
        if registered:
            with run.write() as tx:
                tx.execute("events_announced", ids=sorted(registered), now=run.now)
            run.note("registered_by_airflow", len(registered))
        for kind in ("accepted", "expired"):
            if same := [event for event in fresh if event.kind == kind]:
                self._assets.announce(kind, same)
                run.done("announce", len(same))
        if due and self._webhook is not None:
            self._deliver(run, self._webhook, due_of)

    def _deliver(self, run: JobRun, webhook: Webhook, due_of: dict[str, Any]) -> None:
        with run.write() as tx:
            claimed = tx.rows("claim_webhooks", now=run.now, seconds=CLAIM_SECONDS, **due_of)
        claimed.sort(key=lambda row: row["id"])
        in_a_row = 0
        for number, row in enumerate(claimed):
            if in_a_row == PATIENCE:
                self._put_off(run, [left["id"] for left in claimed[number:]])
                return
            attempts = row.pop("attempts")
            event = PaymentEvent(**row)
            error = self._post(run, webhook, event)
            in_a_row = in_a_row + 1 if error else 0
            given_up = bool(error) and attempts > len(SPACING)
            with run.write() as tx:
                tx.execute(
                    "webhook_done",
                    id=event.id,
                    state="failed" if given_up else "pending" if error else "delivered",
                    error=error,
                    now=self._clock(),
                    seconds=0 if given_up or not error else SPACING[attempts - 1],
                )
            if not error:
                run.done("deliver", 1)
            elif given_up:
                run.fail(f"solana_payment:{event.payment_id}", RemoteRefusedError(f"given up: {error}"))
            else:
                run.skip(f"not taken, tried again later: {error}")

    def _post(self, run: JobRun, webhook: Webhook, event: PaymentEvent) -> str:
        """Post an event, signed at this moment; give what was wrong, or ''."""
        body = json.dumps(event.as_dict(), sort_keys=True).encode()
        run.remote_call()
        try:
            webhook.post(body, signed_headers(webhook.secret, body, event.id, self._clock()))
        except RemoteUnavailableError as problem:
            return str(problem)
        return ""

    def _put_off(self, run: JobRun, ids: list[int]) -> None:
        with run.write() as tx:
            tx.execute("webhooks_put_off", ids=ids, now=self._clock(), seconds=SPACING[0])
        run.skip(f"put off: {PATIENCE} deliveries in a row were not taken", len(ids))


def signed_headers(secret: bytes, body: bytes, event_id: int, now: datetime) -> dict[str, str]:
    """Sign a body: HMAC-SHA256 over ``<unix time>.<body>``, as in ``t=1700000000,v1=<hex>``.

    The receiver computes the same, compares in constant time, and refuses times that are minutes away.
    """
    moment = str(int(now.timestamp()))
    digest = hmac.new(secret, moment.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "X-Cp-Ops-Event-Id": str(event_id),
        "X-Cp-Ops-Signature": f"t={moment},v1={digest}",
    }
