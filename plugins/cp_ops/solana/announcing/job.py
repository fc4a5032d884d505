"""cp_ops_announce_solana_payments: tell others of payments, as Airflow asset events and over a signed HTTP webhook."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from cp_ops.runtime.deliveries import claim, deliver, ids_of
from cp_ops.runtime.job import Job, JobRun
from cp_ops.solana.announcing.events import ACCEPTED, EXPIRED, PaymentEvent
from cp_ops.solana.announcing.options import AnnouncePaymentsOptions
from cp_ops.solana.announcing.plan import ANNOUNCE, plan_announcements
from cp_ops.solana.announcing.webhook import POLICY, WebhookOutbox

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cp_ops.solana.announcing.webhook import Webhook

OLDEST = timedelta(days=7)
"""Events older than this are not delivered for the first time: a webhook set up later does not get the whole past."""


class Assets(Protocol):
    """Airflow's asset events, as the operator sees them."""

    def registered(self) -> set[int]:
        """Give the ids of payment events that recent asset events carry."""

    def announce(self, kind: str, events: Sequence[PaymentEvent]) -> None:
        """Attach events to the task; Airflow registers them when the task succeeds."""


def _now() -> datetime:
    return datetime.now(UTC)


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
            "given_up_since": POLICY.given_up_since(run.now, redeliver=options.redeliver),
            "limit": options.max_events,
        }
        with run.read() as tx:
            events = tx.rows("events_to_announce", PaymentEvent, limit=options.max_events)
            due = tx.rows("due_webhooks", now=run.now, **due_of) if self._webhook is not None else []
        registered = self._assets.registered() & {event.id for event in events} if events else set()
        fresh = [event for event in events if event.id not in registered]
        applies = run.accept(plan_announcements(fresh, due))
        if run.dry_run or not (applies or registered):
            return
        self._note_registered(run, registered)
        self._announce(run, fresh)
        if due and self._webhook is not None:
            self._deliver(run, self._webhook, due_of)

    def _note_registered(self, run: JobRun, registered: set[int]) -> None:
        """Note the events that Airflow has registered: only its own record proves that an earlier task succeeded."""
        if not registered:
            return
        with run.write() as tx:
            tx.execute("events_announced", ids=sorted(registered), now=run.now)
        run.note("registered_by_airflow", len(registered))

    def _announce(self, run: JobRun, fresh: Sequence[PaymentEvent]) -> None:
        for kind in (ACCEPTED, EXPIRED):
            if same := [event for event in fresh if event.kind == kind]:
                self._assets.announce(kind, same)
                run.done(ANNOUNCE, len(same))

    def _deliver(self, run: JobRun, webhook: Webhook, due_of: dict[str, Any]) -> None:
        untried = claim(run, POLICY, "claim_webhooks", **due_of)
        outbox = WebhookOutbox(run, webhook, self._clock)
        deliver(outbox, untried)
        if untried:
            outbox.leave(ids_of(untried))
